"""Softplus and the normal distribution function."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import FLOAT32, cast
from .elementwise import Exp, Where, constant


class Softplus(Elementary):
    """y = log(1 + exp(beta x)) / beta; x itself, with gradient 1, where beta x > threshold"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, beta: float, threshold: float) -> Array:
        ctx.save(x)
        ctx.beta, ctx.threshold = beta, threshold
        scaled = x * x.dtype.type(beta)
        return np.where(scaled > threshold, x, np.logaddexp(scaled, x.dtype.type(0)) / x.dtype.type(beta))

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        scaled = ctx.saved[0] * dy.dtype.type(ctx.beta)
        return Where.call(constant(scaled > ctx.threshold), dy, dy / (1 + Exp.call(-scaled)))


@functools.cache
def _erfc_series() -> tuple[float, ...]:
    """Chebyshev coefficients over t of erfc(x) exp(x^2), t = 2 / (2 + x) in 0.07..1; beyond, erfc(x) is below
    1e-300."""
    from numpy.polynomial import chebyshev

    def scaled(u: np.ndarray) -> np.ndarray:
        x = 2 / (0.535 + 0.465 * u) - 2
        return np.array([math.erfc(v) * math.exp(v * v) for v in x])

    return tuple(chebyshev.chebinterpolate(scaled, 28))


class NormalCdf(Elementary):
    """Phi(x) = erfc(-x / sqrt 2) / 2; dx = dy exp(-x^2 / 2) / sqrt(2 pi)"""

    name = "normal_cdf"

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        ctx.save(x)
        z = np.minimum(np.abs(x) * x.dtype.type(math.sqrt(0.5)), 26)
        u = (2 / (2 + z) - 0.535) / 0.465
        ahead = before = np.zeros_like(x)
        for c in _erfc_series()[:0:-1]:  # Clenshaw's recurrence
            ahead, before = 2 * u * ahead - before + x.dtype.type(c), ahead
        tail = (u * ahead - before + x.dtype.type(_erfc_series()[0])) * np.exp(-z * z) / 2
        return np.where(x > 0, 1 - tail, tail)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        x = ctx.saved[0]
        return dy * (Exp.call(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))


def normal_cdf(x: Any) -> Tensor:
    """Phi(x), the probability that a standard normal number is below x."""
    x = as_tensor(x)
    return NormalCdf.apply(cast(x, FLOAT32) if x.data.dtype.kind in "iub" else x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold."""
    x = as_tensor(x)
    return Softplus.apply(cast(x, FLOAT32) if x.data.dtype.kind in "iub" else x, beta=beta, threshold=threshold)
