"""Embedding: rows of a table picked by integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import check_float, check_integer
from .index import Scatter


class Embedding(Function):
    """weight[V,E], ids[R] -> y[R,E] = weight[ids]; rows `padding` (-1: none) get no gradient"""

    @staticmethod
    def forward(ctx: Node, weight: Array, *, ids: Array, padding: int) -> Array:
        ctx.ids, ctx.padding, ctx.shape = ids, padding, weight.shape
        y = backend.empty_like(weight, (ids.size, weight.shape[1]))
        if y.size:
            backend.kernel(weight, "embedding_forward")(backend.contiguous(weight), ids, y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        dw = backend.empty_like(dy, ctx.shape)
        if dy.size:
            backend.kernel(dy, "embedding_backward")(backend.contiguous(dy), ctx.ids, dw, ctx.padding)
        else:
            dw[...] = 0
        return dw

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        kept = (ctx.ids != ctx.padding)[:, None]
        return Scatter.apply(dy * as_tensor(kept), index=(ctx.ids,), shape=ctx.shape)


def embedding(x: Any, weight: Any, padding_idx: int | None = None) -> Tensor:
    """weight[x]. x: integers of any shape in 0..V-1, weight: [V, E]; y: [*x.shape, E].

    padding_idx: this row gets no gradient. Raises TypeError where x is not integers, ValueError for ids outside the
    table; on CUDA their rows are NaN.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    check_integer("embedding", "x", x.data)
    check_float("embedding", "weight", weight.data)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight has shape {weight.shape}, expected two axes, [entries, features]")
    entries = weight.shape[0]
    # To check on CUDA the call would have to wait for the GPU: there these rows are NaN.
    if isinstance(x.data, np.ndarray) and x.numel() and (x.data.min() < 0 or x.data.max() >= entries):
        raise ValueError(f"embedding: x reaches from {x.data.min()} to {x.data.max()}, expected 0..{entries - 1}")
    if padding_idx is not None and not -entries <= padding_idx < entries:
        raise ValueError(f"embedding: padding_idx is {padding_idx}, expected {-entries}..{entries - 1}")
    ids = backend.contiguous(x.data.astype(np.int64, copy=False)).reshape(-1)
    y = Embedding.apply(weight, ids=ids, padding=-1 if padding_idx is None else padding_idx % entries)
    return y.reshape(*x.shape, weight.shape[1])
