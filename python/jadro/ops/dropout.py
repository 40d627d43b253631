"""Dropout (Srivastava et al. 2014) with masks that are numbers of the library's stream, never stored."""

from __future__ import annotations

from typing import Any

from .. import backend, random
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor
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


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """In training each element is 0 with probability p, else x / (1 - p); otherwise x itself.

    Raises ValueError where p is outside 0..1, TypeError where x is not floating.
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
