"""Losses of classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...nn import functional as F
from ...tensor import wrap
from .registry import array, is_float, operator


def _target(labels: Any) -> Any:
    return wrap(array(labels).astype(np.int64, copy=False))


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(
    scores: Any, labels: Any, weights: Any = None, ignore_index: int | None = None, reduction: str = "mean", *,
    outputs: int = 1,
) -> Any:  # fmt: skip
    """The loss and, where it is asked for, the logarithms of the probabilities."""
    if not is_float(scores):
        return NotImplemented
    ignored = -100 if ignore_index is None else ignore_index
    loss = F.cross_entropy(scores, _target(labels), weights, ignored, reduction)
    return loss if outputs == 1 else (loss, F.log_softmax(scores, 1))


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(
    x: Any, target: Any, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    if not is_float(x):
        return NotImplemented
    return F.nll_loss(x, _target(target), weight, -100 if ignore_index is None else ignore_index, reduction)
