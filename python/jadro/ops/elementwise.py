"""Arithmetic, comparison and pointwise mathematics, broadcasting as NumPy does.

Dtypes mix by PyTorch's rule: a Python number takes the tensor's dtype, an integer tensor beside a float becomes the
float.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core, backend
from ..autograd import Elementary, Node
from ..backend import Array, compute
from ..tensor import Tensor, as_tensor, wrap
from .common import FLOAT32, INT64, cast, result_dtype

_NUMBER = (float, int, np.integer, np.floating, np.bool_)


def _with_number(x: Tensor, number: Any) -> tuple[Any, Any]:
    """(x, number) in one dtype: x's own, unless the number is of a higher kind."""
    kind = x.data.dtype.kind
    if kind == "f" and number.__class__ is float:
        return x, x.data.dtype.type(number)
    if kind in "iub" and isinstance(number, (float, np.floating)):
        x = cast(x, FLOAT32)
    elif kind == "b" and not isinstance(number, (bool, np.bool_)):
        x = cast(x, INT64)
    return x, x.data.dtype.type(number)


def operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Both in one dtype: Tensors, or a Tensor and a NumPy scalar."""
    if isinstance(a, Tensor):
        if isinstance(b, Tensor):
            if a.data.dtype is b.data.dtype:
                return a, b
        elif isinstance(b, _NUMBER):
            return _with_number(a, b)
        else:
            b = as_tensor(b)
    elif isinstance(a, _NUMBER):
        b, a = _with_number(as_tensor(b), a)
        return a, b
    else:
        a, b = as_tensor(a), as_tensor(b)
    dtype = result_dtype(a.data, b.data)
    return cast(a, dtype), cast(b, dtype)


def check_broadcast(call: str, *xs: Any) -> None:
    """ValueError where the shapes cannot be broadcast together."""
    first = xs[0].shape
    if all(x.shape == first for x in xs):
        return
    try:
        np.broadcast_shapes(*(x.shape for x in xs))
    except ValueError:
        raise ValueError(
            f"{call}: shapes {' and '.join(str(x.shape) for x in xs)} cannot be broadcast together"
        ) from None


class Binary(Elementary):
    """Keeps its operands."""

    def __init_subclass__(cls, ufunc: np.ufunc, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.forward = staticmethod(functools.partial(_binary_forward, ufunc))  # type: ignore[method-assign]


def _binary_forward(ufunc: np.ufunc, ctx: Node, a: Array, b: Array) -> Array:
    ctx.save(a, b)
    return compute(ufunc, a, b)


class Add(Elementary):
    """y = a + b"""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        return compute(np.add, a, b)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy, dy


class Sub(Elementary):
    """y = a - b"""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        return compute(np.subtract, a, b)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy, -dy if ctx.needs[1] else None


class Mul(Binary, ufunc=np.multiply):
    """y = a b"""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        return dy * b if ctx.needs[0] else None, dy * a if ctx.needs[1] else None


class Div(Binary, ufunc=np.true_divide):
    """y = a / b"""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        da = dy / b
        return da, -da * (a / b) if ctx.needs[1] else None


class Pow(Binary, ufunc=np.power):
    """y = a^b; da = dy b a^(b-1), 0 where b is 0; db = dy y log a, 0 where a is 0 and b >= 0."""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        da = db = None
        if ctx.needs[0]:
            less = np.subtract(b, b != 0) if isinstance(b, np.generic) else Where.call(b == 0, b, b - 1)
            da = dy * (b * Pow.call(a, less))
        if ctx.needs[1]:
            flat = (a == 0) & (b >= 0)
            log = Log.call(Where.call(flat, np.ones_like(flat, dtype=dy.dtype), a))
            db = dy * Pow.call(a, b) * log
        return da, db


class Remainder(Binary, ufunc=np.remainder):
    """y = a - b floor(a / b)"""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        return dy, -dy * np.floor_divide(a, b) if ctx.needs[1] else None


class Maximum(Binary, ufunc=np.maximum):
    """y = max(a, b); equal elements share the gradient."""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        return _share(dy, a == b, a > b)


class Minimum(Binary, ufunc=np.minimum):
    """y = min(a, b); equal elements share the gradient."""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        return _share(dy, a == b, a < b)


def _share(dy: Any, equal: Any, first: Any) -> Any:
    """dy to a where `first`, half of it where `equal`, the rest to b."""
    part = _float(first, dy) + 0.5 * _float(equal, dy)
    return dy * part, dy * (1 - part)


def _float(mask: Any, like: Any) -> Any:
    """A boolean array or Tensor in the dtype of `like`."""
    return mask.to(like.dtype) if isinstance(mask, Tensor) else mask.astype(like.dtype)


class Copy(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = backend.empty_like(x)
        y[...] = x
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy


def constant(x: Any) -> Array:
    """The array of a Tensor that counts as a constant."""
    return x.data if isinstance(x, Tensor) else x


class Neg(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        return compute(np.negative, x)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return -dy


class Exp(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = compute(np.exp, backend.contiguous(x))
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy * ctx.saved[0]


class Expm1(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = compute(np.expm1, x)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy * (ctx.saved[0] + 1)


class Sqrt(Elementary):
    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = compute(np.sqrt, x)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy / (2 * ctx.saved[0])


class Unary(Elementary):
    """Keeps its input."""

    def __init_subclass__(cls, ufunc: np.ufunc, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.forward = staticmethod(functools.partial(_unary_forward, ufunc))  # type: ignore[method-assign]


def _unary_forward(ufunc: np.ufunc, ctx: Node, x: Array) -> Array:
    ctx.save(x)
    return compute(ufunc, x)


class Log(Unary, ufunc=np.log):
    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy / ctx.saved[0]


class Log1p(Unary, ufunc=np.log1p):
    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy / (1 + ctx.saved[0])


class Sin(Unary, ufunc=np.sin):
    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy * Cos.call(ctx.saved[0])


class Cos(Unary, ufunc=np.cos):
    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return -dy * Sin.call(ctx.saved[0])


class Abs(Unary, ufunc=np.abs):
    """The gradient at 0 is 0."""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        x = ctx.saved[0]
        return dy * np.sign(constant(x))


class Where(Elementary):
    """y = a where condition, else b."""

    @staticmethod
    def forward(ctx: Node, condition: Array, a: Array, b: Array) -> Array:
        ctx.condition = condition
        y = _core.select(condition, a, b)
        return np.where(condition, a, b) if y is NotImplemented else y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        zero = dy.dtype.type(0)
        da = Where.call(ctx.condition, dy, zero) if ctx.needs[1] else None
        return None, da, Where.call(ctx.condition, zero, dy) if ctx.needs[2] else None


class Clamp(Elementary):
    """y = x bounded to low..high; the gradient passes where low <= x <= high."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, low: Any, high: Any) -> Array:
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            low, high = -math.inf if low is None else low, math.inf if high is None else high
            y = backend.empty_like(x)
            _core.activation_forward("hardtanh", backend.contiguous(x), y, low, high)
        else:
            low, high = (None if bound is None else x.dtype.type(bound) for bound in (low, high))
            y = x if low is None else np.maximum(x, low)
            y = y if high is None else np.minimum(y, high)
        if ctx.needs[0]:
            ctx.inside = y == x
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy * ctx.inside


def two(function: type[Elementary], call: str) -> Callable[[Any, Any], Tensor]:
    apply = function.apply

    def run(a: Any, b: Any) -> Tensor:
        if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.data.dtype is b.data.dtype):
            a, b = operands(a, b)
        try:
            return apply(a, b)
        except ValueError:
            check_broadcast(call, a, b)
            raise

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"{function.__doc__ or call}, elementwise; ValueError where the shapes cannot be broadcast together."
    return run


add = two(Add, "add")
sub = two(Sub, "sub")
mul = two(Mul, "mul")
remainder = two(Remainder, "remainder")
maximum = two(Maximum, "maximum")
minimum = two(Minimum, "minimum")
_divide = two(Div, "div")
_power = two(Pow, "pow")


def div(a: Any, b: Any, *, rounding_mode: str | None = None) -> Tensor:
    """a / b elementwise; integers are divided as float32, unless rounded.

    rounding_mode: None, "floor" or "trunc" (towards 0); a rounded quotient has no gradient.
    """
    if rounding_mode is not None:
        return _divide_rounded(a, b, rounding_mode)
    a, b = operands(a, b)
    if a.dtype.kind in "iub":
        a, b = cast(as_tensor(a), FLOAT32), cast(as_tensor(b), FLOAT32)
    return _divide(a, b)


def _divide_rounded(a: Any, b: Any, mode: str) -> Tensor:
    if mode not in ("floor", "trunc"):
        raise ValueError(f"div: rounding_mode is {mode!r}, expected None, 'floor' or 'trunc'")
    a, b = (constant(x) for x in operands(a, b))
    with np.errstate(all="ignore"):
        q = np.floor_divide(a, b)
        if mode == "trunc":
            q = q + ((q < 0) & (q * b != a)) if q.dtype.kind in "iu" else np.trunc(a / b)
    return wrap(np.asarray(q) if isinstance(q, np.generic) else q)


def pow(a: Any, b: Any) -> Tensor:
    """a^b elementwise; the square of a float costs one product."""
    if isinstance(b, (int, float)) and b == 2 and isinstance(a, Tensor):
        return Mul.apply(a, a)
    a, b = operands(a, b)
    if a.dtype.kind in "iu" and np.any(np.asarray(getattr(b, "data", b)) < 0):
        raise ValueError("pow: integers cannot be raised to negative powers; use a floating tensor")
    return _power(a, b)


def reflected(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda b, a: function(a, b)


radd, rmul = add, mul
rsub, rdiv, rpow, rremainder = (reflected(f) for f in (sub, div, pow, remainder))


def _one(function: type[Elementary], call: str) -> Callable[[Tensor], Tensor]:
    apply = function.apply

    def run(x: Tensor) -> Tensor:
        x = as_tensor(x)
        return apply(cast(x, FLOAT32) if x.data.dtype.kind in "iub" else x)

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"{call}(x) elementwise; integers are taken as float32."
    return run


exp = _one(Exp, "exp")
expm1 = _one(Expm1, "expm1")
log = _one(Log, "log")
log1p = _one(Log1p, "log1p")
sqrt = _one(Sqrt, "sqrt")
sin = _one(Sin, "sin")
cos = _one(Cos, "cos")


def neg(x: Tensor) -> Tensor:
    """-x elementwise."""
    return Neg.apply(x)


def abs(x: Tensor) -> Tensor:
    """|x| elementwise; the gradient at 0 is 0."""
    return Abs.apply(x)


def square(x: Tensor) -> Tensor:
    """x^2 elementwise."""
    return Mul.apply(x, x)


def rsqrt(x: Tensor) -> Tensor:
    """1 / sqrt(x) elementwise."""
    return div(1.0, sqrt(x))


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where `condition` is true, else b; the three are broadcast together."""
    condition = as_tensor(condition)
    if condition.data.dtype.kind != "b":
        raise TypeError(f"where: condition has dtype {condition.dtype}, expected booleans")
    a, b = operands(a if isinstance(b, Tensor) else as_tensor(a), b)
    check_broadcast("where", condition, a, b)
    return Where.apply(condition.data, a, b)


def masked_fill(x: Tensor, mask: Any, value: Any) -> Tensor:
    """x with `value` where `mask` is true; the two are broadcast together."""
    x, mask = as_tensor(x), as_tensor(mask)
    check_broadcast("masked_fill", mask, x)
    return where(mask, as_tensor(value).to(x.dtype) if isinstance(value, Tensor) else x.dtype.type(value), x)


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """x bounded below by `min` and above by `max`, numbers or None; the gradient passes where min <= x <= max."""
    x = as_tensor(x)
    if min is None and max is None:
        raise ValueError("clamp: min and max are None, expected one at least")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        bounded = x if min is None else maximum(x, min)
        return bounded if max is None else minimum(bounded, max)
    if x.data.dtype.kind in "iub" and (isinstance(min, float) or isinstance(max, float)):
        x = cast(x, FLOAT32)
    return Clamp.apply(x, low=min, high=max)
