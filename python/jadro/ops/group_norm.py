"""Normalisation of each row by itself, in groups of its channels: group, layer and instance norm; by squares alone:
RMS and local response norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from ..autograd import Function, Node
from ..backend import Array, contiguous, seen
from ..tensor import Tensor
from .avg_pool import avg_pool
from .batch_norm import batch_norm, check_axes, check_eps, check_vectors
from .common import remembered, shape_of, tensors
from .elementwise import sqrt
from .reduce import mean as mean_of
from .windows import Sizes, per_axis


class GroupNorm(Function):
    """x, of `shape` [N,C,S], weight[C], bias[C] -> y = (x - mean) rstd weight + bias, rstd = 1 / sqrt(var + eps)

    with the moments of each row's channels in `groups` groups. Arrays come as they are and are seen in that shape.

    weight and bias may be None. running: moments [C] that move by `momentum` towards the mean of the rows' moments.
    """

    name = "group_norm"

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array | None, bias: Array | None, *, shape: Sizes, groups: int, eps: float,
        running: tuple[Array | None, Array | None] = (None, None), momentum: float = 0.0,
    ) -> Array:  # fmt: skip
        ctx.shape, ctx.groups, ctx.eps = shape, groups, eps
        pieces, kept = (shape[0], groups), backend.sum_dtype(x.dtype)
        mean, rstd = backend.empty_like(x, pieces, kept), backend.empty_like(x, pieces, kept)
        ctx.mean, ctx.rstd = mean, rstd
        y, channels = backend.empty_like(x), shape[1:2]
        ctx.affine = bias.shape if weight is None and bias is not None else None if weight is None else weight.shape
        ctx.save(x, weight)
        if x.size:
            backend.kernel(x, "group_norm_forward")(
                seen(x, shape), groups, seen(weight, channels), seen(bias, channels), *running, seen(y, shape), mean,
                rstd, momentum, eps,
            )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, weight = ctx.saved
        shape, channels = ctx.shape, ctx.shape[1:2]
        dx = backend.empty_like(x) if ctx.needs[0] else None
        dw, db = (backend.empty_like(x, ctx.affine) if need else None for need in ctx.needs[1:])
        if x.size:
            backend.kernel(x, "group_norm_backward")(
                seen(dy, shape), seen(x, shape), ctx.groups, seen(weight, channels), ctx.mean, ctx.rstd,
                seen(dx, shape), seen(dw, channels), seen(db, channels),
            )  # fmt: skip
        else:
            for d in (dw, db):
                if d is not None:
                    d[...] = 0
        return dx, dw, db

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        """dx = rstd (h - mean(h) - xhat mean(h xhat)) with h = dy weight, means over each group."""
        x, weight = ctx.saved
        n, c, s = ctx.shape
        dy, pieces = dy.reshape(ctx.shape), (n, ctx.groups, c // ctx.groups * s)
        grouped = x.reshape(pieces)
        centred = grouped - grouped.mean(2, True)
        rstd = ((centred * centred).mean(2, True) + ctx.eps) ** -0.5
        xhat = centred * rstd
        h = (dy if weight is None else dy * weight.reshape(c, 1)).reshape(pieces)
        dx = rstd * (h - h.mean(2, True) - xhat * (h * xhat).mean(2, True))
        dw = (dy * xhat.reshape(ctx.shape)).sum((0, 2)).reshape(ctx.affine) if ctx.needs[1] else None
        return dx.reshape(x.shape), dw, dy.sum((0, 2)).reshape(ctx.affine) if ctx.needs[2] else None


@remembered
def _layer_plan(call: str, x: Sizes, over: Any, weight: Sizes | None, bias: Sizes | None) -> Sizes:
    """The shape in which x is seen: rows, the numbers of one, 1."""
    check_axes(call, x, 1)
    shape = (over,) if isinstance(over, int) else tuple(over)
    lead = len(x) - len(shape)
    if not shape or lead < 0 or x[lead:] != shape:
        raise ValueError(f"{call}: x has shape {x}, expected to end in normalized_shape {shape}")
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None and given != shape:
            raise ValueError(f"{call}: {name} has shape {given}, expected {shape}")
    return math.prod(x[:lead]), math.prod(shape), 1


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Layer normalisation (Ba et al. 2016) over the last axes, whose sizes are `normalized_shape`, an int or several.

    weight, bias: of that shape. Raises ValueError where x does not end in that shape.
    """
    x, weight, bias = tensors("layer_norm", "x weight bias", 1, x, weight, bias)
    shape = _layer_plan("layer_norm", x.data.shape, normalized_shape, shape_of(weight), shape_of(bias))
    return GroupNorm.apply(x, weight, bias, shape=shape, groups=1, eps=check_eps("layer_norm", eps))


def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """y = weight x / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019), the mean over the last axes, whose sizes are
    `normalized_shape`, an int or several.

    weight: of that shape. eps: None is the dtype's rounding. Raises ValueError where x does not end in that shape.
    """
    x, weight = tensors("rms_norm", "x weight", 1, x, weight)
    _layer_plan("rms_norm", x.data.shape, normalized_shape, shape_of(weight), None)
    axes = tuple(range(-1 if isinstance(normalized_shape, int) else -len(normalized_shape), 0))
    least = float(np.spacing(x.dtype.type(1))) if eps is None else check_eps("rms_norm", eps)
    y = x / sqrt(mean_of(x * x, axes, True) + least)
    return y if weight is None else y * weight


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """y[c] = x[c] / (k + alpha / size sum of x[i]^2)^beta, over the channels i from c - floor(size / 2) on, `size` of
    them, where they are (Krizhevsky et al. 2012).

    x: [N, C, L, ...]. Raises ValueError for fewer axes or a size below 1.
    """
    (x,) = tensors("local_response_norm", "x", 1, x)
    (size,) = per_axis("local_response_norm", "size", size, 1)
    if x.ndim < 3:
        raise ValueError(f"local_response_norm: x has shape {x.shape}, expected at least 3 axes")
    if not x.numel():
        return x
    squares = (x * x).reshape(x.shape[0], 1, x.shape[1], math.prod(x.shape[2:]))
    around = (size // 2, (size - 1) // 2), (0, 0)
    means = avg_pool("local_response_norm", 2, squares, (size, 1), 1, around, False, True)
    return x / (means.reshape(x.shape) * alpha + k) ** beta


@remembered
def _group_plan(x: Sizes, groups: int, weight: Sizes | None, bias: Sizes | None) -> Sizes:
    check_axes("group_norm", x, 2)
    if groups < 1 or x[1] % groups:
        raise ValueError(f"group_norm: num_groups is {groups}, expected a divisor of x's {x[1]} channels")
    check_vectors("group_norm", x[1], weight=weight, bias=bias)
    return x[0], x[1], math.prod(x[2:])


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Group normalisation (Wu and He 2018): each row's channels in `num_groups` groups, each to zero mean and unit
    variance.

    x: [N, C, ...]; weight, bias: [C]. Raises ValueError where num_groups does not divide C.
    """
    x, weight, bias = tensors("group_norm", "x weight bias", 1, x, weight, bias)
    shape = _group_plan(x.data.shape, num_groups, shape_of(weight), shape_of(bias))
    return GroupNorm.apply(x, weight, bias, shape=shape, groups=num_groups, eps=check_eps("group_norm", eps))


@remembered
def _instance_plan(x: Sizes, mean: Sizes | None, var: Sizes | None, weight: Sizes | None, bias: Sizes | None) -> Sizes:
    check_axes("instance_norm", x, 3)
    channels, space = x[1], math.prod(x[2:])
    if space == 1:
        raise ValueError(f"instance_norm: x has shape {x}, expected more than one value a channel")
    if (mean is None) != (var is None):
        raise ValueError("instance_norm: one of running_mean and running_var is None, expected both or neither")
    check_vectors("instance_norm", channels, running_mean=mean, running_var=var, weight=weight, bias=bias)
    return x[0], channels, space


def instance_norm(
    x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Instance normalisation (Ulyanov et al. 2016): each channel of each row on its own, over space.

    x: [N, C, ...]; running moments, where given, move towards the mean of the rows' moments; without `use_input_stats`
    they are used instead. Raises ValueError for a single value a channel.
    """
    x, mean, var, weight, bias = tensors(
        "instance_norm", "x running_mean running_var weight bias", 1, x, running_mean, running_var, weight, bias
    )
    if not use_input_stats:
        return batch_norm(x, mean, var, weight, bias, False, momentum, eps)
    shape = _instance_plan(x.data.shape, shape_of(mean), shape_of(var), shape_of(weight), shape_of(bias))
    running = None if mean is None else contiguous(mean.data), None if var is None else contiguous(var.data)
    return GroupNorm.apply(
        x, weight, bias, shape=shape, groups=shape[1], eps=check_eps("instance_norm", eps), running=running,
        momentum=float(momentum),
    )  # fmt: skip
