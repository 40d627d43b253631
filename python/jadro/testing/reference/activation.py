"""Activations; the backward pass of relu, tanh and sigmoid needs the output, that of the others the input."""

import numpy as np

from jadro.testing.reference.sums import Array, total

FROM_OUTPUT = ("relu", "tanh", "sigmoid")
FAR = 100  # beyond it slopes have reached their limits, and products of infinity and 0 are not to be met


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), from the side on which exp cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def density(x: Array) -> Array:
    """exp(-x^2 / 2) / sqrt(2 pi)"""
    return np.exp(-x * x / 2) / np.sqrt(8 * np.arctan(x.dtype.type(1)))


def normal_cdf(x: Array) -> Array:
    """Phi(x): 1/2 + phi(x) sum x^(2n+1) / (2n+1)!! near 0 (Marsaglia 2004), Laplace's continued fraction far off."""
    near = np.clip(x, -2, 2)
    term = total = near
    for n in range(1, 80):
        term = term * near * near / (2 * n + 1)
        total = total + term
    size = np.clip(np.abs(x), 2, 1e3)
    fraction = np.zeros_like(x)
    for n in range(120, 0, -1):
        fraction = n / (size + fraction)
    tail = density(size) / (size + fraction)
    far = np.where(x > 0, 1 - tail, tail)
    return np.where(np.abs(x) > 2, far, x.dtype.type(0.5) + density(near) * total)


def _gelu_tanh(x: Array) -> tuple[Array, Array]:
    """tanh(u), u = sqrt(2 / pi) (x + 0.044715 x^3), and du/dx"""
    x = np.clip(x, -FAR, FAR)
    scale, cube = np.sqrt(1 / (2 * np.arctan(x.dtype.type(1)))), x.dtype.type(0.044715)
    return np.tanh(scale * (x + cube * x * x * x)), scale * (1 + 3 * cube * x * x)


def activation_forward(name: str, x: Array, a: float = 0.0, b: float = 0.0) -> Array:
    one = x.dtype.type(1)
    a, b = one * a, one * b
    if name == "relu":
        return np.where(x <= 0, 0, x)  # NaN stays NaN
    if name == "leaky_relu":
        return np.where(x > 0, x, a * x)
    if name == "elu":
        return np.where(x > 0, x, a * np.expm1(np.where(x > 0, 0, x)))
    if name == "gelu":
        return x * normal_cdf(x)
    if name == "gelu_tanh":
        return x * (1 + _gelu_tanh(x)[0]) / 2
    if name == "silu":
        return x * sigmoid(x)
    if name == "hardtanh":
        return np.clip(x, a, b)
    if name == "softplus":
        return np.where(a * x > b, x, (np.maximum(a * x, 0) + np.log1p(np.exp(-np.abs(a * x)))) / a)
    return np.tanh(x) if name == "tanh" else sigmoid(x)


def activation_backward(name: str, dy: Array, v: Array, a: float = 0.0, b: float = 0.0) -> Array:
    """v = y: relu dy*(y>0), tanh dy*(1-y^2), sigmoid dy*y*(1-y); else v = x: dy times the derivative at x."""
    one, near = v.dtype.type(1), np.clip(v, -FAR, FAR)
    a, b = one * a, one * b
    if name == "relu":
        return np.where(v > 0, dy, 0)
    if name == "leaky_relu":
        return np.where(v > 0, dy, a * dy)
    if name == "elu":
        return np.where(v > 0, dy, dy * a * np.exp(np.where(v > 0, 0, v)))
    if name == "gelu":
        return dy * (normal_cdf(v) + near * density(near))
    if name == "gelu_tanh":
        t, slope = _gelu_tanh(v)
        return dy * ((1 + t) / 2 + near / 2 * (1 - t * t) * slope)
    if name == "silu":
        s = sigmoid(v)
        return dy * s * (1 + near * (1 - s))
    if name == "hardtanh":
        return np.where((v <= a) | (v >= b), 0, dy)
    if name == "softplus":
        return np.where(a * v > b, dy, dy * sigmoid(a * v))
    return dy * (1 - v * v) if name == "tanh" else dy * v * (1 - v)


def rectified(y: Array, slope: Array | None, most: float) -> Array:
    """slope[c] y where y[n,c,...] < 0, 0 without slopes, and at most `most`."""
    return np.minimum(np.where(y < 0, y * _slopes(y, slope), y), y.dtype.type(most))


def rectified_slope(y: Array, slope: Array | None, most: float) -> Array:
    """The derivative of `rectified` at y."""
    return np.where(y > 0, y < most, _slopes(y, slope)).astype(y.dtype)


def _slopes(y: Array, slope: Array | None) -> Array:
    """slope[c] for y[n,c,...]; 0 without."""
    return np.zeros_like(y[:, :1]) if slope is None else slope.reshape(-1, *(1,) * (y.ndim - 2))


def prelu_forward(x: Array, w: Array) -> Array:
    """x[N,C,S], w[C]: y = x where x > 0, else w x."""
    return np.where(x > 0, x, x * w[:, None])


def prelu_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array]:
    """dx = dy where x > 0, else w dy; dw = sum of dy x where x <= 0."""
    dx = np.where(x > 0, dy, dy * w[:, None])
    return dx, total(np.where(x > 0, 0, dy * x), (0, 2))
