"""Normalisation of channels over the batch to zero mean and unit variance, with an affine map."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..autograd import Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor, wrap
from .common import check_float, check_residual


class BatchNorm(Function):
    """x[N,C,S], weight[C], bias[C], add[N,C,S] -> y = (x - mean) rstd weight + bias + add, rstd = 1 / sqrt(var + eps),
    and with relu max(y, 0)

    Training takes the moments of the batch and moves the running ones by `momentum` towards them; evaluation takes
    those. weight, bias and add may be None.
    """

    name = "batch_norm"

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array | None, bias: Array | None, add: Array | None, *,
        running: tuple[Array | None, Array | None], training: bool, momentum: float, eps: float,
        relu: bool = False,
    ) -> Array:  # fmt: skip
        ctx.training, ctx.eps = training, eps
        ctx.mean, ctx.rstd = (backend.empty_like(x, x.shape[1:2]) for _ in range(2))
        y = backend.empty_like(x)
        ctx.affine = backend.empty_like(x, (2, x.shape[1])) if relu and True in ctx.needs else None
        ctx.save(x, weight, None if add is None or ctx.affine is None else y)
        if x.size:
            affine = [None if p is None else backend.contiguous(p) for p in (weight, bias)]
            backend.kernel(x, "batch_norm_forward")(
                backend.contiguous(x), *affine, *running, y, ctx.mean, ctx.rstd, training, momentum, eps,
                None if add is None else backend.contiguous(add), relu, ctx.affine,
            )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, weight, y = ctx.saved
        dx = backend.empty_like(x) if ctx.needs[0] or y is not None else None
        dw, db = (backend.empty_like(x, x.shape[1:2]) if need else None for need in ctx.needs[1:3])
        dadd = dy if y is None else backend.empty_like(x)
        if x.size:
            weight = None if weight is None else backend.contiguous(weight)
            backend.kernel(x, "batch_norm_backward")(
                backend.contiguous(dy), backend.contiguous(x), weight, ctx.mean, ctx.rstd, dx, dw, db, ctx.training,
                ctx.affine, y, None if y is None else dadd,
            )  # fmt: skip
        else:
            for d in (dw, db):
                if d is not None:
                    d[...] = 0
        return dx, dw, db, dadd

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        """dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy weight; the means are 0 in evaluation."""
        x, weight, _ = ctx.saved
        if ctx.affine is not None:
            dy = dy * wrap(_passed(ctx))
        if ctx.training:
            centred = x - x.mean((0, 2), True)
            rstd = ((centred * centred).mean((0, 2), True) + ctx.eps) ** -0.5
        else:
            centred, rstd = x - wrap(ctx.mean[:, None]), wrap(ctx.rstd[:, None])
        xhat = centred * rstd
        g = dy if weight is None else dy * weight.unsqueeze(-1)
        if ctx.training:
            g = g - g.mean((0, 2), True) - xhat * (g * xhat).mean((0, 2), True)
        dw = (dy * xhat).sum((0, 2)) if ctx.needs[1] else None
        return rstd * g, dw, dy.sum((0, 2)) if ctx.needs[2] else None, dy


def _passed(ctx: Node) -> Array:
    """1 where the ReLU let its input pass, else 0."""
    x, _, y = (t if t is None or not isinstance(t, Tensor) else t.data for t in ctx.saved)
    if y is None:
        scale, bias = ctx.affine[:, :, None]
        y = (x - ctx.mean[:, None]) * scale + bias
    return (y > 0).astype(ctx.mean.dtype)


def check_vector(call: str, name: str, value: Any, channels: int, x: Tensor) -> Tensor | None:
    if value is None:
        return None
    value = as_tensor(value)
    check_float(call, name, value.data, x.data)
    if value.shape != (channels,):
        raise ValueError(f"{call}: {name} has shape {value.shape}, expected ({channels},)")
    return value


def check_options(call: str, x: Tensor, eps: float, least: int) -> None:
    check_float(call, "x", x.data)
    if x.ndim < least:
        raise ValueError(f"{call}: x has shape {x.shape}, expected at least {least} axes")
    if not eps >= 0:
        raise ValueError(f"{call}: eps is {eps}, expected at least 0")


def batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Batch normalisation (Ioffe and Szegedy 2015) of x [N, C] or [N, C, ...] over all axes but C.

    Training uses the batch's mean and biased variance and, where running moments are given, updates them in place:
    running += momentum (batch's - running), with the unbiased variance. Evaluation uses the running moments.
    Raises ValueError for shapes that do not fit, or for one value a channel in training; TypeError for dtypes.
    """
    return batch_norm_then(x, running_mean, running_var, weight, bias, training, momentum, eps)


def batch_norm_then(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float,
    add: Any = None, relu: bool = False,
) -> Tensor:  # fmt: skip
    """`batch_norm`, then + add where it is given and max(., 0) with relu, in the same passes over memory."""
    x = as_tensor(x)
    check_options("batch_norm", x, eps, 2)
    n, channels, space = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    names = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    mean, var, weight, bias = (check_vector("batch_norm", name, v, channels, x) for name, v in names.items())
    if training and n * space == 1:
        raise ValueError(f"batch_norm: x has shape {x.shape}, expected more than one value a channel in training")
    if not training and (mean is None or var is None):
        raise ValueError("batch_norm: running_mean or running_var is None, expected both in evaluation")
    if (mean is None) != (var is None):
        raise ValueError("batch_norm: one of running_mean and running_var is None, expected both or neither")
    if add is not None:
        check_residual(x.shape, add)
    running = tuple(None if m is None else backend.contiguous(m.data) for m in (mean, var))
    y = BatchNorm.apply(
        x.reshape(n, channels, space), weight, bias, None if add is None else add.reshape(n, channels, space),
        running=running, training=training, momentum=float(momentum), eps=float(eps), relu=relu,
    )  # fmt: skip
    return y.reshape(x.shape)
