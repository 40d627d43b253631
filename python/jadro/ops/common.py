"""Checks and dtype rules that the operations share."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import backend
from .._core import is_plain, same_floats
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor, check_half

Result = TypeVar("Result")

FLOAT32 = np.dtype(np.float32)
INT64 = np.dtype(np.int64)
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2}


class Cast(Elementary):
    """y = x in another dtype."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, dtype: np.dtype) -> Array:
        ctx.dtype = x.dtype
        return x.astype(dtype)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Cast.call(dy, dtype=ctx.dtype)


class Move(Elementary):
    """y = x on another device."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, device: str) -> Array:
        ctx.device = backend.device_of(x)
        return backend.to_device(x, device)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Move.call(dy, device=ctx.device)


def cast(x: Tensor, dtype: Any) -> Tensor:
    """x in `dtype`, itself where it has it."""
    dtype = np.dtype(dtype)
    return x if x.data.dtype == dtype else Cast.apply(x, dtype=dtype)


def _dtype(target: Any) -> np.dtype:
    try:
        return np.dtype(target)
    except TypeError:
        raise TypeError(f"to: target is {target!r}, expected a device or a dtype") from None


def to(x: Tensor, *target: Any, device: Any = None, dtype: Any = None) -> Tensor:
    """x with a device or a dtype or both: `to("cuda")`, `to(np.float64)`, `to("cuda", "float16")`, or those of a
    Tensor.

    Returns x itself where nothing changes. TypeError for a 16-bit float on the CPU, RuntimeError for a missing device.
    """
    for t in target:
        if isinstance(t, Tensor):
            device, dtype = t.device, t.dtype
        elif isinstance(t, str) and t.partition(":")[0] in ("cpu", "cuda"):
            device = t
        elif t is not None:
            dtype = _dtype(t)
    if device is not None:
        device = backend.parse_device(device)
        if device != x.device:
            x = Move.apply(x, device=device)
    if dtype is not None and np.dtype(dtype) != x.data.dtype:
        check_half("to", np.dtype(dtype), x.device)
        x = Cast.apply(x, dtype=np.dtype(dtype))
    return x


def result_dtype(*arrays: Array) -> np.dtype:
    """The common dtype by PyTorch's rule: floats before integers before booleans; scalars only count among
    themselves."""
    rank = max(_RANK[a.dtype.kind] for a in arrays)
    top = [a for a in arrays if _RANK[a.dtype.kind] == rank]
    return np.result_type(*{a.dtype for a in [a for a in top if a.ndim] or top})


def promote(*tensors: Tensor) -> list[Tensor]:
    """The tensors in their common dtype."""
    first = tensors[0].data.dtype
    if first.isnative and all(t.data.dtype is first for t in tensors):
        return list(tensors)
    dtype = result_dtype(*(t.data for t in tensors))
    return [cast(t, dtype) for t in tensors]


def axis_index(call: str, dim: Any, ndim: int) -> int:
    """`dim` as an index from 0; ValueError outside -ndim..ndim-1, TypeError for no integer."""
    try:
        d = operator.index(dim)
    except TypeError:
        raise TypeError(f"{call}: dim is {dim!r}, expected an integer") from None
    if not -ndim <= d < ndim:
        raise ValueError(f"{call}: dim is {d}, expected {-ndim}..{ndim - 1}")
    return d % ndim


def axis_tuple(call: str, ndim: int, dim: Any, axis: Any) -> tuple[int, ...] | None:
    """The axes of a reduction as indices from 0; None for all. `axis` is NumPy's name for `dim`."""
    if axis is not None:
        if dim is not None:
            raise TypeError(f"{call}: both dim and axis were given, expected one")
        dim = axis
    if dim is None:
        return None
    if dim.__class__ is int and -ndim <= dim < ndim:
        return (dim if dim >= 0 else dim + ndim,)
    if not isinstance(dim, (tuple, list)):
        dim = (dim,)
    if not dim:
        return None
    if ndim == 0 and all(d in (0, -1) for d in dim):
        return None
    axes = tuple(axis_index(call, d, ndim) for d in dim)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{call}: dim is {tuple(dim)}, expected each axis once")
    return axes


def flat_ints(call: str, name: str, values: tuple[Any, ...]) -> tuple[int, ...]:
    """Integers given one by one or as one sequence."""
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        values = tuple(values[0])
    try:
        return tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"{call}: {name} is {values}, expected integers") from None


def remembered(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function`, its results kept: what a call checks and works out from shapes and options is the same in every
    step. Arguments that are more than integers, strings, None and tuples of them are looked at each time."""
    kept = functools.lru_cache(maxsize=4096)(function)

    def run(*args: Any) -> Result:
        return kept(*args) if is_plain(args) else function(*args)

    return run


def shape_of(x: Tensor | None) -> tuple[int, ...] | None:
    return None if x is None else x.data.shape


def tensors(call: str, names: str, needed: int, *given: Any) -> tuple[Any, ...]:
    """`given` as Tensors, all of one floating dtype and on one device; those behind the first `needed` may be None, and
    stay. The errors of check_float, with the words of `names`."""
    if same_floats(given, needed):
        return given
    made: list[Any] = [None if x is None and i >= needed else as_tensor(x) for i, x in enumerate(given)]
    for name, x in zip(names.split(), made, strict=True):
        if x is not None:
            check_float(call, name, x.data, None if x is made[0] else made[0].data)
    return tuple(made)


def check_float(call: str, name: str, x: Array, like: Array | None = None) -> None:
    """TypeError where x is not float32 or float64 (on CUDA also 16-bit), or has not the dtype of `like`; ValueError
    where it is on another device."""
    dtype = x.dtype
    if dtype is FLOAT32 and (like is None or (like.dtype is dtype and like.__class__ is x.__class__)):
        return
    if dtype.kind not in "fV" or (dtype.itemsize == 2 and isinstance(x, np.ndarray)):
        raise TypeError(f"{call}: {name} has dtype {dtype}, expected float32 or float64")
    if like is not None and dtype != like.dtype:
        raise TypeError(f"{call}: {name} has dtype {dtype}, expected {like.dtype} as x has")
    if like is not None and type(x) is not type(like) and backend.device_of(x) != backend.device_of(like):
        where = backend.device_of(x), backend.device_of(like)
        raise ValueError(f"{call}: {name} is on {where[0]}, expected {where[1]} as x is")


def check_residual(shape: tuple[int, ...], add: Tensor) -> None:
    """ValueError where a result of `shape` is not that of what a residual block adds to it."""
    if add.shape != shape:
        raise ValueError(f"Residual: the body gives shape {shape}, expected {add.shape}, that of the shortcut")


def check_integer(call: str, name: str, x: Array) -> None:
    if x.dtype.kind not in "iu":
        raise TypeError(f"{call}: {name} has dtype {x.dtype}, expected integers")
