"""Arithmetic, activations and pointwise mathematics."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...nn import functional as F
from ...ops import analytic, compare
from ...ops import elementwise as e
from ...tensor import Tensor, wrap
from .registry import array, is_float, number, operator


def _aligned(a: Any, b: Any, axis: int | None, broadcast: int) -> Any:
    """b beside a: before opset 7 its axes stand at a's from `axis` on."""
    if not broadcast or axis is None:
        return b
    return b.reshape(*b.shape, *(1,) * (a.ndim - axis % a.ndim - b.ndim))


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda a, b, axis=None, broadcast=0: function(a, _aligned(a, b, axis, broadcast))


def _quotient(a: Any, b: Any) -> Any:
    """Integers are divided towards 0."""
    return e.div(a, b, rounding_mode=None if is_float(a) else "trunc")


operator("Add")(_arithmetic(e.add))
operator("Sub")(_arithmetic(e.sub))
operator("Mul")(_arithmetic(e.mul))
operator("Div")(_arithmetic(_quotient))


@operator("Mod")
def mod(a: Any, b: Any, fmod: int = 0) -> Any:
    """The rest with the sign of b; with `fmod` that of a."""
    if is_float(a, b):
        return NotImplemented
    return wrap(np.asarray((np.fmod if fmod else np.mod)(array(a), array(b))))


@operator("Pow")
def pow(a: Any, b: Any, axis: int | None = None, broadcast: int = 0) -> Any:
    b = _aligned(a, b, axis, broadcast)
    if not is_float(a) or (is_float(b) and b.dtype != a.dtype):
        return NotImplemented
    return e.pow(a, number(b) if b.data.size == 1 and not b.ndim and not b.requires_grad else b)


def _several(function: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    return lambda *xs: functools.reduce(function, xs)


operator("Max")(_several(e.maximum))
operator("Min")(_several(e.minimum))
operator("Sum")(_several(e.add))


@operator("Mean")
def mean(*xs: Any) -> Any:
    return functools.reduce(e.add, xs) / len(xs)


def _on_floats(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: function(x) if is_float(x) else NotImplemented


for _name, _function in {
    "Exp": e.exp, "Log": e.log, "Sqrt": e.sqrt, "Sin": e.sin, "Cos": e.cos, "Relu": F.relu, "Sigmoid": F.sigmoid,
    "Tanh": F.tanh, "Floor": compare.floor, "Ceil": compare.ceil, "Round": compare.round, "Sign": compare.sign,
    "IsNaN": compare.isnan, "Mish": F.mish, "Softsign": F.softsign,
    "Reciprocal": lambda x: 1 / x, "HardSwish": lambda x: x * hard_sigmoid(x, 1 / 6),
}.items():  # fmt: skip
    operator(_name)(_on_floats(_function))


@operator("Neg")
def neg(x: Any) -> Any:
    return e.neg(x)


@operator("Abs")
def abs(x: Any) -> Any:
    return e.abs(x)


@operator("Softplus")
def softplus(x: Any) -> Any:
    return F.softplus(x, threshold=math.inf)


@operator("LeakyRelu")
def leaky_relu(x: Any, alpha: float = 0.01) -> Any:
    return F.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(x: Any, slope: Any, *, opset: int = 7) -> Any:
    """x where x > 0, else slope x; slope is broadcast to x, one a channel in most models."""
    if not is_float(x, slope):
        return NotImplemented
    channels = (1,) * (x.ndim - slope.ndim) + slope.shape
    if opset < 7 and slope.ndim == 1:  # one a channel
        return F.prelu(x, slope)
    if x.ndim > 1 and all(n == 1 or i == 1 for i, n in enumerate(channels)):
        return F.prelu(x, slope.reshape(-1))
    return e.where(x > 0, x, x * slope)


@operator("Elu")
def elu(x: Any, alpha: float = 1.0) -> Any:
    return F.elu(x, alpha)


@operator("Selu")
def selu(x: Any, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Any:
    return F.elu(x, alpha) * gamma


@operator("Celu")
def celu(x: Any, alpha: float = 1.0) -> Any:
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1))"""
    if alpha > 0:
        return F.celu(x, alpha)
    return F.relu(x) - F.relu(e.expm1(x / alpha) * -alpha)


@operator("Gelu")
def gelu(x: Any, approximate: str = "none") -> Any:
    return F.gelu(x, approximate)


@operator("Swish")
def swish(x: Any, alpha: float = 1.0) -> Any:
    return F.silu(x) if alpha == 1 else x * F.sigmoid(x * alpha)


@operator("HardSigmoid")
def hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return F.hardtanh(x * alpha + beta, 0.0, 1.0)


@operator("ThresholdedRelu")
def thresholded_relu(x: Any, alpha: float = 1.0) -> Any:
    return e.where(x > alpha, x, 0.0)


@operator("Shrink")
def shrink(x: Any, bias: float = 0.0, lambd: float = 0.5) -> Any:
    """x - bias above lambd, x + bias below -lambd, else 0."""
    if not is_float(x):
        return NotImplemented
    return e.where(x > lambd, x - bias, e.where(x < -lambd, x + bias, 0.0))


@operator("Clip")
def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    if min is None and max is None:
        return x
    if not is_float(x):
        return NotImplemented
    if any(isinstance(bound, Tensor) and bound.requires_grad for bound in (min, max)):
        return e.clamp(x, min, max)
    low, high = (None if bound is None else number(bound) for bound in (min, max))
    if low is not None and high is not None and low <= high:
        return F.hardtanh(x, low, high)
    return e.clamp(x, low, high)


@operator("Where")
def where(condition: Any, a: Any, b: Any) -> Any:
    return e.where(condition.to(a.device), a, b)


for _name, _compare in {
    "Equal": compare.eq, "Less": compare.lt, "LessOrEqual": compare.le, "Greater": compare.gt,
    "GreaterOrEqual": compare.ge, "And": compare.logical_and, "Or": compare.logical_or, "Xor": compare.logical_xor,
}.items():  # fmt: skip
    operator(_name)(lambda a, b, run=_compare: run(a, b))


@operator("Not")
def logical_not(x: Any) -> Any:
    return compare.logical_not(x)


for _name in ["tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf"]:
    operator(_name.capitalize())(_on_floats(getattr(analytic, _name)))
