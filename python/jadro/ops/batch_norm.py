"""Normalisation of channels over the batch to zero mean and unit variance, with an affine map."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..autograd import Function, Node
from ..backend import Array, contiguous, seen
from ..tensor import Tensor, wrap
from .activation import Rectifier
from .common import check_residual, remembered, shape_of, tensors
from .windows import Sizes


class BatchNorm(Function):
    """x, of `shape` [N,C,S], weight[C], bias[C], add as x -> y = (x - mean) rstd weight + bias + add, rstd = 1 /
    sqrt(var + eps), rectified. Arrays come as they are and are seen in that shape.

    Training takes the moments of the batch and moves the running ones by `momentum` towards them; evaluation takes
    those. weight, bias and add may be None.
    """

    name = "batch_norm"

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array | None, bias: Array | None, add: Array | None, *, shape: Sizes,
        running: tuple[Array | None, Array | None], training: bool, momentum: float, eps: float,
        rectifier: Rectifier | None = None,
    ) -> Array:  # fmt: skip
        ctx.shape, ctx.training, ctx.eps, ctx.rectifier = shape, training, eps, rectifier
        kept = backend.sum_dtype(x.dtype)
        mean, rstd = backend.empty_like(x, shape[1:2], kept), backend.empty_like(x, shape[1:2], kept)
        affine = backend.empty_like(x, (2, shape[1]), kept) if rectifier and True in ctx.needs else None
        ctx.mean, ctx.rstd, ctx.affine = mean, rstd, affine
        y = backend.empty_like(x)
        ctx.save(x, weight, None if add is None or affine is None else y)
        ctx.then = rectifier.arguments(x, shape[1]) if rectifier else ()
        if x.size:
            backend.kernel(x, "batch_norm_forward")(
                seen(x, shape), contiguous(weight), contiguous(bias), *running, seen(y, shape), mean, rstd, training,
                momentum, eps, seen(add, shape), rectifier is not None, affine, *ctx.then,
            )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, weight, y = ctx.saved
        shape = ctx.shape
        dx = backend.empty_like(x) if ctx.needs[0] or y is not None else None
        dw, db = (backend.empty_like(x, shape[1:2]) if need else None for need in ctx.needs[1:3])
        dadd = None if y is None else backend.empty_like(x)
        if x.size:
            backend.kernel(x, "batch_norm_backward")(
                seen(dy, shape), seen(x, shape), contiguous(weight), ctx.mean, ctx.rstd, seen(dx, shape), dw, db,
                ctx.training, ctx.affine, seen(y, shape), seen(dadd, shape), *ctx.then,
            )  # fmt: skip
        else:
            for d in (dw, db):
                if d is not None:
                    d[...] = 0
        return dx, dw, db, dy if dadd is None else dadd

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        """dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy weight; the means are 0 in evaluation."""
        x, weight, _ = ctx.saved
        shape = x.shape
        x, dy = x.reshape(ctx.shape), dy.reshape(ctx.shape)
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
        return (rstd * g).reshape(shape), dw, dy.sum((0, 2)) if ctx.needs[2] else None, dy.reshape(shape)


def _passed(ctx: Node) -> Array:
    """[N,C,S]: the derivative of the rectifier."""
    x, y = (t.data if isinstance(t, Tensor) else t for t in ctx.saved[::2])
    if y is None:
        scale, bias = ctx.affine[:, :, None]
        y = (x.reshape(ctx.shape) - ctx.mean[:, None]) * scale + bias
    derivative: Array = ctx.rectifier.derivative(y.reshape(ctx.shape))
    return derivative


def check_vectors(call: str, channels: int, **shapes: Sizes | None) -> None:
    """ValueError where one of the shapes is not [channels]."""
    for name, shape in shapes.items():
        if shape is not None and shape != (channels,):
            raise ValueError(f"{call}: {name} has shape {shape}, expected ({channels},)")


def check_axes(call: str, x: Sizes, least: int) -> None:
    if len(x) < least:
        raise ValueError(f"{call}: x has shape {x}, expected at least {least} axes")


def check_eps(call: str, eps: float) -> float:
    if not eps >= 0:
        raise ValueError(f"{call}: eps is {eps}, expected at least 0")
    return float(eps)


@remembered
def _plan(
    x: Sizes, mean: Sizes | None, var: Sizes | None, weight: Sizes | None, bias: Sizes | None, training: bool
) -> Sizes:
    """The shape [N,C,S] in which x is seen."""
    check_axes("batch_norm", x, 2)
    n, channels, space = x[0], x[1], math.prod(x[2:])
    check_vectors("batch_norm", channels, running_mean=mean, running_var=var, weight=weight, bias=bias)
    if training and n * space == 1:
        raise ValueError(f"batch_norm: x has shape {x}, expected more than one value a channel in training")
    if not training and (mean is None or var is None):
        raise ValueError("batch_norm: running_mean or running_var is None, expected both in evaluation")
    if (mean is None) != (var is None):
        raise ValueError("batch_norm: one of running_mean and running_var is None, expected both or neither")
    return n, channels, space


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
    add: Any = None, rectifier: Rectifier | None = None,
) -> Tensor:  # fmt: skip
    """`batch_norm`, then + add where it is given and the rectifier, in the same passes over memory."""
    x, mean, var, weight, bias = tensors(
        "batch_norm", "x running_mean running_var weight bias", 1, x, running_mean, running_var, weight, bias
    )
    shapes = x.data.shape, shape_of(mean), shape_of(var), shape_of(weight), shape_of(bias)
    shape = _plan(*shapes, training)
    if add is not None:
        check_residual(shapes[0], add)
    running = None if mean is None else contiguous(mean.data), None if var is None else contiguous(var.data)
    return BatchNorm.apply(
        x, weight, bias, add, shape=shape, running=running, training=training, momentum=float(momentum),
        eps=check_eps("batch_norm", eps), rectifier=rectifier,
    )  # fmt: skip
