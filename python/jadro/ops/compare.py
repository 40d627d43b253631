"""Comparison, logic and rounding: elementwise operations without a gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core
from ..tensor import Tensor, as_tensor
from .elementwise import check_broadcast, constant, operands, reflected

_result: Callable[..., Tensor] = _core.tape_quiet


def _without_gradient(ufunc: np.ufunc, call: str) -> Callable[[Any, Any], Tensor]:
    def run(a: Any, b: Any) -> Tensor:
        if b is None or isinstance(b, str):
            return NotImplemented
        a, b = operands(a, b)
        try:
            return _result(ufunc, a, b)
        except ValueError:
            check_broadcast(call, a, b)
            raise

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"{ufunc.__name__}(a, b) elementwise; it has no gradient."
    return run


eq = _without_gradient(np.equal, "eq")
ne = _without_gradient(np.not_equal, "ne")
lt = _without_gradient(np.less, "lt")
le = _without_gradient(np.less_equal, "le")
gt = _without_gradient(np.greater, "gt")
ge = _without_gradient(np.greater_equal, "ge")
floor_divide = _without_gradient(np.floor_divide, "floor_divide")
bitwise_and = _without_gradient(np.bitwise_and, "bitwise_and")
bitwise_or = _without_gradient(np.bitwise_or, "bitwise_or")
bitwise_xor = _without_gradient(np.bitwise_xor, "bitwise_xor")
logical_and = _without_gradient(np.logical_and, "logical_and")
logical_or = _without_gradient(np.logical_or, "logical_or")
logical_xor = _without_gradient(np.logical_xor, "logical_xor")
rfloor_divide = reflected(floor_divide)


def _rounding(ufunc: np.ufunc) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        return _result(ufunc, as_tensor(x).data)

    run.__doc__ = f"{ufunc.__name__}(x) elementwise; it has no gradient."
    return run


sign, floor, ceil, trunc, logical_not, isnan, isinf, isfinite = (
    _rounding(f) for f in (np.sign, np.floor, np.ceil, np.trunc, np.logical_not, np.isnan, np.isinf, np.isfinite)
)


def round(x: Tensor, decimals: int = 0) -> Tensor:
    """x rounded to `decimals` places, halves to even; it has no gradient."""
    return _result(np.round, as_tensor(x).data, decimals)


def invert(x: Tensor) -> Tensor:
    """~x of booleans or integers; TypeError for floats."""
    if x.data.dtype.kind not in "iub":
        raise TypeError(f"invert: the tensor has dtype {x.dtype}, expected booleans or integers")
    return _result(np.invert, x.data)


def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """|a - b| <= atol + rtol |b| elementwise; NaN is close to NaN only with `equal_nan`."""
    a, b = operands(a, b)
    check_broadcast("isclose", a, b)
    test = functools.partial(np.isclose, rtol=rtol, atol=atol, equal_nan=equal_nan)
    return _result(test, constant(a), constant(b))


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are as `isclose` says."""
    return bool(isclose(a, b, rtol, atol, equal_nan).data.all())


def equal(a: Any, b: Any) -> bool:
    """Whether shapes and elements are the same; NaN equals nothing."""
    a, b = as_tensor(a), as_tensor(b)
    return a.shape == b.shape and bool(eq(a, b).data.all())
