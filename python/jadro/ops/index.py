"""Indexing: elements read by slices, masks and integer arrays, and their gradients scattered back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor, wrap
from .common import axis_index, check_integer
from .elementwise import where
from .shape import expand, flatten, unbind


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
    return GetItem.apply(x, index=along(index.data, axis))


def along(index: Array, axis: int) -> tuple[Array, ...]:
    """What takes x[.., index[.., i, ..], ..] from x."""
    grid = np.ogrid[tuple(slice(n) for n in index.shape)]
    return tuple(index if i == axis else g for i, g in enumerate(grid))


def _checked(call: str, x: Tensor, dim: int, index: Any) -> tuple[Tensor, int]:
    """The index and the axis of gather and scatter."""
    index = as_tensor(index)
    check_integer(call, "index", index.data)
    axis = axis_index(call, dim, x.data.ndim)
    fits = index.data.ndim == x.data.ndim and all(
        i == axis or n <= m for i, (n, m) in enumerate(zip(index.shape, x.shape, strict=False))
    )
    if not fits:
        raise ValueError(
            f"{call}: index has shape {index.shape}, expected the rank of {x.shape} and no larger size but at {axis}"
        )
    if index.data.size and (index.data.min() < 0 or index.data.max() >= x.shape[axis]):
        raise ValueError(
            f"{call}: index reaches {index.data.min()}..{index.data.max()}, expected 0..{x.shape[axis] - 1}"
        )
    return index, axis


def gather(x: Tensor, dim: int, index: Any) -> Tensor:
    """As PyTorch's gather: y[i][j] = x[index[i][j]][j] for dim 0; index has x's rank, and no larger size elsewhere."""
    return take_along(x, *_checked("gather", x, dim, index))


def take_along_dim(x: Tensor, indices: Any, dim: int | None = None) -> Tensor:
    """As gather, but the other axes are broadcast together; without `dim` both are taken flat."""
    indices = as_tensor(indices)
    if dim is None:
        return gather(flatten(x), 0, flatten(indices))
    axis = axis_index("take_along_dim", dim, x.data.ndim)
    shape = [*np.broadcast_shapes(*((*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in (x, indices)))]
    shape[axis] = -1
    return gather(expand(x, *shape), axis, expand(indices, *shape))


def index_select(x: Tensor, dim: int, index: Any) -> Tensor:
    """The slices of x at the integers `index` along an axis."""
    index = as_tensor(index)
    check_integer("index_select", "index", index.data)
    return getitem(x, (slice(None),) * axis_index("index_select", dim, x.data.ndim) + (index.data,))


class Put(Elementary):
    """y = x but for y[index] = src"""

    @staticmethod
    def forward(ctx: Node, x: Array, src: Array, *, index: tuple[Any, ...]) -> Array:
        ctx.index = index
        y = backend.empty_like(x)
        y[...] = x
        y[index] = src
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        dx = Put.call(dy, dy.dtype.type(0), index=ctx.index) if ctx.needs[0] else None
        return dx, GetItem.call(dy, index=ctx.index) if ctx.needs[1] else None


def _source(call: str, x: Tensor, index: Tensor, src: Any) -> Tensor:
    """What of `src` goes to the places `index`."""
    src = as_tensor(src)
    if src.dtype != x.dtype:
        raise TypeError(f"{call}: src has dtype {src.dtype}, expected {x.dtype} as x has")
    if src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
        raise ValueError(f"{call}: src has shape {src.shape}, expected {index.shape}, that of index, or larger")
    return src[tuple(slice(n) for n in index.shape)]


def scatter(
    x: Tensor, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """x with the elements of `src`, or the number `value`, where gather would read: y[index[i][j]][j] = src[i][j] for
    dim 0. With reduce "add" they are added.

    ValueError for shapes, another `reduce` and places that are not there, TypeError for dtypes."""
    if reduce not in (None, "add"):
        raise ValueError(f"scatter: reduce is {reduce!r}, expected None or 'add'")
    if isinstance(src := value if src is None else src, (int, float)):
        src = expand(as_tensor(np.full_like(x.data, src, shape=())), *as_tensor(index).shape)
    if reduce:
        return scatter_add(x, dim, index, src)
    index, axis = _checked("scatter", x, dim, index)
    return Put.apply(x, _source("scatter", x, index, src), index=along(index.data, axis))


def scatter_add(x: Tensor, dim: int, index: Any, src: Any) -> Tensor:
    """x with the elements of `src` added where gather would read; errors as in scatter."""
    index, axis = _checked("scatter_add", x, dim, index)
    return x + Scatter.apply(_source("scatter_add", x, index, src), index=along(index.data, axis), shape=x.shape)


def index_add(x: Tensor, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Tensor:
    """x with alpha times the slices of `source` added to its slices at the integers `index`. ValueError for shapes."""
    axis, source = axis_index("index_add", dim, x.data.ndim), as_tensor(source)
    at = plain_index((slice(None),) * axis + (index,))
    wanted = (*x.shape[:axis], len(at[-1]), *x.shape[axis + 1 :])
    if source.shape != wanted:
        raise ValueError(f"index_add: source has shape {source.shape}, expected {wanted}")
    return x + Scatter.apply(source if alpha == 1 else source * alpha, index=at, shape=x.shape)


def masked_select(x: Tensor, mask: Any) -> Tensor:
    """The elements of x where `mask` is true, as a vector; the two are broadcast together."""
    mask = as_tensor(mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"masked_select: mask has dtype {mask.dtype}, expected booleans")
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return expand(x, *shape)[expand(mask, *shape)]


def repeat_interleave(x: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Each slice along an axis (None: each element, as a vector) `repeats` times: an integer, or one a slice."""
    x, dim = (flatten(x), 0) if dim is None else (x, dim)
    times, size = as_tensor(repeats).cpu().numpy(), x.shape[dim]
    if times.size not in (1, size) or (times < 0).any():
        raise ValueError(f"repeat_interleave: repeats is {repeats}, expected counts >= 0, one or {size}")
    return index_select(x, dim, np.repeat(np.arange(size), times))


def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0, [count, axes]; with `as_tuple` a vector an axis."""
    found = wrap(np.argwhere(x.data))
    return unbind(found, 1) if as_tuple else found


def _triangle(call: str, lower: bool) -> Callable[..., Tensor]:
    def run(x: Tensor, diagonal: int = 0) -> Tensor:
        if x.ndim < 2:
            raise ValueError(f"{call}: x has shape {x.shape}, expected two axes at least")
        mask = np.tri(x.shape[-2], x.shape[-1], diagonal - (not lower), dtype=np.bool_) == lower
        return where(backend.to_device(mask, x.device), x, x.dtype.type(0))

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"Matrices x [..., N, M] with 0 {'above' if lower else 'below'} their diagonal, moved right."
    return run


tril, triu = _triangle("tril", True), _triangle("triu", False)


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of the elements [i, i + offset] of two axes, as the last axis."""
    return flatten(x)[np.arange(x.data.size).reshape(x.shape).diagonal(offset, dim1, dim2)]


def diag(x: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with the vector x there; ValueError for other ranks."""
    if x.ndim == 2:
        return x.diagonal(diagonal)
    if x.ndim != 1:
        raise ValueError(f"diag: x has shape {x.shape}, expected one axis or two")
    places = np.eye(len(x) + abs(diagonal), k=diagonal, dtype=np.bool_)
    return Scatter.apply(x, index=(backend.to_device(places, x.device),), shape=places.shape)
