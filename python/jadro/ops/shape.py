"""Operations that move elements: reshape, permute, expand, join."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import same_floats
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import axis_index, axis_tuple, flat_ints, promote, remembered


class Reshape(Elementary):
    is_view = True
    may_warn = False

    @staticmethod
    def forward(ctx: Node, x: Array, *, shape: tuple[int, ...]) -> Array:
        ctx.shape = x.shape
        return x.reshape(shape)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Reshape.call(dy, shape=ctx.shape)


class Permute(Elementary):
    """y = x with axis axes[i] at place i."""

    is_view = True
    may_warn = False

    @staticmethod
    def forward(ctx: Node, x: Array, *, axes: tuple[int, ...]) -> Array:
        ctx.axes = axes
        return x.transpose(axes)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Permute.call(dy, axes=tuple(ctx.axes.index(i) for i in range(len(ctx.axes))))


class Expand(Elementary):
    """y = x broadcast to `shape`."""

    is_view = True
    may_warn = False

    @staticmethod
    def forward(ctx: Node, x: Array, *, shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(x, shape)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy


class Cat(Elementary):
    """The arrays side by side along an axis; `stacked` along a new one."""

    @staticmethod
    def forward(ctx: Node, *xs: Array, axis: int, stacked: bool = False) -> Array:
        if True in ctx.needs:
            ctx.axis, ctx.sizes = axis, None if stacked else [x.shape[axis] for x in xs]
        y = _core.join(xs, axis, stacked)
        if y is not NotImplemented:
            return y
        return np.stack(xs, axis=axis) if stacked else np.concatenate(xs, axis=axis)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        parts: Any = range(dy.shape[ctx.axis])
        if ctx.sizes is not None:
            ends = itertools.accumulate(ctx.sizes)
            parts = [slice(end - n, end) for n, end in zip(ctx.sizes, ends, strict=True)]
        places = [(slice(None),) * ctx.axis + (part,) for part in parts]
        return tuple([dy[place] for place in places])


def _full_shape(call: str, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """`shape` with its -1 filled in; ValueError where `size` elements do not fit it."""
    known = math.prod(n for n in shape if n != -1)
    holes = shape.count(-1)
    if holes == 1 and known and size % known == 0:
        return tuple(size // known if n == -1 else n for n in shape)
    if holes or known != size or min(shape, default=0) < 0:
        raise ValueError(f"{call}: shape is {shape}, which cannot hold {size} elements")
    return shape


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """x with another shape, sharing memory where strides allow; one size may be -1. ValueError where the sizes do not
    fit."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    try:
        if min(sizes, default=0) >= -1:
            return Reshape.apply(x, shape=sizes)
    except (TypeError, ValueError):
        pass  # the checks below say what is wrong
    return Reshape.apply(x, shape=_full_shape("reshape", flat_ints("reshape", "shape", shape), x.data.size))


def view(x: Tensor, *shape: Any) -> Tensor:
    """As reshape, but never a copy: ValueError where the strides of x do not allow a view."""
    full = _full_shape("view", flat_ints("view", "shape", shape), x.data.size)
    out = Reshape.apply(x, shape=full)
    if x.data.size and not np.may_share_memory(x.data, out.data):
        raise ValueError(f"view: shape is {full}, which the strides {x.data.strides} do not allow; use reshape")
    return out


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """x with the axes start_dim..end_dim made one; a scalar becomes one element."""
    if x.data.ndim == 0:
        return Reshape.apply(x, shape=(1,))
    first, last = (axis_index("flatten", d, x.data.ndim) for d in (start_dim, end_dim))
    if first > last:
        raise ValueError(f"flatten: start_dim is {start_dim} and end_dim is {end_dim}, expected start_dim <= end_dim")
    shape = x.shape
    return Reshape.apply(x, shape=(*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """x with the axis `dim` as several of `sizes`, one of which may be -1. ValueError where their product is another
    size."""
    place = axis_index("unflatten", dim, x.data.ndim)
    split = _full_shape("unflatten", flat_ints("unflatten", "sizes", tuple(sizes)), x.shape[place])
    return Reshape.apply(x, shape=(*x.shape[:place], *split, *x.shape[place + 1 :]))


def squeeze(x: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """x without its axes of size 1: all of them, or those in `dim` (an int or several)."""
    if dim == ():
        return x
    axes = axis_tuple("squeeze", x.data.ndim, dim, axis)
    drop = [i for i, n in enumerate(x.shape) if n == 1 and (axes is None or i in axes)]
    return Reshape.apply(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in drop))


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """x with a new axis of size 1 at place `dim`."""
    place = axis_index("unsqueeze", dim, x.data.ndim + 1)
    return Reshape.apply(x, shape=(*x.shape[:place], 1, *x.shape[place:]))


def permute(x: Tensor, *dims: Any) -> Tensor:
    """x with its axes in the order `dims`."""
    order = flat_ints("permute", "dims", dims)
    axes = tuple(axis_index("permute", d, x.data.ndim) for d in order)
    if sorted(axes) != list(range(x.data.ndim)):
        raise ValueError(f"permute: dims is {order}, expected each of the {x.data.ndim} axes once")
    return Permute.apply(x, axes=axes)


def transpose(x: Tensor, *dims: Any) -> Tensor:
    """x with two axes exchanged: `transpose(0, 1)`. As in NumPy, no argument reverses all axes, and a tuple permutes
    them."""
    if not dims:
        return Permute.apply(x, axes=tuple(range(x.data.ndim))[::-1])
    if len(dims) != 2 or x.data.ndim == 2:
        order = flat_ints("transpose", "dims", dims)
        if len(order) != 2:
            return permute(x, *order)
        dims = order
    axes = list(range(x.data.ndim))
    i, j = (axis_index("transpose", d, x.data.ndim) for d in dims)
    axes[i], axes[j] = axes[j], axes[i]
    return Permute.apply(x, axes=tuple(axes))


def reverse_axes(x: Tensor) -> Tensor:
    """x with its axes in reverse order: `x.T`."""
    return Permute.apply(x, axes=tuple(range(x.data.ndim))[::-1])


def t(x: Tensor) -> Tensor:
    """A matrix with its axes exchanged; a vector or a number as it is. ValueError for more axes."""
    if x.data.ndim > 2:
        raise ValueError(f"t: x has shape {x.shape}, expected at most two axes")
    return reverse_axes(x)


def swap_last(x: Tensor) -> Tensor:
    """x with its last two axes exchanged: `x.mT`."""
    return transpose(x, -2, -1)


def expand(x: Tensor, *sizes: Any) -> Tensor:
    """x broadcast to `sizes` without a copy; -1 keeps a size."""
    want = flat_ints("expand", "sizes", sizes)
    lead = len(want) - x.data.ndim
    shape = tuple(x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(want))
    if lead < 0 or any(n < 0 or (i >= lead and x.shape[i - lead] not in (1, n)) for i, n in enumerate(shape)):
        raise ValueError(f"expand: sizes is {want}, which x of shape {x.shape} cannot be broadcast to")
    return Expand.apply(x, shape=shape)


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """As expand."""
    return expand(x, *shape)


def expand_as(x: Tensor, other: Tensor) -> Tensor:
    return expand(x, *other.shape)


def repeat(x: Tensor, *sizes: Any) -> Tensor:
    """x tiled sizes[i] times along axis i, new axes in front."""
    times = flat_ints("repeat", "sizes", sizes)
    lead = len(times) - x.data.ndim
    if lead < 0 or min(times, default=0) < 0:
        raise ValueError(f"repeat: sizes is {times}, expected a count >= 0 for each of the {x.data.ndim} axes at least")
    shape = (1,) * lead + x.shape
    pairs = [(t, n) for t, n in zip(times, shape, strict=True)]
    split = Reshape.apply(x, shape=tuple(m for _, n in pairs for m in (1, n)))
    tiled = Expand.apply(split, shape=tuple(m for pair in pairs for m in pair))
    return Reshape.apply(tiled, shape=tuple(t * n for t, n in pairs))


@remembered
def _cat_axis(dim: int, *shapes: tuple[int, ...]) -> int:
    place = axis_index("cat", dim, len(shapes[0]))
    rest = shapes[0][:place] + shapes[0][place + 1 :]
    for i, shape in enumerate(shapes):
        if len(shape) != len(shapes[0]) or shape[:place] + shape[place + 1 :] != rest:
            raise ValueError(f"cat: tensors[{i}] has shape {shape}, expected {shapes[0]} but for axis {place}")
    return place


def cat(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """The tensors joined along an axis; their other sizes must agree. ValueError for none, or for shapes that do not
    fit."""
    xs = _alike("cat", tensors)
    shapes = [x.data.shape for x in xs]
    if (0,) in shapes and any(len(shape) > 1 for shape in shapes):  # what a result is begun with, as in PyTorch
        xs = [x for x in xs if x.data.shape != (0,)]
        shapes = [x.data.shape for x in xs]
    return Cat.apply(*xs, axis=_cat_axis(dim if axis is None else axis, *shapes))


def _alike(call: str, tensors: Sequence[Any]) -> Sequence[Tensor]:
    """`tensors` as Tensors of one dtype; ValueError for none."""
    xs = tuple(tensors)
    if not xs:
        raise ValueError(f"{call}: tensors is empty, expected one at least")
    return xs if same_floats(xs, len(xs)) else promote(*map(as_tensor, xs))


@remembered
def _stack_axis(dim: int, *shapes: tuple[int, ...]) -> int:
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(f"stack: tensors[{i}] has shape {shape}, expected {shapes[0]}")
    return axis_index("stack", dim, len(shapes[0]) + 1)


def stack(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """The tensors, all of one shape, joined along a new axis."""
    xs = _alike("stack", tensors)
    place = _stack_axis(dim if axis is None else axis, *[x.data.shape for x in xs])
    return Cat.apply(*xs, axis=place, stacked=True)


def split(x: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of `split_size` along an axis, the last may be smaller; or pieces of the listed sizes. Views of x."""
    place = axis_index("split", dim, x.data.ndim)
    total = x.shape[place]
    if isinstance(split_size, int):
        if split_size <= 0:
            raise ValueError(f"split: split_size is {split_size}, expected a positive size")
        sizes = [min(split_size, total - i) for i in range(0, total, split_size)] or [0]
    else:
        sizes = list(split_size)
        if sum(sizes) != total or min(sizes, default=0) < 0:
            raise ValueError(f"split: split_size is {sizes}, expected sizes that sum to {total}")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(x[(slice(None),) * place + (slice(i, i + n),)] for i, n in zip(starts, sizes, strict=True))


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size along an axis, the last may be smaller."""
    if chunks <= 0:
        raise ValueError(f"chunk: chunks is {chunks}, expected a positive count")
    total = x.shape[axis_index("chunk", dim, x.data.ndim)]
    return split(x, max(1, -(-total // chunks)), dim)


def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without it."""
    place = axis_index("unbind", dim, x.data.ndim)
    return tuple(x[(slice(None),) * place + (i,)] for i in range(x.shape[place]))


def flip(x: Tensor, *axes: Any, dims: Any = ()) -> Tensor:
    """x with the order of its elements reversed along `axes`, or `dims`."""
    axes = tuple(axis_index("flip", d, x.data.ndim) for d in flat_ints("flip", "dims", axes or (dims,)))
    return x[tuple(slice(None, None, -1 if i in axes else None) for i in range(x.data.ndim))]


def select(x: Tensor, dim: int, index: int) -> Tensor:
    """The slice of x at `index` along an axis, without it: a view. IndexError outside the axis."""
    return x[(slice(None),) * axis_index("select", dim, x.data.ndim) + (operator.index(index),)]


def narrow(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` slices of x from `start` on along an axis: a view. ValueError where they are not all there."""
    place = axis_index("narrow", dim, x.data.ndim)
    size = x.shape[place]
    first = start + size if start < 0 else start
    if not 0 <= first <= first + length <= size:
        raise ValueError(f"narrow: start is {start} and length is {length}, expected a part of {size}")
    return x[(slice(None),) * place + (slice(first, first + length),)]


def tensor_split(x: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """x cut along an axis before each of the indices, or into so many pieces of nearly one size. Views of x."""
    place = axis_index("tensor_split", dim, x.data.ndim)
    return split(x, [len(p) for p in np.array_split(np.empty(x.shape[place]), indices_or_sections)], place)


def movedim(x: Tensor, source: Any, destination: Any) -> Tensor:
    """x with the axes `source`, an int or several, at the places `destination`; the others keep their order."""
    axes = np.moveaxis(np.empty(range(x.data.ndim)), source, destination).shape  # sizes that name the axes
    return Permute.apply(x, axes=axes)


def tile(x: Tensor, *dims: Any) -> Tensor:
    """As repeat, but fewer counts than axes are those of the last axes."""
    times = flat_ints("tile", "dims", dims)
    return repeat(x, *(1,) * (x.data.ndim - len(times)), *times)


def roll(x: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """x with its elements moved on by `shifts` along `dims` (None: as if it were flat), the last ones to the front."""
    if dims is None:
        return roll(x.reshape(-1), shifts, 0).reshape(x.shape)
    if np.shape(shifts) != np.shape(dims):
        raise ValueError(f"roll: shifts is {shifts} and dims is {dims}, expected as many of both")
    for step, dim in zip(np.atleast_1d(shifts).tolist(), np.atleast_1d(dims).tolist(), strict=True):
        size = x.shape[axis_index("roll", dim, x.data.ndim)]
        x = cat(split(x, [size - step % size, step % size], dim)[::-1], dim) if size else x
    return x


def ravel(x: Tensor) -> Tensor:
    """x with one axis."""
    return flatten(x)


def view_as(x: Tensor, other: Tensor) -> Tensor:
    return view(x, other.shape)


def reshape_as(x: Tensor, other: Tensor) -> Tensor:
    return reshape(x, other.shape)


def swapaxes(x: Tensor, axis0: int, axis1: int) -> Tensor:
    """x with two axes exchanged."""
    return transpose(x, axis0, axis1)
