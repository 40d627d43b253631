"""Softmax and its logarithm over x[outer,n,inner], along n."""

import numpy as np

from jadro.testing.reference.sums import Array, total


def softmax_forward(x: Array, log: bool) -> Array:
    """exp(x) / sum exp(x), or its logarithm; the largest is taken away first, so that nothing overflows."""
    shifted = x - x.max(axis=1, keepdims=True, initial=-np.inf)
    sums = total(np.exp(shifted), 1)[:, None]
    return shifted - np.log(sums) if log else np.exp(shifted) / sums


def softmax_backward(dy: Array, y: Array, log: bool) -> Array:
    """dx = y (dy - sum(dy y)); of the logarithm dy - exp(y) sum(dy)."""
    if log:
        return dy - np.exp(y) * total(dy, 1)[:, None]
    return y * (dy - total(dy * y, 1)[:, None])
