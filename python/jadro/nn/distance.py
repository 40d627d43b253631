"""Distances as layers; equations stand at the functions."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .options import Options


class CosineSimilarity(Options):
    """The cosine of the angle between vectors along axis `dim`; see F.cosine_similarity."""

    _shown = ("dim", "eps")

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Any, x2: Any) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Options):
    """|x1 - x2 + eps|_p along the last axis; see F.pairwise_distance."""

    _shown = ("p", "eps", "keepdim")

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.p, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Any, x2: Any) -> Tensor:
        return F.pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)
