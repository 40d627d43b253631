"""Residual blocks."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, as_tensor
from .linear import Identity
from .module import Module


class Residual(Module):
    """y = body(x) + shortcut(x) (He et al. 2015).

    shortcut: a module, such as a 1x1 convolution that changes the channels; None is the identity. Raises ValueError
    where the two shapes differ: broadcasting is not meant here.
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = Identity() if shortcut is None else shortcut

    def forward(self, x: Any) -> Tensor:
        y, skip = self.body(x), as_tensor(self.shortcut(x))
        if y.shape != skip.shape:
            raise ValueError(f"Residual: the body gives shape {y.shape}, expected {skip.shape}, that of the shortcut")
        return y + skip
