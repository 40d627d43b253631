"""Initial values, written into a tensor in place: PyTorch's names and formulas, drawn from the library's stream.

Every function returns its tensor and raises ValueError for a shape or a value that does not fit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..autograd import no_grad
from ..tensor import Tensor, as_tensor

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
_GAINS.update((f"conv{n}d", 1.0) for n in (1, 2, 3))


def _write(tensor: Tensor, values: Any) -> Tensor:
    with no_grad():
        return tensor.copy_(as_tensor(values).to(tensor.device))


def _draw_dtype(tensor: Tensor) -> np.dtype:
    return np.dtype(np.float64 if tensor.dtype == np.float64 else np.float32)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    if not a <= b:
        raise ValueError(f"uniform_: a is {a} and b is {b}, expected a <= b")
    return _write(tensor, random.uniform(tensor.shape, _draw_dtype(tensor)) * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal."""
    if not std >= 0:
        raise ValueError(f"normal_: std is {std}, expected at least 0")
    return _write(tensor, random.normal(tensor.shape, _draw_dtype(tensor)) * std + mean)


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Normal, of what lies in [a, b]: uniform numbers x, kept with probability density(x) / its maximum there."""
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: std is {std}, a is {a} and b is {b}, expected std > 0 and a < b")
    low, high = (a - mean) / std, (b - mean) / std
    mode = min(max(low, 0.0), high)
    low, high = max(low, mode - 8), min(high, mode + 8)  # 1e-15 of the density is farther away
    values = np.empty(tensor.numel())
    left = np.arange(values.size)
    while left.size:
        x, u = random.uniform((2, left.size), np.float64)
        x = low + (high - low) * x
        kept = u < np.exp((mode * mode - x * x) / 2)
        values[left[kept]], left = x[kept], left[~kept]
    return _write(tensor, np.clip(values * std + mean, a, b).reshape(tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """val everywhere."""
    return _write(tensor, np.full(tensor.shape, val, tensor.dtype))


def ones_(tensor: Tensor) -> Tensor:
    """Fills with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fills with 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity, in a tensor of two axes."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: tensor has shape {tensor.shape}, expected two axes")
    rows, columns = tensor.shape
    return _write(tensor, np.eye(rows, columns))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The weight [out, in, ...] of a convolution that passes its channels through, in each of `groups`; 0 elsewhere."""
    if not 3 <= tensor.ndim <= 5 or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: tensor has shape {tensor.shape}, expected 3 to 5 axes, the first {groups} times n")
    values = np.zeros(tensor.shape)
    centre = tuple(n // 2 for n in tensor.shape[2:])
    out = tensor.shape[0] // groups
    for i in range(min(out, tensor.shape[1])):
        place: tuple[Any, ...] = (slice(i, None, out), i, *centre)  # in every group
        values[place] = 1
    return _write(tensor, values)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Normal, with ceil(sparsity * rows) zeros in each column of a matrix (Martens 2010)."""
    if tensor.ndim != 2 or not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: tensor has shape {tensor.shape} and sparsity is {sparsity}, expected [N, M], 0..1")
    values = random.normal(tensor.shape, np.float64) * std
    order = np.argsort(random.uniform(tensor.shape, np.float64), axis=0)
    np.put_along_axis(values, order[: math.ceil(sparsity * tensor.shape[0])], 0.0, axis=0)
    return _write(tensor, values)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity: "linear", "conv1d", "conv2d", "conv3d", "sigmoid",
    "tanh", "relu", "selu" or "leaky_relu", whose slope is `param`, default 0.01."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        names = ", ".join((*_GAINS, "leaky_relu"))
        raise ValueError(f"calculate_gain: nonlinearity is {nonlinearity!r}, expected one of {names}")
    return _GAINS[nonlinearity]


def _fans(call: str, tensor: Tensor) -> tuple[int, int]:
    """(inputs, outputs) of one unit of a weight [out, in, ...]: the axes after the second count for both."""
    if tensor.ndim < 2:
        raise ValueError(f"{call}: tensor has shape {tensor.shape}, expected at least two axes")
    space = math.prod(tensor.shape[2:])
    return tensor.shape[1] * space, tensor.shape[0] * space


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / max(1, sum(_fans("xavier_uniform_", tensor))))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """N(0, s^2), s = gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(1, sum(_fans("xavier_normal_", tensor)))))


def _kaiming_std(call: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """gain / sqrt(fan) (He et al. 2015)"""
    fans = _fans(call, tensor)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{call}: mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fans[mode == "fan_out"]))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """U(-b, b), b = gain sqrt(3 / fan) (He et al. 2015); a: the slope of a leaky ReLU. mode: "fan_in" or "fan_out"."""
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """N(0, s^2), s = gain / sqrt(fan) (He et al. 2015); a and mode as in kaiming_uniform_."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """gain times a random matrix [rows, the rest] with orthonormal rows or columns, whichever are fewer (Saxe et al.
    2013)."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor has shape {tensor.shape}, expected at least two axes")
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    q, r = np.linalg.qr(random.normal((max(rows, columns), min(rows, columns)), np.float64))
    q *= np.sign(np.diagonal(r))  # a positive diagonal of r makes q uniform over the orthogonal matrices
    return _write(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))
