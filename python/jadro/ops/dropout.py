"""Dropout (Srivastava et al. 2014) with masks that are numbers of the library's stream, never stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend, random
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, wrap
from .common import tensors


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


def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each element is 0 with probability p, else x / (1 - p); otherwise x itself.

    inplace: taken for PyTorch's sake; the result is a new tensor all the same. Raises ValueError where p is outside
    0..1, TypeError where x is not floating.
    """
    (x,) = tensors("dropout", "x", 1, x)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p is {p}, expected 0 <= p <= 1")
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    seed, offset = random.next_offset(x.numel())
    return Dropout.apply(x, p=float(p), seed=seed, offset=offset)


def _of_channels(call: str, x: Any, p: float, training: bool, ranks: tuple[int, ...], batch: int) -> Tensor:
    """One number a channel; x of `batch` axes or more has rows of its own."""
    (x,) = tensors(call, "x", 1, x)
    if x.ndim not in ranks or not 0.0 <= p <= 1.0:
        raise ValueError(f"{call}: x has shape {x.shape} and p is {p}, expected {ranks} axes and 0 <= p <= 1")
    if not training or p == 0:
        return x
    kept = 2 if x.ndim >= batch else 1
    return x * dropout(wrap(np.ones_like(x.data, shape=(*x.shape[:kept], *(1,) * (x.ndim - kept)))), p)


def dropout1d(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As dropout, but whole channels of sequences [N, C, L] or [C, L] are 0 (Tompson et al. 2015)."""
    return _of_channels("dropout1d", x, p, training, (2, 3), 3)


def dropout2d(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As dropout, but whole channels of images [N, C, H, W], or sequences [N, C, L], are 0."""
    return _of_channels("dropout2d", x, p, training, (3, 4), 3)


def dropout3d(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As dropout, but whole channels of volumes [N, C, D, H, W] or [C, D, H, W] are 0."""
    return _of_channels("dropout3d", x, p, training, (4, 5), 5)
