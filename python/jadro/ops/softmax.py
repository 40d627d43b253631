"""Softmax and its logarithm along an axis."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..autograd import Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import axis_index
from .elementwise import Exp
from .reduce import Sum, _floating


class Softmax(Function):
    """y = exp(x) / sum exp(x) along an axis; dx = y (dy - sum(dy y))"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, axis: int) -> Array:
        ctx.axis, ctx.log = axis, ctx.fn is LogSoftmax
        ctx.sizes = math.prod(x.shape[:axis]), x.shape[axis] if x.ndim else 1, math.prod(x.shape[axis + 1 :])
        y = backend.empty_like(x)
        if x.size:
            backend.kernel(x, "softmax_forward")(
                backend.contiguous(x).reshape(ctx.sizes), y.reshape(ctx.sizes), ctx.log
            )
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        y, sizes = ctx.saved[0], ctx.sizes
        dx = backend.empty_like(y)
        if y.size:
            dys, ys = backend.contiguous(dy).reshape(sizes), backend.contiguous(y).reshape(sizes)
            backend.kernel(y, "softmax_backward")(dys, ys, dx.reshape(sizes), ctx.log)
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


def softmax(x: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """exp(x) / sum exp(x) along an axis."""
    x = as_tensor(x)
    return Softmax.apply(_floating(x), axis=axis_index("softmax", dim if axis is None else axis, x.data.ndim))


def log_softmax(x: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """x - log sum exp(x) along an axis."""
    x = as_tensor(x)
    return LogSoftmax.apply(_floating(x), axis=axis_index("log_softmax", dim if axis is None else axis, x.data.ndim))
