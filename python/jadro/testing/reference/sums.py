"""Sums in order, one term after another: NumPy's own are pairwise or BLAS's, and differ from machine to machine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def total(x: Array, axis: int | tuple[int, ...]) -> Array:
    """The sum of x over `axis`, in index order."""
    axes = (axis,) if isinstance(axis, int) else axis
    moved = np.moveaxis(x, axes, range(len(axes)))
    rows = moved.reshape(int(np.prod(moved.shape[: len(axes)])), *moved.shape[len(axes) :])
    return np.cumsum(rows, axis=0)[-1] if len(rows) else np.zeros(rows.shape[1:], x.dtype)


def matmul(a: Array, b: Array) -> Array:
    """a[M,K] @ b[K,N] as K rank-one updates."""
    y = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for k in range(a.shape[1]):
        y += a[:, k, None] * b[k]
    return y
