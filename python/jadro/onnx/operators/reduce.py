"""Sums and extremes over axes, places of extremes, cumulative sums, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import reduce as r
from ...ops import softmax
from ...ops.elementwise import abs, log
from ...ops.shape import flip
from ...tensor import Tensor, wrap
from .registry import array, beside, ints, is_float, number, operator


def _prod(x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    axes = range(x.ndim) if dim is None else sorted(a % x.ndim for a in dim)
    for a in reversed(axes):
        x = r.prod(x, a, keepdim)
    return x


_REDUCTIONS: dict[str, Callable[[Tensor, Any, bool], Tensor]] = {
    "Sum": r.sum,
    "Mean": r.mean,
    "Max": r.amax,
    "Min": r.amin,
    "Prod": _prod,
    "L1": lambda x, dim, keepdim: r.sum(abs(x), dim, keepdim),
    "L2": lambda x, dim, keepdim: r.norm(x, 2, dim, keepdim),
    "LogSum": lambda x, dim, keepdim: log(r.sum(x, dim, keepdim)),
    "LogSumExp": lambda x, dim, keepdim: r.logsumexp(x, tuple(range(x.ndim)) if dim is None else dim, keepdim),
    "SumSquare": lambda x, dim, keepdim: r.sum(x * x, dim, keepdim),
}


def _reduction(function: Callable[[Tensor, Any, bool], Tensor]) -> Callable[..., Any]:
    def run(x: Any, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Any:
        if not is_float(x) or not x.data.size or not x.ndim:
            return NotImplemented
        dims = ints(axes) or None
        if dims is None and noop_with_empty_axes:
            return NotImplemented
        return function(x, dims, bool(keepdims))

    return run


for _name, _function in _REDUCTIONS.items():
    operator(f"Reduce{_name}")(_reduction(_function))


@operator("ArgMax")
def arg_max(x: Any, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    return NotImplemented if select_last_index else r.argmax(x, axis, bool(keepdims))


@operator("ArgMin")
def arg_min(x: Any, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    return NotImplemented if select_last_index else r.argmin(x, axis, bool(keepdims))


@operator("TopK")
def top_k(x: Any, k: Any = 1, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    """The k largest along an axis and their places; of equal ones the first."""
    if not is_float(x):
        return NotImplemented
    return r.topk(x, int(number(k)), axis, bool(largest))


@operator("CumSum")
def cum_sum(x: Any, axis: Any, exclusive: int = 0, reverse: int = 0) -> Any:
    if not is_float(x):
        return NotImplemented
    place = int(number(axis))
    y = flip(r.cumsum(flip(x, place), place), place) if reverse else r.cumsum(x, place)
    return y - x if exclusive and np.isfinite(array(x)).all() else NotImplemented if exclusive else y


def _rows(x: Tensor, axis: int | None) -> tuple[int, int]:
    """The shape in which x was seen before opset 13: the axes before `axis`, and the others."""
    lead = (1 if axis is None else axis) % x.ndim
    return math.prod(x.shape[:lead]), math.prod(x.shape[lead:])


def _softmax(function: Callable[[Any, int], Tensor]) -> Callable[..., Any]:
    def run(x: Any, axis: int | None = None, *, opset: int = 13) -> Any:
        """Before opset 13 over all axes from `axis` on, 1 by default; from then on over `axis`, the last by default."""
        if not is_float(x):
            return NotImplemented
        if opset >= 13:
            return function(x, -1 if axis is None else axis)
        return function(x.reshape(_rows(x, axis)), 1).reshape(x.shape)

    return run


operator("Softmax")(_softmax(softmax.softmax))
operator("LogSoftmax")(_softmax(softmax.log_softmax))


@operator("Hardmax")
def hardmax(x: Any, axis: int | None = None, *, opset: int = 13) -> Any:
    """1 at the first largest element, else 0; the axes as in Softmax."""
    cells = array(x)
    seen = cells if opset >= 13 else cells.reshape(_rows(x, axis))
    along = (-1 if axis is None else axis) if opset >= 13 else 1
    y = np.zeros_like(seen)
    np.put_along_axis(y, np.expand_dims(seen.argmax(along), along), 1, along)
    return wrap(beside(x, y.reshape(x.shape)))
