"""Sums, extremes, moments and softmax along axes. `dim` and `axis` are one argument under PyTorch's and NumPy's
names."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _core, backend
from ..autograd import Elementary, Function, Node
from ..backend import Array, spread, total
from ..tensor import Tensor, as_tensor, wrap
from .common import FLOAT32, INT64, axis_index, axis_tuple, cast
from .compare import isnan
from .elementwise import Exp, Log, Where, abs, maximum, minimum, sqrt, where
from .index import Scatter, along, take_along
from .shape import Expand, Reshape, cat, flip, narrow, select, squeeze


def _kept(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    """`shape` with 1 in place of the reduced axes."""
    return tuple(1 if axes is None or i in axes else n for i, n in enumerate(shape))


def _spread(dy: Any, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> Any:
    """A reduced gradient, repeated along the axes it was reduced over."""
    if isinstance(dy, (np.ndarray, np.generic)):
        return spread(dy if axes is None or dy.ndim == len(shape) else dy.reshape(_kept(shape, axes)), shape)
    return Expand.call(Reshape.call(dy, shape=_kept(shape, axes)), shape=shape)


class Sum(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array, *, axes: tuple[int, ...] | None, keepdim: bool) -> Array:
        ctx.shape, ctx.axes = x.shape, axes
        return total(x, axes, keepdim)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return _spread(dy, ctx.shape, ctx.axes)


class Mean(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array, *, axes: tuple[int, ...] | None, keepdim: bool) -> Array:
        ctx.shape, ctx.axes = x.shape, axes
        y = _core.reduce(backend.MEAN, x, axes, keepdim, 0)
        return total(x, axes, keepdim) / x.dtype.type(_count(x.shape, axes)) if y is NotImplemented else y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return _spread(dy / dy.dtype.type(_count(ctx.shape, ctx.axes)), ctx.shape, ctx.axes)


class Var(Elementary):
    """y = sum (x - mean)^2 / count; dx = 2 dy (x - mean) / count"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, axes: tuple[int, ...] | None, keepdim: bool, correction: int) -> Array:
        ctx.axes, ctx.correction = axes, correction
        ctx.save(x)
        if (y := _core.reduce(backend.VAR, x, axes, keepdim, correction)) is not NotImplemented:
            return y
        centred = x - Mean.call(x, axes=axes, keepdim=True)
        return total(centred * centred, axes, keepdim) / _degrees(x, axes, correction)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        x, axes = ctx.saved[0], ctx.axes
        slope = dy * (2 / _degrees(x, axes, ctx.correction))
        return _spread(slope, x.shape, axes) * (x - Mean.call(x, axes=axes, keepdim=True))


def _degrees(x: Any, axes: tuple[int, ...] | None, correction: int) -> Any:
    """n - correction in the dtype of x."""
    return x.dtype.type(builtins.max(_count(x.shape, axes) - correction, 0))


def _extreme_of(x: Array, axes: tuple[int, ...] | None, keepdim: bool, largest: bool) -> Array:
    y = _core.reduce(backend.MAX if largest else backend.MIN, x, axes, keepdim, 0)
    return (x.max if largest else x.min)(axis=axes, keepdims=keepdim) if y is NotImplemented else y


class Extreme(Elementary):
    """The maximum or minimum; elements that share it share the gradient."""

    name = "max"

    @staticmethod
    def forward(ctx: Node, x: Array, *, axes: tuple[int, ...] | None, keepdim: bool, largest: bool) -> Array:
        y = _extreme_of(x, axes, keepdim, largest)
        if ctx.needs[0]:
            top = np.reshape(y, _kept(x.shape, axes))
            hit = (x == top) | (np.isnan(x) & np.isnan(top))
            ctx.weights = hit / hit.sum(axis=axes, keepdims=True).astype(x.dtype)
            ctx.axes = axes
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return _spread(dy, ctx.weights.shape, ctx.axes) * ctx.weights


class Peak(Elementary):
    """The extremes along an axis and the places of the first of each, where the gradient goes."""

    name = "max"

    @staticmethod
    def forward(ctx: Node, x: Array, *, axis: int, keepdim: bool, largest: bool) -> tuple[Array, Array]:
        found: Any = NotImplemented
        if isinstance(x, np.ndarray) and axis == x.ndim - 1:
            found = _core.reduce_places(x, largest)
        if found is NotImplemented:
            places = (x.argmax if largest else x.argmin)(axis=axis)
            found = _extreme_of(x, (axis,), False, largest), places
        ctx.shape, ctx.axis, ctx.places = x.shape, axis, found[1]
        return tuple(y.reshape(_kept(x.shape, (axis,))) for y in found) if keepdim else found

    @staticmethod
    def backward(ctx: Node, dy: Any, _: Any) -> Any:
        kept = _kept(ctx.shape, (ctx.axis,))
        return Scatter.call(dy.reshape(kept), index=along(ctx.places.reshape(kept), ctx.axis), shape=ctx.shape)


class Norm(Elementary):
    """y = sqrt(sum x^2); dx = dy x / y, 0 where y is 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, axes: tuple[int, ...] | None, keepdim: bool) -> Array:
        if (y := _core.reduce(backend.NORM, x, axes, keepdim, 0)) is NotImplemented:
            y = np.sqrt(total(x * x, axes, keepdim))
        ctx.axes = axes
        ctx.save(x, y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        x, y = ctx.saved
        return _spread(dy / Where.call(y == 0, y + 1, y), x.shape, ctx.axes) * x


class Prod(Function):
    """The product along an axis; dx_i = dy times the product of all others, those before i and those after."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, axis: int) -> Array:
        ctx.axis = axis
        ctx.save(x)
        return x.prod(axis=axis, keepdims=True)

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        x = np.moveaxis(ctx.saved[0], ctx.axis, 0)
        before, after = np.ones_like(x), np.ones_like(x)
        np.cumprod(x[:-1], axis=0, out=before[1:])
        np.cumprod(x[:0:-1], axis=0, out=after[-2::-1])
        return dy * np.moveaxis(before * after, 0, ctx.axis)

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        x, axis = ctx.saved[0], ctx.axis
        return dy * _before(x, axis) * flip(_before(flip(x, axis), axis), axis) if x.data.size else dy * x


def _before(x: Tensor, axis: int) -> Tensor:
    """The product of all elements before each."""
    one = wrap(np.ones_like(x.data, shape=_kept(x.shape, (axis,))))
    return cat([one, cumprod(narrow(x, axis, 0, x.shape[axis] - 1), axis)], axis)


class Cumsum(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array, *, axis: int) -> Array:
        ctx.axis = axis
        return x.cumsum(axis=axis, dtype=x.dtype if x.dtype.kind == "f" else None)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        back = (slice(None),) * ctx.axis + (slice(None, None, -1),)
        return Cumsum.call(dy[back], axis=ctx.axis)[back]


def largest(x: Array, axes: tuple[int, ...] | None) -> Array:
    """The maxima along axes, which stay with size 1; -inf where there is nothing."""
    if x.size:
        return x.max(axis=axes, keepdims=True)
    return np.full_like(x, -math.inf, shape=_kept(x.shape, axes))


class Extremes(NamedTuple):
    """What `max(dim)` and `min(dim)` return."""

    values: Tensor
    indices: Tensor


def sum(x: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None) -> Tensor:
    """The sum over `dim` (an int or several; None: all axes), in `dtype`; booleans and integers are summed as int64."""
    x = _added(x, dtype)
    y = Sum.apply(x, axes=axis_tuple("sum", x.data.ndim, dim, axis), keepdim=keepdim)
    return y if dtype is None else cast(y, dtype)


def _added(x: Any, dtype: Any) -> Tensor:
    """x in `dtype`; where that is None, unsigned integers as int64, as NumPy takes the others."""
    x = as_tensor(x)
    if dtype is not None:
        return cast(x, dtype)
    return cast(x, INT64) if x.data.dtype.kind == "u" else x


def _count(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> int:
    return math.prod(shape if axes is None else [shape[axis] for axis in axes])


def floating(x: Any, dtype: Any = None) -> Tensor:
    """x in `dtype`; where that is None, integers and booleans in float32."""
    x = as_tensor(x)
    if dtype is not None:
        return cast(x, dtype)
    return cast(x, FLOAT32) if x.data.dtype.kind in "iub" else x


def mean(x: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None) -> Tensor:
    """The mean over `dim` (None: all axes), NaN of no elements; integers and booleans are taken as float32."""
    x = floating(x, dtype)
    axes = axis_tuple("mean", x.data.ndim, dim, axis)
    return Mean.apply(x, axes=axes, keepdim=keepdim)


def var(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, axis: Any = None,
    correction: int | None = None,
) -> Tensor:  # fmt: skip
    """sum (x - mean)^2 / (n - correction) over `dim`; correction is 1 where `unbiased`, else 0. As in PyTorch,
    `var(False)` says `unbiased` of all axes."""
    x = floating(x)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    axes = axis_tuple("var", x.data.ndim, dim, axis)
    return Var.apply(x, axes=axes, keepdim=keepdim, correction=int(unbiased) if correction is None else correction)


def std(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, axis: Any = None,
    correction: int | None = None,
) -> Tensor:  # fmt: skip
    """The square root of `var`."""
    return sqrt(var(x, dim, unbiased, keepdim, axis=axis, correction=correction))


def _check_not_empty(call: str, x: Tensor, axes: tuple[int, ...] | None) -> None:
    if _count(x.data.shape, axes) == 0:
        raise ValueError(
            f"{call}: x has shape {x.shape} and nothing along {'its axes' if axes is None else f'axes {axes}'}"
        )


def _extreme(call: str, largest: bool) -> Callable[..., Any]:
    def run(x: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
        if isinstance(dim, Tensor):
            return (maximum if largest else minimum)(x, dim)
        x = as_tensor(x)
        axes = axis_tuple(call, x.data.ndim, dim, axis)
        if not x.data.size:
            _check_not_empty(call, x, axes)
        if dim is None or isinstance(dim, (tuple, list)):
            return Extreme.apply(x, axes=axes, keepdim=keepdim, largest=largest)
        if not axes:
            return Extremes(x, (argmax if largest else argmin)(x, dim, True))
        return Extremes(*Peak.apply(x, axis=axes[0], keepdim=keepdim, largest=largest))

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"""The {call}imum of all elements, or over an axis.

    `{call}(dim)` with one int returns (values, indices), as PyTorch does, the first of equal elements;
    `{call}(axis=...)`, and a tuple, return the values alone, as NumPy does. NaN propagates. ValueError where there is
    nothing to compare.
    """
    return run


max = _extreme("max", True)
min = _extreme("min", False)


def amax(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The maximum over `dim` (an int or several; None: all axes); equal elements share the gradient."""
    return max(x, axis=dim, keepdim=keepdim)


def amin(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The minimum over `dim` (an int or several; None: all axes); equal elements share the gradient."""
    return min(x, axis=dim, keepdim=keepdim)


def _position(call: str) -> Callable[..., Tensor]:
    def run(x: Tensor, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None) -> Tensor:
        x = as_tensor(x)
        axes = axis_tuple(call, x.data.ndim, dim, axis)
        _check_not_empty(call, x, axes)
        if axes is None:
            y = np.asarray(getattr(x.data, call)()) if isinstance(x.data, np.ndarray) else getattr(x.data, call)()
            return wrap(y.reshape((1,) * x.data.ndim if keepdim else ()).astype(np.int64))
        y = getattr(x.data, call)(axis=axes[0])
        y = np.asarray(y) if isinstance(y, np.generic) else y
        return wrap(y.reshape(_kept(x.shape, axes)) if keepdim else y)

    run.__name__ = run.__qualname__ = call
    run.__doc__ = (
        "The int64 index of the extreme along `dim`, of the flattened tensor where None; the first of equal elements."
    )
    return run


argmax = _position("argmax")
argmin = _position("argmin")


def norm(x: Tensor, p: float | str = 2.0, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """(sum |x|^p)^(1/p) over `dim` (None: all axes), of a matrix too; "fro" is 2.

    p may be infinite (the largest |x|; -inf: the smallest) or 0 (how many are not 0). The gradient of norm 2 at 0 is 0.
    """
    if p == "fro":
        p = 2.0
    if not isinstance(p, (int, float)):
        raise ValueError(f"norm: p is {p!r}, expected a number or 'fro'")
    x = floating(x)
    axes = axis_tuple("norm", x.data.ndim, dim, axis)
    if p == 2:
        return Norm.apply(x, axes=axes, keepdim=keepdim)
    if p == 0:
        return sum(wrap((x.data != 0).astype(x.dtype)), dim, keepdim, axis=axis)
    if math.isinf(p):
        return (amax if p > 0 else amin)(abs(x), axes, keepdim)
    powers = abs(x) if p == 1 else abs(x) ** p
    return Sum.apply(powers, axes=axes, keepdim=keepdim) ** (1 / p)


def prod(x: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product of all elements, or along an axis, in `dtype`; of booleans and integers in int64."""
    x = _added(x, dtype)
    if not x.data.ndim and dim in (0, -1):
        dim = None
    place = 0 if dim is None else axis_index("prod", dim, x.data.ndim)
    y = Prod.apply(x if dim is not None else Reshape.apply(x, shape=(x.data.size,)), axis=place)
    y = y if dtype is None else cast(y, dtype)
    if dim is None:
        return Reshape.apply(y, shape=(1,) * x.data.ndim if keepdim else ())
    return y if keepdim else squeeze(y, place)


def cumsum(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The running sum along an axis, in `dtype`; of booleans and integers in int64."""
    x = _added(x, dtype)
    if not x.data.ndim and dim in (0, -1):
        y = cast(x, x.data.cumsum().dtype)
    else:
        y = Cumsum.apply(x, axis=axis_index("cumsum", dim, x.data.ndim))
    return y if dtype is None else cast(y, dtype)


def _alone_too(run: Callable[..., Any]) -> Callable[..., Any]:
    """`run`, which takes a tensor without axes as one of a single element along one axis."""

    @functools.wraps(run)
    def wide(x: Tensor, *args: Any, **options: Any) -> Any:
        if x.data.ndim:
            return run(x, *args, **options)
        y = run(Reshape.apply(x, shape=(1,)), *args, **options)
        return Extremes(*(part.reshape(()) for part in y)) if isinstance(y, tuple) else y.reshape(())

    return wide


@_alone_too
def cumprod(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The running product along an axis, in log2 of its size steps, in `dtype`; of booleans and integers in int64."""
    x = as_tensor(x) if dtype is None else cast(as_tensor(x), dtype)
    x = cast(x, INT64) if x.data.dtype.kind in "iub" and dtype is None else x
    axis, step = axis_index("cumprod", dim, x.data.ndim), 1
    while step < (size := x.shape[axis]):
        x = cat([narrow(x, axis, 0, step), narrow(x, axis, step, size - step) * narrow(x, axis, 0, size - step)], axis)
        step *= 2
    return x


def logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log sum exp(x) over `dim`, without overflow."""
    x = floating(x)
    axes = axis_tuple("logsumexp", x.data.ndim, dim, None)
    top = largest(x.data, axes)
    top = wrap(np.where(np.isfinite(top), top, 0).astype(x.dtype))
    y = Log.apply(Sum.apply(Exp.apply(x - top), axes=axes, keepdim=True)) + top
    return y if keepdim else Reshape.apply(y, shape=tuple(n for i, n in enumerate(x.shape) if axes and i not in axes))


def _truth(call: str) -> Callable[..., Tensor]:
    def run(x: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
        x = as_tensor(x)
        y = getattr(np, call)(x.data, axis=axis_tuple(call, x.data.ndim, dim, axis), keepdims=keepdim)
        return wrap(np.asarray(y) if isinstance(y, np.generic) else y)

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"Whether {call} of the elements over `dim` are true."
    return run


any = _truth("any")
all = _truth("all")


def count_nonzero(x: Tensor, dim: Any = None) -> Tensor:
    """How many elements over `dim` are not 0."""
    return sum(wrap(np.asarray(as_tensor(x).data != 0)), dim)


@_alone_too
def argsort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The places of the elements in order along an axis; equal ones stay in order, NaN counts as the largest."""
    axis = axis_index("argsort", dim, x.data.ndim)
    kind: dict[str, Any] = {"kind": "stable"} if isinstance(x.data, np.ndarray) else {}  # CuPy's always is
    back = (slice(None),) * axis + (slice(None, None, -1 if descending else 1),)
    order = x.data[back].argsort(axis=axis, **kind)[back]
    return wrap(x.shape[axis] - 1 - order if descending else order)


@_alone_too
def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Extremes:
    """(values, indices) in the order of argsort."""
    axis = axis_index("sort", dim, x.data.ndim)
    indices = argsort(x, axis, descending)
    return Extremes(take_along(x, indices, axis), indices)


@_alone_too
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extremes:
    """(values, indices) of the k largest, or smallest, elements along an axis, in order. ValueError where there are not
    k."""
    axis = axis_index("topk", dim, x.data.ndim)
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: k is {k}, expected 0..{x.shape[axis]}")
    indices = narrow(argsort(x, axis, largest), axis, 0, k)
    return Extremes(take_along(x, indices, axis), indices)


@_alone_too
def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Extremes:
    """(values, indices) of the k-th smallest elements along an axis, k from 1. ValueError where there are not k."""
    axis = axis_index("kthvalue", dim, x.data.ndim)
    if not 1 <= k <= x.shape[axis]:
        raise ValueError(f"kthvalue: k is {k}, expected 1..{x.shape[axis]}")
    return Extremes(*(narrow(y, axis, k - 1, 1) if keepdim else select(y, axis, k - 1) for y in sort(x, axis)))


@_alone_too
def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of all elements, or (values, indices) along an axis; the lower one of two, NaN where there is one.

    Without `dim` equal elements share the gradient. ValueError where there is nothing."""
    if dim is None:
        y = median(x.detach().reshape(-1), 0).values
        return max(x[(x == y) | isnan(x)])
    axis = axis_index("median", dim, x.data.ndim)
    _check_not_empty("median", x, (axis,))
    found, n = sort(x, axis), x.shape[axis]
    nans = isnan(found.values).sum(axis, True)
    rank = where(nans > 0, n - nans, (n - 1) // 2)
    found = Extremes(*(take_along(y, rank, axis) for y in found))
    return found if keepdim else Extremes(*(select(y, axis, 0) for y in found))


def unique(
    x: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The different elements in order, or slices along `dim`; if asked for, where each of x's is among them, and how
    often it is there."""
    options = {"return_inverse": return_inverse, "return_counts": return_counts, "equal_nan": False}
    found: Any = np.unique(x.data, axis=dim, **options)  # type: ignore[call-overload]
    if not (return_inverse or return_counts):
        return wrap(found)
    parts = [wrap(y) for y in found]
    if return_inverse:
        parts[1] = parts[1].reshape(x.shape if dim is None else -1)
    return tuple(parts)


def bincount(x: Tensor, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, .. is in the vector x, or the sums of `weights`; ValueError for negative numbers."""
    w = None if weights is None else as_tensor(weights).data
    y = np.bincount(x.data, w, minlength)
    return wrap(y.astype(w.dtype) if w is not None and w.dtype == np.float32 else y)
