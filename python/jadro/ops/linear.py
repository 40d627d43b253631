"""The linear layer y = x W^T + b."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from ..autograd import Function, Node
from ..backend import Array, contiguous, total
from ..tensor import Tensor
from .common import remembered, shape_of, tensors
from .matmul import matmul, product


def _rows(x: Any) -> Any:
    """x [..., I], an array or a Tensor, as [R, I]."""
    shape = x.shape
    return x if len(shape) == 2 else x.reshape(math.prod(shape[:-1]), shape[-1])


class Linear(Function):
    """x[...,I], w[O,I], b[O] -> y[...,O] = x w^T + b; dx = dy w, dw = dy^T x, db = sum of dy's rows"""

    @staticmethod
    def forward(ctx: Node, x: Array, w: Array, b: Array | None) -> Array:
        ctx.save(x, w)
        if isinstance(x, np.ndarray):
            return _core.matmul(x, w, contiguous(b), False, True)
        y = np.matmul(x, w.T)
        return y if b is None else y + b

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, w = ctx.saved
        rows = _rows(dy)
        dx = product(rows, w).reshape(x.shape) if ctx.needs[0] else None
        dw = product(rows, _rows(x), True) if ctx.needs[1] else None
        return dx, dw, total(rows, (0,)) if ctx.needs[2] else None

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved
        rows = _rows(dy)
        dx = matmul(dy, w) if ctx.needs[0] else None
        dw = matmul(rows.T, _rows(x)) if ctx.needs[1] else None
        return dx, dw, rows.sum(0) if ctx.needs[2] else None


@remembered
def _check(x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...] | None) -> None:
    if len(weight) != 2:
        raise ValueError(f"linear: weight has shape {weight}, expected two axes, [out, in]")
    if not x or x[-1] != weight[1]:
        raise ValueError(f"linear: x has shape {x}, expected (..., {weight[1]}): weight has shape {weight}")
    if bias is not None and bias != weight[:1]:
        raise ValueError(f"linear: bias has shape {bias}, expected {weight[:1]}")


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x W^T + b. x: [..., I], weight: [O, I] or [I], bias: [O]; y: [..., O], or [...] for a weight without the axis
    O.

    Raises ValueError for shapes that do not fit, TypeError for dtypes that are not floating or differ.
    """
    x, weight, bias = tensors("linear", "x weight bias", 2, x, weight, bias)
    if weight.ndim == 1:
        y = linear(x, weight.unsqueeze(0)).squeeze(-1)
        return y if bias is None else y + bias
    _check(x.data.shape, weight.data.shape, shape_of(bias))
    return Linear.apply(x, weight, bias)


def bilinear(x1: Any, x2: Any, weight: Any, bias: Any = None) -> Tensor:
    """y_o = x1^T W_o x2 + b_o. x1: [..., I], x2: [..., J], weight: [O, I, J], bias: [O]; y: [..., O].

    Raises ValueError for shapes that do not fit, TypeError for dtypes that are not floating or differ.
    """
    x1, x2, weight, bias = tensors("bilinear", "x1 x2 weight bias", 3, x1, x2, weight, bias)
    shapes = x1.shape, x2.shape, weight.shape
    if weight.ndim != 3 or x1.shape[:-1] != x2.shape[:-1] or weight.shape[1:] != x1.shape[-1:] + x2.shape[-1:]:
        raise ValueError(f"bilinear: x1, x2 and weight have shapes {shapes}, expected [..., I], [..., J] and [O, I, J]")
    y = linear(x2, weight.flatten(0, 1)).unflatten(-1, weight.shape[:2])
    y = (y * x1.unsqueeze(-2)).sum(-1)
    return y if bias is None else y + bias
