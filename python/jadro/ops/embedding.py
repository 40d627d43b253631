"""Embedding: rows of a table picked by integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Function, Node, no_grad
from ..backend import Array, contiguous, seen
from ..tensor import Tensor, as_tensor
from .common import INT64, check_integer, remembered, tensors
from .elementwise import clamp
from .index import Scatter
from .reduce import norm
from .windows import Sizes


class Embedding(Function):
    """weight[V,E], ids[...] -> y[...,E] = weight[ids]; dy times `scale` [...,1] (None: 1) is added up by rows, of which
    `padding` (-1: none) gets no gradient"""

    @staticmethod
    def forward(ctx: Node, weight: Array, *, ids: Array, padding: int, scale: Array | None) -> Array:
        ctx.ids, ctx.padding, ctx.scale, ctx.shape = ids, padding, scale, weight.shape
        rows, features = (ids.size,), weight.shape[1]
        y = backend.empty_like(weight, (*ids.shape, features))
        if y.size or isinstance(ids, np.ndarray):  # the kernel of the CPU checks the ids
            run = backend.kernel(weight, "embedding_forward")
            run(contiguous(weight), seen(ids, rows), seen(y, (*rows, features)))
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        dy = dy if ctx.scale is None else dy * ctx.scale
        dw = backend.empty_like(dy, ctx.shape)
        if dy.size:
            rows = (ctx.ids.size,)
            run = backend.kernel(dy, "embedding_backward")
            run(seen(dy, (*rows, ctx.shape[1])), seen(ctx.ids, rows), dw, ctx.padding)
        else:
            dw[...] = 0
        return dw

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        kept = (ctx.ids != ctx.padding)[..., None]
        kept = kept if ctx.scale is None else kept * ctx.scale
        return Scatter.apply(dy * as_tensor(kept), index=(ctx.ids,), shape=ctx.shape)


@remembered
def _padding(weight: Sizes, padding_idx: int | None) -> int:
    """`padding_idx` as a row, -1 for none."""
    if len(weight) != 2:
        raise ValueError(f"embedding: weight has shape {weight}, expected two axes, [entries, features]")
    entries = weight[0]
    if padding_idx is not None and not -entries <= padding_idx < entries:
        raise ValueError(f"embedding: padding_idx is {padding_idx}, expected {-entries}..{entries - 1}")
    return -1 if padding_idx is None else padding_idx % entries


def embedding(
    x: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
) -> Tensor:  # fmt: skip
    """weight[x]. x: integers of any shape in 0..V-1, weight: [V, E]; y: [*x.shape, E].

    padding_idx: this row gets no gradient. max_norm: rows of x whose norm of order `norm_type` is larger are first
    scaled down to it, in `weight` itself. scale_grad_by_freq: the gradient of a row is divided by how often x has it.
    Raises TypeError where x is not integers, ValueError for ids outside the table; on CUDA their rows are NaN.
    """
    ids = as_tensor(x).data
    (weight,) = tensors("embedding", "weight", 1, weight)
    check_integer("embedding", "x", ids)
    padding = _padding(weight.data.shape, padding_idx)
    if ids.dtype is not INT64:
        ids = ids.astype(INT64, copy=False)
    try:
        if max_norm is not None:
            _bound(weight, np.unique(ids), max_norm, norm_type)
        return Embedding.apply(
            weight, ids=ids, padding=padding, scale=_rarity(ids, weight) if scale_grad_by_freq else None
        )
    except (IndexError, ValueError):
        raise ValueError(
            f"embedding: x reaches from {ids.min()} to {ids.max()}, expected 0..{weight.shape[0] - 1}"
        ) from None


def _bound(weight: Tensor, rows: Array, most: float, order: float) -> None:
    """Scales the rows of `weight` whose norm is larger than `most` down to it, in place."""
    with no_grad():
        norms = norm(weight[rows], order, 1, True)
        weight[rows] = weight[rows] * clamp(most / (norms + 1e-7), max=1.0)


def _rarity(ids: Array, weight: Tensor) -> Array:
    """1 / how often each id is among them, [..., 1] in the dtype of `weight`."""
    _, places, counts = np.unique(ids, return_inverse=True, return_counts=True)
    return (1 / counts).astype(weight.dtype)[places].reshape(*ids.shape, 1)
