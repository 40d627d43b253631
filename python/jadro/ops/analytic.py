"""Pointwise functions with formulas of their derivatives, and those that are made of others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import Elementary, Node
from ..backend import Array, compute
from ..tensor import Tensor, as_tensor, wrap
from .activation import gelu
from .compare import isnan, trunc
from .elementwise import Binary, Exp, constant, div, masked_fill, operands, two
from .reduce import floating


class Analytic(Elementary):
    """y = f(x) for a function of NumPy that has a formula of its derivative in ANALYTIC."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, name: str) -> Array:
        ctx.save(x)
        ctx.formula = ANALYTIC[name][1]
        return compute(ANALYTIC[name][0], x)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return dy * ctx.formula(ctx.saved[0])


ANALYTIC: dict[str, tuple[np.ufunc, Callable[[Any], Any]]] = {
    "tan": (np.tan, lambda x: 1 + Analytic.call(x, name="tan") ** 2),
    "asin": (np.arcsin, lambda x: (1 - x * x) ** -0.5),
    "acos": (np.arccos, lambda x: -((1 - x * x) ** -0.5)),
    "atan": (np.arctan, lambda x: 1 / (1 + x * x)),
    "sinh": (np.sinh, lambda x: Analytic.call(x, name="cosh")),
    "cosh": (np.cosh, lambda x: Analytic.call(x, name="sinh")),
    "asinh": (np.arcsinh, lambda x: (1 + x * x) ** -0.5),
    "acosh": (np.arccosh, lambda x: (x * x - 1) ** -0.5),
    "atanh": (np.arctanh, lambda x: 1 / (1 - x * x)),
    "log2": (np.log2, lambda x: 1 / (x * math.log(2))),
    "log10": (np.log10, lambda x: 1 / (x * math.log(10))),
    "exp2": (np.exp2, lambda x: Analytic.call(x, name="exp2") * math.log(2)),
}


def _one(name: str) -> Callable[[Any], Tensor]:
    def run(x: Any) -> Tensor:
        return Analytic.apply(floating(x), name=name)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{name}(x) elementwise; integers are taken as float32."
    return run


tan, asin, acos, atan, sinh, cosh, asinh, acosh, atanh, log2, log10, exp2 = map(_one, ANALYTIC)


class Erf(Elementary):
    """erf(x) = 2 Phi(sqrt(2) x) - 1, with Phi from the kernel of gelu, and its series near 0; d = 2 exp(-x^2) /
    sqrt(pi)."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        ctx.save(x)
        near = np.abs(x) < 0.125
        u = np.where(near, x.dtype.type(1), x * x.dtype.type(math.sqrt(2)))  # where near, its quotient is not used
        y = 2 * gelu(wrap(u)).data / u - 1
        y = np.where(np.isinf(x), np.sign(x), y)
        s = x * x
        series = x * (1 - s * (1 / 3 - s * (1 / 10 - s * (1 / 42 - s * (1 / 216 - s / 1320)))))
        return np.where(near, series * x.dtype.type(2 / math.sqrt(math.pi)), y).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        x = ctx.saved[0]
        return dy * Exp.call(-(x * x)) * (2 / math.sqrt(math.pi))


def erf(x: Any) -> Tensor:
    """The error function; integers are taken as float32."""
    return Erf.apply(floating(x))


class Atan2(Binary, ufunc=np.arctan2):
    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        part = dy / (a * a + b * b)
        return part * b, -part * a if ctx.needs[1] else None


class Fmod(Binary, ufunc=np.fmod):
    """y = a - b trunc(a / b), with the sign of a"""

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        return dy, -dy * np.trunc(constant(a) / constant(b)) if ctx.needs[1] else None


fmod, _atan2 = two(Fmod, "fmod"), two(Atan2, "atan2")


def atan2(a: Any, b: Any) -> Tensor:
    """The angle of the point (b, a), in -pi..pi; integers are taken as float32."""
    return _atan2(*(floating(x) for x in operands(a, b)))


def reciprocal(x: Any) -> Tensor:
    """1 / x elementwise."""
    return div(1.0, x)


def frac(x: Any) -> Tensor:
    """x - trunc(x) elementwise."""
    x = as_tensor(x)
    return x - trunc(x)


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with `nan` for NaN, `posinf` and `neginf` (None: the largest and lowest numbers) for infinities."""
    x = as_tensor(x)
    if x.data.dtype.kind in "f":
        ends = np.finfo(x.dtype)
        x = masked_fill(x, isnan(x), nan)
        x = masked_fill(x, x == math.inf, ends.max if posinf is None else posinf)
        x = masked_fill(x, x == -math.inf, ends.min if neginf is None else neginf)
    return x


def lerp(x: Any, end: Any, weight: Any) -> Tensor:
    """x + weight (end - x)."""
    x, end = as_tensor(x), as_tensor(end)
    return x + (end - x) * weight


def addcmul(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """x + value tensor1 tensor2."""
    return as_tensor(x) + as_tensor(tensor1) * value * tensor2


def addcdiv(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """x + value tensor1 / tensor2."""
    return as_tensor(x) + as_tensor(tensor1) * value / tensor2
