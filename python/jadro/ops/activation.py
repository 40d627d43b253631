"""ReLU, tanh and the logistic sigmoid on the native kernel."""

from __future__ import annotations

from typing import Any

from .. import backend
from ..autograd import Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import check_float


class Activation(Function):
    """y = f(x), the f of the Function's name. Every gradient is a function of y, so y is all that is kept."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        check_float(ctx.fn.name, "x", x)
        y = backend.empty_like(x)
        backend.kernel(x, "activation_forward")(ctx.fn.name, backend.contiguous(x), y)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        dx = backend.empty_like(dy)
        backend.kernel(dy, "activation_backward")(ctx.fn.name, backend.contiguous(dy), ctx.saved[0], dx)
        return dx


class Relu(Activation):
    """y = max(x, 0), NaN stays NaN; dx = dy where y > 0"""

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        return dy * (ctx.saved[0] > 0)


class Tanh(Activation):
    """dx = dy (1 - y^2)"""

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        y = ctx.saved[0]
        return dy * (1 - y * y)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)); dx = dy y (1 - y)"""

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        y = ctx.saved[0]
        return dy * (y * (1 - y))


def relu(x: Any) -> Tensor:
    """max(x, 0) elementwise; the gradient at 0 is 0. TypeError where x is not floating."""
    return Relu.apply(as_tensor(x))


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent elementwise. TypeError where x is not floating."""
    return Tanh.apply(as_tensor(x))


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)) elementwise. TypeError where x is not floating."""
    return Sigmoid.apply(as_tensor(x))
