"""Normalisation of each row by itself, in groups of its channels: group, layer and instance norm."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..autograd import Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .batch_norm import batch_norm, check_options, check_vector
from .common import check_float
from .windows import Sizes


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
        ctx.mean, ctx.rstd = backend.empty_like(x, (shape[0], groups)), backend.empty_like(x, (shape[0], groups))
        y = backend.empty_like(x)
        ctx.affine = next((p.shape for p in (weight, bias) if p is not None), None)
        ctx.save(x, weight)
        if x.size:
            affine = [None if p is None else backend.contiguous(p).reshape(-1) for p in (weight, bias)]
            backend.kernel(x, "group_norm_forward")(
                backend.contiguous(x).reshape(shape), groups, *affine, *running, y.reshape(shape), ctx.mean, ctx.rstd,
                momentum, eps,
            )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, weight = ctx.saved
        shape, affine = ctx.shape, ctx.affine
        dx = backend.empty_like(x) if ctx.needs[0] else None
        dw, db = (backend.empty_like(x, affine) if need else None for need in ctx.needs[1:])
        if x.size:
            flat = [None if p is None else backend.contiguous(p).reshape(-1) for p in (weight, dw, db)]
            dys, xs = backend.contiguous(dy).reshape(shape), backend.contiguous(x).reshape(shape)
            backend.kernel(x, "group_norm_backward")(
                dys, xs, ctx.groups, flat[0], ctx.mean, ctx.rstd, None if dx is None else dx.reshape(shape), *flat[1:]
            )
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


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Layer normalisation (Ba et al. 2016) over the last axes, whose sizes are `normalized_shape`, an int or several.

    weight, bias: of that shape. Raises ValueError where x does not end in that shape.
    """
    x = as_tensor(x)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    check_options("layer_norm", x, eps, 1)
    if not shape or x.shape[x.ndim - len(shape) :] != shape or len(shape) > x.ndim:
        raise ValueError(f"layer_norm: x has shape {x.shape}, expected to end in normalized_shape {shape}")
    params = []
    for name, value in (("weight", weight), ("bias", bias)):
        value = None if value is None else as_tensor(value)
        if value is not None:
            check_float("layer_norm", name, value.data, x.data)
            if value.shape != shape:
                raise ValueError(f"layer_norm: {name} has shape {value.shape}, expected {shape}")
        params.append(value)
    rows = math.prod(x.shape[: x.ndim - len(shape)])
    return GroupNorm.apply(x, *params, shape=(rows, math.prod(shape), 1), groups=1, eps=float(eps))


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Group normalisation (Wu and He 2018): each row's channels in `num_groups` groups, each to zero mean and unit
    variance.

    x: [N, C, ...]; weight, bias: [C]. Raises ValueError where num_groups does not divide C.
    """
    x = as_tensor(x)
    check_options("group_norm", x, eps, 2)
    n, channels = x.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"group_norm: num_groups is {num_groups}, expected a divisor of x's {channels} channels")
    params = [check_vector("group_norm", name, v, channels, x) for name, v in (("weight", weight), ("bias", bias))]
    shape = n, channels, math.prod(x.shape[2:])
    return GroupNorm.apply(x, *params, shape=shape, groups=num_groups, eps=float(eps))


def instance_norm(
    x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Instance normalisation (Ulyanov et al. 2016): each channel of each row on its own, over space.

    x: [N, C, ...]; running moments, where given, move towards the mean of the rows' moments; without `use_input_stats`
    they are used instead. Raises ValueError for a single value a channel.
    """
    x = as_tensor(x)
    check_options("instance_norm", x, eps, 3)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    n, channels, space = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    if space == 1:
        raise ValueError(f"instance_norm: x has shape {x.shape}, expected more than one value a channel")
    if (running_mean is None) != (running_var is None):
        raise ValueError("instance_norm: one of running_mean and running_var is None, expected both or neither")
    names = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    mean, var, *params = (check_vector("instance_norm", name, v, channels, x) for name, v in names.items())
    running = tuple(None if m is None else backend.contiguous(m.data) for m in (mean, var))
    return GroupNorm.apply(
        x, *params, shape=(n, channels, space), groups=channels, eps=float(eps), running=running,
        momentum=float(momentum),
    )  # fmt: skip
