"""The linear layer y = x W^T + b."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from .._core import gemm
from ..autograd import Function, Node
from ..backend import Array, total
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
        y = backend.empty_like(x, (x.shape[0], w.shape[0]))
        bias = None if b is None else backend.contiguous(b)
        gemm(backend.contiguous(x), backend.contiguous(w), y, bias, False, True)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, w = ctx.saved
        dx = product(dy, w) if ctx.needs[0] else None
        dw = product(dy.T, x) if ctx.needs[1] else None
        return dx, dw, total(dy, (0,)) if ctx.needs[2] else None

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
    given, wide = x.data.shape, weight.data.shape
    if len(wide) == 1:
        y = linear(x, weight.unsqueeze(0))
        return y.squeeze(-1) if bias is None else y.squeeze(-1) + bias
    if len(wide) != 2:
        raise ValueError(f"linear: weight has shape {wide}, expected two axes, [out, in]")
    if not given or given[-1] != wide[1]:
        raise ValueError(f"linear: x has shape {given}, expected (..., {wide[1]}): weight has shape {wide}")
    check_float("linear", "x", x.data)
    check_float("linear", "weight", weight.data, x.data)
    if bias is not None:
        bias = as_tensor(bias)
        check_float("linear", "bias", bias.data, x.data)
        if bias.data.shape != wide[:1]:
            raise ValueError(f"linear: bias has shape {bias.shape}, expected {wide[:1]}")
    if len(given) == 2:
        return Linear.apply(x, weight, bias)
    lead = given[:-1]
    y = Linear.apply(x.reshape(math.prod(lead), given[-1]), weight, bias)
    return y.reshape(*lead, wide[0])
