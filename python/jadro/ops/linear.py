"""The linear layer y = x W^T + b."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from ..autograd import Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import check_float
from .matmul import matmul, product


class Linear(Function):
    """x[R,I], w[O,I], b[O] -> y[R,O] = x w^T + b; dx = dy w, dw = dy^T x, db = sum of dy's rows"""

    @staticmethod
    def forward(ctx: Node, x: Array, w: Array, b: Array | None) -> Array:
        ctx.save(x, w)
        if not isinstance(x, np.ndarray) or x.size == 0 or w.size == 0:
            y = np.matmul(x, w.T)
            return y if b is None else y + b
        y = backend.empty((x.shape[0], w.shape[0]), x.dtype)
        bias = None if b is None else backend.contiguous(b)
        backend.native(x).gemm(backend.contiguous(x), backend.contiguous(w), y, bias, trans_b=True)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, w = ctx.saved
        dx = product(dy, w) if ctx.needs[0] else None
        dw = product(dy.T, x) if ctx.needs[1] else None
        return dx, dw, dy.sum(axis=0) if ctx.needs[2] else None

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved
        dx = matmul(dy, w) if ctx.needs[0] else None
        dw = matmul(dy.T, x) if ctx.needs[1] else None
        return dx, dw, dy.sum(0) if ctx.needs[2] else None


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x W^T + b. x: [..., I], weight: [O, I] or [I], bias: [O]; y: [..., O], or [...] for a weight without the axis
    O.

    Raises ValueError for shapes that do not fit, TypeError for dtypes that are not floating or differ.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.ndim == 1:
        y = linear(x, weight.unsqueeze(0))
        return y.squeeze(-1) if bias is None else y.squeeze(-1) + bias
    if weight.ndim != 2:
        raise ValueError(f"linear: weight has shape {weight.shape}, expected two axes, [out, in]")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: x has shape {x.shape}, expected (..., {weight.shape[1]}): weight has shape {weight.shape}"
        )
    check_float("linear", "x", x.data)
    check_float("linear", "weight", weight.data, x.data)
    if bias is not None:
        bias = as_tensor(bias)
        check_float("linear", "bias", bias.data, x.data)
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"linear: bias has shape {bias.shape}, expected {weight.shape[:1]}")
    if x.ndim == 2:
        return Linear.apply(x, weight, bias)
    lead = x.shape[:-1]
    y = Linear.apply(x.reshape(math.prod(lead), x.shape[-1]), weight, bias)
    return y.reshape(*lead, weight.shape[0])
