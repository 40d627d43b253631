"""Dropout (Srivastava et al. 2014) with masks that are numbers of the library's stream, never stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend, random
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, wrap
from .common import tensors
from .elementwise import where


class Dropout(Elementary):
    """y = x mask / (1 - p); the gradient is the same map."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, p: float, seed: int, offset: int) -> Array:
        ctx.mask = {"p": p, "seed": seed, "offset": offset}
        y = backend.empty_like(x)
        backend.kernel(x, "dropout")(backend.contiguous(x), y, p, seed, offset)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Dropout.call(dy, **ctx.mask)


def _checked(call: str, x: Any, p: float) -> Tensor:
    (x,) = tensors(call, "x", 1, x)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{call}: p is {p}, expected 0 <= p <= 1")
    return x


def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each element is 0 with probability p, else x / (1 - p); otherwise x itself.

    inplace: taken for PyTorch's sake; the result is a new tensor all the same. Raises ValueError where p is outside
    0..1, TypeError where x is not floating.
    """
    x = _checked("dropout", x, p)
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    seed, offset = random.next_offset(x.numel())
    return Dropout.apply(x, p=float(p), seed=seed, offset=offset)


def _channels(call: str, x: Tensor, ranks: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """The shape of one number a channel of x; with `batch` axes x has one, with one less none."""
    if x.ndim not in ranks:
        raise ValueError(f"{call}: x has shape {x.shape}, expected {' or '.join(map(str, ranks))} axes")
    kept = 2 if x.ndim >= batch else 1
    return (*x.shape[:kept], *(1,) * (x.ndim - kept))


def _by_channel(call: str, x: Any, p: float, training: bool, ranks: tuple[int, ...], batch: int) -> Tensor:
    x = _checked(call, x, p)
    shape = _channels(call, x, ranks, batch)
    if not training or p == 0:
        return x
    return x * dropout(wrap(np.ones_like(x.data, shape=shape)), p)


def dropout1d(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As dropout, but whole channels of sequences [N, C, L] or [C, L] are 0 (Tompson et al. 2015)."""
    return _by_channel("dropout1d", x, p, training, (2, 3), 3)


def dropout2d(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As dropout, but whole channels of images [N, C, H, W], or sequences [N, C, L], are 0."""
    return _by_channel("dropout2d", x, p, training, (3, 4), 3)


def dropout3d(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As dropout, but whole channels of volumes [N, C, D, H, W] or [C, D, H, W] are 0."""
    return _by_channel("dropout3d", x, p, training, (4, 5), 5)


_LOWEST = -1.7580993408473766  # selu of -inf


def _alpha(x: Tensor, p: float, training: bool, shape: tuple[int, ...]) -> Tensor:
    """a (x where kept, else s) + b, s selu's lowest value; a and b bring mean 0 and variance 1 back."""
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    kept = dropout(wrap(np.ones_like(x.data, shape=shape)), p).data > 0
    a = ((1 - p) * (1 + p * _LOWEST**2)) ** -0.5
    return where(kept, x, _LOWEST) * a + (-a * p * _LOWEST)


def alpha_dropout(x: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 (Klambauer et al. 2017), for use behind selu: in training each element
    is selu's lowest value with probability p, and the whole is scaled and moved; otherwise x itself. Inplace and errors
    as in dropout."""
    x = _checked("alpha_dropout", x, p)
    return _alpha(x, p, training, x.shape)


def feature_alpha_dropout(x: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """As alpha_dropout, but of whole channels of x [N, C, ...]."""
    x = _checked("feature_alpha_dropout", x, p)
    return _alpha(x, p, training, _channels("feature_alpha_dropout", x, (2, 3, 4, 5), 2))
