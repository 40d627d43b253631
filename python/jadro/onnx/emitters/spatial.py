"""Convolution, pooling and normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import avg_pool, batch_norm, conv2d, group_norm, interpolate, pool2d
from .registry import Builder, emits

_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _ends(sides: Any) -> list[int]:
    """(before, after) of each axis as ONNX's pads: all before, then all after."""
    return [*sides[0::2], *sides[1::2]]


@emits(conv2d.Conv2d)
def conv(g: Builder, x: Any, w: Any, b: Any, *, sizes: Any, options: Any, rectifier: Any = None) -> str:
    name, pads = g.name(x), _ends(options.padding)
    if options.padding_mode != "zeros":
        n = len(pads) // 2
        amounts = g.ints(0, 0, *pads[:n], 0, 0, *pads[n:])
        name, pads = g.node("Pad", name, amounts, mode=_MODES[options.padding_mode]), [0] * len(pads)
    y = g.node(
        "Conv", name, g.name(w), g.name(b), kernel_shape=list(w.shape[2:]), strides=list(options.stride), pads=pads,
        dilations=list(options.dilation), group=options.groups,
    )  # fmt: skip
    return g.rectified(y, rectifier, x.dtype)


@emits(conv2d.Conv2dData)
def conv_transpose(
    g: Builder, x: Any, w: Any, b: Any = None, *, shape: Any, options: Any, rectifier: Any = None
) -> str:
    pads = _ends(options.padding)
    n = len(pads) // 2
    more = [max(-after, 0) for after in pads[n:]]
    y = g.node(
        "ConvTranspose", g.name(x), g.name(w), g.name(b), kernel_shape=list(w.shape[2:]),
        strides=list(options.stride), pads=[*pads[:n], *(max(p, 0) for p in pads[n:])], output_padding=more,
        dilations=list(options.dilation), group=options.groups,
    )  # fmt: skip
    return g.rectified(y, rectifier, x.dtype)


def _pooled(g: Builder, pool: Any, x: Any, run: Any) -> Any:
    """The pooling of x as the kernels see it, with its result in the shape of the call."""
    if not pool.window or not pool.window[0]:
        raise ValueError(f"onnx.export: adaptive pooling of {pool.of} to {pool.shape}, expected bins of one size")
    y = run(g.reshaped(g.name(x), x.shape, pool.seen))
    return g.reshaped(y, pool.seen_shape, pool.shape)


@emits(pool2d.MaxPool2d)
def max_pool(g: Builder, x: Any, *, pool: Any, return_indices: bool) -> Any:
    if return_indices:
        raise ValueError("onnx.export: max pooling with return_indices, expected the maxima alone")
    return _pooled(g, pool, x, lambda name: _max_pool(g, name, *pool.window))


def _max_pool(g: Builder, name: str, kernel: Any, stride: Any, padding: Any, dilation: Any) -> str:
    return g.node(
        "MaxPool", name, kernel_shape=list(kernel), strides=list(stride), pads=_ends(padding), dilations=list(dilation)
    )


@emits(avg_pool.AvgPool)
def average_pool(g: Builder, x: Any, *, pool: Any) -> str:
    return _pooled(g, pool, x, lambda name: _average_pool(g, name, x, pool))


def _average_pool(g: Builder, name: str, x: Any, pool: Any) -> str:
    kernel, stride, padding, counts, divisor = pool.window
    n = len(kernel)
    pairs = zip(padding[0::2], padding[1::2], strict=True)
    padded = [m + before + after for m, (before, after) in zip(pool.of[-n:], pairs, strict=True)]
    floor = tuple((m - k) // s + 1 for m, k, s in zip(padded, kernel, stride, strict=True))
    ceil = floor != tuple(pool.shape[-n:])
    if divisor and ceil:
        raise ValueError("onnx.export: average pooling with divisor_override and ceil_mode, expected one of them")
    y = g.node(
        "AveragePool", name, kernel_shape=list(kernel), strides=list(stride), pads=_ends(padding), ceil_mode=int(ceil),
        count_include_pad=int(bool(counts or divisor)),
    )  # fmt: skip
    return g.node("Mul", y, g.constant(math.prod(kernel) / divisor, x.dtype)) if divisor else y


def _or(g: Builder, x: Any, given: Any, shape: Any, value: float) -> str:
    """The name of a weight, or of one that does nothing."""
    return g.constant(np.full(shape, value), x.dtype) if given is None else g.name(given)


@emits(batch_norm.BatchNorm)
def batch_norm_(
    g: Builder, x: Any, weight: Any, bias: Any, add: Any, *, shape: Any, running: Any, training: bool,
    momentum: float, eps: float, rectifier: Any = None,
) -> str:  # fmt: skip
    if training or running[0] is None:
        raise ValueError("onnx.export: batch norm by the moments of the batch, expected running ones (eval())")
    affine = _or(g, x, weight, x.shape[1], 1), _or(g, x, bias, x.shape[1], 0)
    y = g.node("BatchNormalization", g.name(x), *affine, *map(g.name, running), epsilon=eps)
    y = y if add is None else g.node("Add", y, g.name(add))
    return g.rectified(y, rectifier, x.dtype)


@emits(group_norm.GroupNorm)
def group_norm_(g: Builder, x: Any, weight: Any, bias: Any, *, shape: Any, groups: int, eps: float, **_: Any) -> str:
    rows, numbers, space = shape
    axis = next((a for a in range(1, x.ndim) if math.prod(x.shape[a:]) == numbers), None)
    if space == 1 and groups == 1 and axis is not None and math.prod(x.shape[:axis]) == rows:
        over = x.shape[axis:]
        affine = _or(g, x, weight, over, 1), _or(g, x, bias, over, 0)
        return g.node("LayerNormalization", g.name(x), *affine, axis=axis - x.ndim, epsilon=eps)
    affine = _or(g, x, weight, numbers, 1), _or(g, x, bias, numbers, 0)
    if groups == numbers:
        return g.node("InstanceNormalization", g.name(x), *affine, epsilon=eps)
    return g.node("GroupNormalization", g.name(x), *affine, num_groups=groups, epsilon=eps)


def _resized(g: Builder, x: Any, sizes: str, scales: str, **options: Any) -> str:
    return g.node("Resize", g.name(x), "", scales, sizes, axes=list(range(2, x.ndim)), **options)


@emits(interpolate.Interpolate)
def resize(g: Builder, x: Any, *, plans: Any, resize: Any) -> str:
    mode, align, smooth, sizes, scales = resize
    nearest, by_size = mode == "nearest", None in scales
    return _resized(
        g, x, g.ints(*sizes) if by_size else "", "" if by_size else g.constant(scales, np.float32),
        mode="cubic" if mode == "bicubic" else "linear" if "linear" in mode else "nearest",
        coordinate_transformation_mode="align_corners" if align else "asymmetric" if nearest else "half_pixel",
        nearest_mode="floor" if nearest else "round_prefer_ceil", antialias=int(smooth), exclude_outside=int(smooth),
        cubic_coeff_a=-0.5 if smooth else -0.75,
    )  # fmt: skip


@emits(interpolate.Repeat)
def repeat(g: Builder, x: Any, *, pool: Any) -> str:
    scales = g.constant(pool.window[0], np.float32)
    return _resized(g, x, "", scales, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
