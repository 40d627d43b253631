"""Residual blocks."""

from __future__ import annotations

from typing import Any

from ..ops.activation import Rectifier
from ..tensor import Tensor, as_tensor
from . import fuse
from .container import Sequential
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
        return self._sum(x)

    def _sum(self, x: Any, rectifier: Rectifier | None = None) -> Tensor:
        """body(x) + shortcut(x), rectified; in the body's last call where that can be."""
        if not fuse.takes_add(_last(self.body)):
            y = self.body(x)
            return fuse.finish(y, as_tensor(self.shortcut(x)), rectifier)
        return fuse.run([self.body], x, as_tensor(self.shortcut(x)), rectifier)


def _last(module: Module) -> Module:
    while type(module) is Sequential and fuse.plain(module) and len(module):
        module = module[-1]
    return module


def _stage(layer: Residual, x: Any, add: Tensor | None, rectifier: Rectifier | None) -> Tensor:
    return layer._sum(x, rectifier) if add is None else fuse.finish(layer._sum(x), add, rectifier)


fuse.STAGES[Residual] = _stage
