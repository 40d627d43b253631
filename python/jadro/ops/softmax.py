"""Softmax and its logarithm along an axis."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..autograd import Function, Node
from ..backend import Array, seen
from ..tensor import Tensor
from .common import axis_index, remembered
from .elementwise import Exp
from .reduce import Sum, floating
from .shape import reshape
from .windows import Sizes


class Softmax(Function):
    """y = exp(x) / sum exp(x) along an axis; dx = y (dy - sum(dy y)). x is seen as `shape`: what is before the axis,
    the axis, what is behind it."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, axis: int, shape: Sizes) -> Array:
        ctx.axis, ctx.shape = axis, shape
        y = backend.empty_like(x)
        if x.size:
            backend.kernel(x, "softmax_forward")(seen(x, shape), seen(y, shape), ctx.fn is LogSoftmax)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        (y,), shape = ctx.saved, ctx.shape
        dx = backend.empty_like(y)
        if y.size:
            run = backend.kernel(y, "softmax_backward")
            run(seen(dy, shape), seen(y, shape), seen(dx, shape), ctx.fn is LogSoftmax)
        return dx

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        y = ctx.saved[0]
        return y * (dy - Sum.call(dy * y, axes=(ctx.axis,), keepdim=True))


class LogSoftmax(Softmax):
    """y = x - log sum exp(x) along an axis; dx = dy - exp(y) sum(dy)"""

    name = "log_softmax"

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        return dy - Exp.call(ctx.saved[0]) * Sum.call(dy, axes=(ctx.axis,), keepdim=True)


@remembered
def _plan(call: str, x: Sizes, dim: Any) -> tuple[int, Sizes]:
    """The axis and the shape in which x is seen."""
    axis = axis_index(call, dim, len(x))
    return axis, (math.prod(x[:axis]), x[axis], math.prod(x[axis + 1 :]))


def softmax(x: Any, dim: int = -1, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """exp(x) / sum exp(x) along an axis; x is taken in `dtype` where one is given."""
    x = floating(x, dtype)
    if not x.data.ndim:
        return reshape(softmax(reshape(x, 1), dim, axis=axis), ())
    place, shape = _plan("softmax", x.data.shape, dim if axis is None else axis)
    return Softmax.apply(x, axis=place, shape=shape)


def log_softmax(x: Any, dim: int = -1, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """x - log sum exp(x) along an axis; x is taken in `dtype` where one is given."""
    x = floating(x, dtype)
    if not x.data.ndim:
        return reshape(log_softmax(reshape(x, 1), dim, axis=axis), ())
    place, shape = _plan("log_softmax", x.data.shape, dim if axis is None else axis)
    return LogSoftmax.apply(x, axis=place, shape=shape)
