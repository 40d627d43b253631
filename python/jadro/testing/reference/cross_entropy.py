"""Softmax cross-entropy of x[R,K] against class numbers target[R], with label smoothing e (Szegedy et al. 2016).

    loss[r] = (1-e) * w[t] * (lse - x[r,t]) + e/K * sum over k of w[k] * (lse - x[r,k]),   lse = log(sum of exp(x[r]))

Rows whose target is ignore_index have loss and gradient 0.
"""

import numpy as np
from numpy.typing import NDArray

from jadro.testing.reference.sums import Array, total


def cross_entropy_forward(
    x: Array, target: NDArray[np.int64], weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """losses[R], lse[R]."""
    peak = x.max(axis=1)
    lse = peak + np.log(total(np.exp(x - peak[:, None]), 1))
    losses = total(_target_weights(x, target, weight, ignore_index, label_smoothing) * (lse[:, None] - x), 1)
    return losses, lse


def cross_entropy_backward(
    x: Array,
    target: NDArray[np.int64],
    weight: Array | None,
    lse: Array,
    dlosses: Array,
    ignore_index: int,
    label_smoothing: float,
) -> Array:
    """dx[r,k] = dloss[r] * (softmax(x[r])[k] * sum of q[r] - q[r,k]) with q the weight of each class in the row's
    loss.
    """
    q = _target_weights(x, target, weight, ignore_index, label_smoothing)
    softmax = np.exp(x - lse[:, None])
    return (softmax * total(q, 1)[:, None] - q) * dlosses[:, None]


def _target_weights(
    x: Array, target: NDArray[np.int64], weight: Array | None, ignore_index: int, label_smoothing: float
) -> Array:
    """q[r,k]: what (lse - x[r,k]) counts for in the loss of row r."""
    rows, classes = x.shape
    valid = target != ignore_index
    q = np.zeros((rows, classes), x.dtype)
    q[valid] = label_smoothing / classes
    q[np.nonzero(valid)[0], target[valid]] += 1 - label_smoothing
    return q if weight is None else q * weight
