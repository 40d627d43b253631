"""Convolution and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...nn import functional as F
from ...ops import conv2d
from ...ops import reduce as r
from ...ops.avg_pool import root
from ...ops.conv2d import Then
from ...ops.elementwise import abs
from ...ops.windows import extents
from ...tensor import wrap
from .registry import ints, is_float, operator

_AUTO = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


def _padding(auto_pad: str, pads: Any, n: int) -> Any:
    """ONNX's padding in the forms of jadro: a name, or a (before, after) pair an axis."""
    if auto_pad != "NOTSET":
        return _AUTO[auto_pad]
    return tuple(zip(pads[:n], pads[n:], strict=True)) if pads else 0


def _function(name: str, n: int) -> Any:
    return getattr(F, f"{name}{n}d")


def convolve(
    x: Any, w: Any, b: Any, then: Then, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """The operator Conv, and what comes behind it."""
    n = x.ndim - 2
    if not 1 <= n <= 3 or not is_float(x, w):
        return NotImplemented
    options = strides or 1, _padding(auto_pad, pads, n), dilations or 1, group, "zeros", "auto"
    return conv2d.conv(f"conv{n}d", n, x, w, b, *options, then)


@operator("Conv")
def conv(
    x: Any, w: Any, b: Any = None, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    return convolve(x, w, b, conv2d.NOTHING, auto_pad, dilations, group, kernel_shape, pads, strides)


@operator("ConvTranspose")
def conv_transpose(
    x: Any, w: Any, b: Any = None, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, output_padding: Any = None, output_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    n = x.ndim - 2
    if not 1 <= n <= 3 or not is_float(x, w):
        return NotImplemented
    strides, dilations = strides or [1] * n, dilations or [1] * n
    more = output_padding or [0] * n
    padding = _padding(auto_pad, pads, n)
    if output_shape or auto_pad.startswith("SAME"):
        wanted = output_shape[-n:] if output_shape else [m * s for m, s in zip(x.shape[2:], strides, strict=True)]
        reach = extents(w.shape[2:], dilations)
        natural = [s * (m - 1) + o + e for m, s, o, e in zip(x.shape[2:], strides, more, reach, strict=True)]
        total = [have - want for have, want in zip(natural, wanted, strict=True)]
        small = [max(t, 0) // 2 for t in total]
        pairs = [(s, max(t, 0) - s) for s, t in zip(small, total, strict=True)]
        padding = tuple(pair if auto_pad == "SAME_UPPER" else pair[::-1] for pair in pairs)
        more = [o - min(t, 0) for o, t in zip(more, total, strict=True)]
    if any(o >= max(s, d) for o, s, d in zip(more, strides, dilations, strict=True)):
        return NotImplemented
    return _function("conv_transpose", n)(x, w, b, strides, padding, more, group, dilations)


@operator("MaxPool")
def max_pool(
    x: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = None, kernel_shape: Any = None,
    pads: Any = None, storage_order: int = 0, strides: Any = None, *, outputs: int = 1,
) -> Any:  # fmt: skip
    """The maxima and, where they are asked for, their places in the flattened x."""
    n = x.ndim - 2
    if not 1 <= n <= 3 or not is_float(x):
        return NotImplemented
    padding = _padding(auto_pad, pads, n)
    run = _function("max_pool", n)
    found = run(x, kernel_shape, strides or 1, padding, dilations or 1, bool(ceil_mode), outputs > 1)
    if outputs == 1:
        return found
    y, places = found
    cells = places.cpu().data
    if storage_order:  # column by column
        cells = np.ravel_multi_index(np.unravel_index(cells, x.shape[2:]), x.shape[2:], order="F")
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * n)
    return y, wrap(cells + planes * math.prod(x.shape[2:]))


@operator("AveragePool")
def average_pool(
    x: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0, dilations: Any = None,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    n = x.ndim - 2
    if not 1 <= n <= 3 or not is_float(x) or any(d != 1 for d in dilations or ()):
        return NotImplemented
    padding = _padding(auto_pad, pads, n)
    return _function("avg_pool", n)(x, kernel_shape, strides or 1, padding, bool(ceil_mode), bool(count_include_pad))


@operator("LpPool")
def lp_pool(
    x: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = None, kernel_shape: Any = None,
    p: float = 2, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """(sum of |x|^p over a window)^(1/p)"""
    if ceil_mode or not is_float(x):
        return NotImplemented
    means = average_pool(abs(x) ** p, auto_pad, 0, 1, dilations, kernel_shape, pads, strides)
    return means if means is NotImplemented else root(means * math.prod(ints(kernel_shape) or ()), p)


def _space(x: Any) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _global(function: str, reduce: Callable[[Any, Any, bool], Any]) -> Callable[[Any], Any]:
    """Pooling over all of space, whatever its number of axes."""

    def run(x: Any) -> Any:
        n = x.ndim - 2
        if not n:
            return x
        return _function(function, n)(x, 1) if n <= 3 else reduce(x, _space(x), True)

    return run


operator("GlobalAveragePool")(_global("adaptive_avg_pool", r.mean))
operator("GlobalMaxPool")(_global("adaptive_max_pool", r.amax))


@operator("GlobalLpPool")
def global_lp_pool(x: Any, p: int = 2) -> Any:
    return root((abs(x) ** p).sum(_space(x), True), p)
