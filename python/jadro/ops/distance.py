"""Lengths of vectors, and how far apart they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from .common import axis_index
from .elementwise import check_broadcast, clamp
from .reduce import floating, norm


def normalize(x: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """x / max(|x|_p, eps), the norm along `dim` (an int or several)."""
    x = floating(x)
    return x / clamp(norm(x, p, dim, True), eps)


def _two(call: str, x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    x1, x2 = floating(x1), floating(x2)
    check_broadcast(call, x1, x2)
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    return x1.expand(*shape), x2.expand(*shape)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim` of the two broadcast together; 0 for a vector of zeros."""
    x1, x2 = _two("cosine_similarity", x1, x2)
    place = axis_index("cosine_similarity", dim, x1.ndim)
    return (normalize(x1, 2, place, eps) * normalize(x2, 2, place, eps)).sum(place)


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """|x1 - x2 + eps|_p along the last axis of the two broadcast together."""
    x1, x2 = _two("pairwise_distance", x1, x2)
    return norm(x1 - x2 + eps, p, -1, keepdim)
