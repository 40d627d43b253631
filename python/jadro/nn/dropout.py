"""Dropout."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .module import Module


class Dropout(Module):
    """In training each element is 0 with probability p, else scaled by 1 / (1 - p); in evaluation y = x.

    inplace: taken for PyTorch's sake; the result is a new tensor all the same. Raises ValueError where p is outside
    0..1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{type(self).__name__}: p is {p}, expected 0 <= p <= 1")
        self.p, self.inplace = p, inplace

    def forward(self, x: Any) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout1d(Dropout):
    """As Dropout, but of whole channels of sequences [N, C, L] or [C, L]."""

    def forward(self, x: Any) -> Tensor:
        return F.dropout1d(x, self.p, self.training)


class Dropout2d(Dropout):
    """As Dropout, but of whole channels of images [N, C, H, W], or sequences [N, C, L]."""

    def forward(self, x: Any) -> Tensor:
        return F.dropout2d(x, self.p, self.training)


class Dropout3d(Dropout):
    """As Dropout, but of whole channels of volumes [N, C, D, H, W] or [C, D, H, W]."""

    def forward(self, x: Any) -> Tensor:
        return F.dropout3d(x, self.p, self.training)


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1, for use behind SELU; see F.alpha_dropout."""

    def forward(self, x: Any) -> Tensor:
        return F.alpha_dropout(x, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """As AlphaDropout, but of whole channels of [N, C, ...]."""

    def forward(self, x: Any) -> Tensor:
        return F.feature_alpha_dropout(x, self.p, self.training)
