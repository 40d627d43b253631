"""Indexing: elements read by slices, masks and integer arrays, and their gradients scattered back."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import axis_index, check_integer


def _is_basic(index: Any) -> bool:
    """Whether `index` picks no element twice: slices and integers only."""
    return all(isinstance(i, (int, slice, np.integer)) or i is None or i is Ellipsis for i in index)


class GetItem(Elementary):
    """y = x[index]"""

    is_view = True
    may_warn = False
    name = "indexing"

    @staticmethod
    def forward(ctx: Node, x: Array, *, index: tuple[Any, ...]) -> Array:
        ctx.index, ctx.shape = index, x.shape
        return x[index]

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Scatter.call(dy, index=ctx.index, shape=ctx.shape)


class Scatter(Elementary):
    """y = zeros of `shape`, y[index] += x"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, index: tuple[Any, ...], shape: tuple[int, ...]) -> Array:
        ctx.index = index
        y = backend.empty_like(x, shape)
        y[...] = 0
        if _is_basic(index) or all(getattr(i, "dtype", None) == np.bool_ for i in index):
            y[index] = x
        elif isinstance(x, np.ndarray):
            np.add.at(y, index, x)
        else:
            backend.cupy().add.at(y, index, x)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return GetItem.call(dy, index=ctx.index)


def plain_index(index: Any) -> tuple[Any, ...]:
    """An index as a tuple that arrays take: Tensors and lists become arrays. TypeError for floating indices."""
    parts = index if isinstance(index, tuple) else (index,)
    plain: list[Any] = []
    for part in parts:
        if isinstance(part, (int, slice)):
            plain.append(part)
            continue
        if isinstance(part, Tensor):
            part = part.data
        elif isinstance(part, (list, range)):
            part = np.asarray(part, dtype=np.int64) if not len(part) else np.asarray(part)
        if getattr(part, "dtype", np.dtype(np.int64)).kind not in "iub":
            raise TypeError(f"indexing: an index has dtype {part.dtype}, expected integers or booleans")
        plain.append(part)
    return tuple(plain)


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index] with NumPy's rules: integers, slices, None, Ellipsis, boolean masks, integer arrays.

    IndexError outside the shape, TypeError for other indices."""
    return GetItem.apply(x, index=plain_index(index))


def take_along(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """y[.., i, ..] = x[.., index[.., i, ..], ..] along `axis`; index has x's rank."""
    grid = np.ogrid[tuple(slice(n) for n in index.shape)]
    parts = [index.data if i == axis else g for i, g in enumerate(grid)]
    return GetItem.apply(x, index=tuple(parts))


def gather(x: Tensor, dim: int, index: Any) -> Tensor:
    """As PyTorch's gather: y[i][j] = x[index[i][j]][j] for dim 0; index has x's rank, and no larger size elsewhere."""
    index = as_tensor(index)
    check_integer("gather", "index", index.data)
    axis = axis_index("gather", dim, x.data.ndim)
    fits = index.data.ndim == x.data.ndim and all(
        i == axis or n <= m for i, (n, m) in enumerate(zip(index.shape, x.shape, strict=False))
    )
    if not fits:
        raise ValueError(
            f"gather: index has shape {index.shape}, expected the rank of {x.shape} and no larger size but at {axis}"
        )
    if index.data.size and (index.data.min() < 0 or index.data.max() >= x.shape[axis]):
        raise ValueError(
            f"gather: index reaches {index.data.min()}..{index.data.max()}, expected 0..{x.shape[axis] - 1}"
        )
    return take_along(x, index, axis)


def index_select(x: Tensor, dim: int, index: Any) -> Tensor:
    """The slices of x at the integers `index` along an axis."""
    index = as_tensor(index)
    check_integer("index_select", "index", index.data)
    return getitem(x, (slice(None),) * axis_index("index_select", dim, x.data.ndim) + (index.data,))
