"""Distances, and losses made of other operations. x is the prediction, of the target's shape; reduction: "mean", "sum"
or "none"."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .activation import softplus
from .common import axis_index, tensors
from .cross_entropy import check_reduction, reduce
from .elementwise import Clamp, Log, Log1p, check_broadcast, clamp, exp, log, minimum, where
from .reduce import floating, norm


def normalize(x: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """x / max(|x|_p, eps), the norm along `dim` (an int or several)."""
    x = floating(x)
    return x / clamp(norm(x, p, dim, True), eps)


def _broadcast(call: str, x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    x1, x2 = floating(x1), floating(x2)
    check_broadcast(call, x1, x2)
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    return x1.expand(*shape), x2.expand(*shape)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim` of the two broadcast together."""
    x1, x2 = _broadcast("cosine_similarity", x1, x2)
    place = axis_index("cosine_similarity", dim, x1.ndim)
    return (normalize(x1, 2, place, eps) * normalize(x2, 2, place, eps)).sum(place)


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """|x1 - x2 + eps|_p along the last axis of the two broadcast together."""
    x1, x2 = _broadcast("pairwise_distance", x1, x2)
    return norm(x1 - x2 + eps, p, -1, keepdim)


def _pair(call: str, x: Any, target: Any, reduction: str) -> tuple[Tensor, Tensor]:
    """Input and target of a loss; a warning where their shapes differ, ValueError where they cannot be broadcast."""
    check_reduction(call, reduction)
    x, target = as_tensor(x), as_tensor(target)
    if x.shape != target.shape:
        check_broadcast(call, x, target)
        message = f"{call}: target has shape {target.shape} and x {x.shape}; they are broadcast, which is rarely meant"
        warnings.warn(message, stacklevel=3)
    return x, target


def _same(call: str, x: Any, target: Any, reduction: str) -> tuple[Tensor, Tensor]:
    """Input and target of a loss; ValueError where their shapes differ."""
    check_reduction(call, reduction)
    x, target = as_tensor(x), as_tensor(target)
    if x.shape != target.shape:
        raise ValueError(f"{call}: target has shape {target.shape}, expected {x.shape}, that of x")
    return x, target


def _weighted(losses: Tensor, weight: Any, reduction: str) -> Tensor:
    return reduce(losses if weight is None else losses * as_tensor(weight), reduction)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)^2."""
    x, target = _pair("mse_loss", x, target, reduction)
    return reduce((x - target).square(), reduction)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|x - target|."""
    x, target = _pair("l1_loss", x, target, reduction)
    return reduce((x - target).abs(), reduction)


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |x - target| < beta, else d - beta / 2."""
    x, target = _pair("smooth_l1_loss", x, target, reduction)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta is {beta}, expected at least 0")
    distance = (x - target).abs()
    if beta == 0:
        return reduce(distance, reduction)
    return reduce(where(distance < beta, distance.square() * (0.5 / beta), distance - 0.5 * beta), reduction)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 where d = |x - target| <= delta, else delta (d - delta / 2) (Huber 1964). ValueError unless delta > 0."""
    x, target = _pair("huber_loss", x, target, reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta}, expected more than 0")
    distance = (x - target).abs()
    near = clamp(distance, None, delta)
    return reduce(near * (distance - 0.5 * near), reduction)


class BinaryCrossEntropy(Elementary):
    """y = -t log x - (1 - t) log(1 - x), logarithms at least -100; dx = dy (x - t) / max(x (1 - x), 1e-12)"""

    name = "binary_cross_entropy"

    @staticmethod
    def forward(ctx: Node, x: Array, t: Array) -> Array:
        ctx.save(x, t)
        return (t - 1) * np.maximum(np.log1p(-x), -100) - t * np.maximum(np.log(x), -100)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        x, t = ctx.saved
        dx = dy * (x - t) / Clamp.call(x * (1 - x), low=1e-12, high=None) if ctx.needs[0] else None
        if not ctx.needs[1]:
            return dx, None
        low, high = (Clamp.call(v, low=-100, high=None) for v in (Log1p.call(-x), Log.call(x)))
        return dx, dy * (low - high)


def binary_cross_entropy(x: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) weight of probabilities x, with logarithms of at least -100.

    x, target t: of one shape; weight: broadcast to it. ValueError for an x outside 0..1, which on CUDA is not
    looked for.
    """
    call = "binary_cross_entropy"
    x, target = tensors(call, "x target", 2, x, target)
    _same(call, x, target, reduction)
    if isinstance(x.data, np.ndarray) and ((x.data < 0) | (x.data > 1)).any():
        raise ValueError(f"{call}: x has {np.nanmin(x.data)}..{np.nanmax(x.data)}, expected 0..1")
    return _weighted(BinaryCrossEntropy.apply(x, target), weight, reduction)


def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """-(pos_weight t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))) weight, without overflow.

    x, target t: of one shape; weight, pos_weight: broadcast to it.
    """
    x, target = _same("binary_cross_entropy_with_logits", x, target, reduction)
    positive = 1.0 if pos_weight is None else (as_tensor(pos_weight) - 1) * target + 1
    losses = (1 - target) * x + positive * softplus(-x, threshold=math.inf)
    return _weighted(losses, weight, reduction)


def kl_div(x: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (log t - x) of log-probabilities x, 0 where t is 0; the divergence of x from the target t (Kullback and Leibler
    1951).

    log_target: the target comes as log t. reduction: "batchmean", the sum over the rows of the first axis, is the
    divergence; also "mean" of all elements, "sum" and "none".
    """
    batch = reduction == "batchmean"
    x, target = _pair("kl_div", x, target, "sum" if batch else reduction)
    logs = target if log_target else log(where(target == 0, 1.0, target))
    losses = (exp(target) if log_target else target) * (logs - x)
    return losses.sum() / x.shape[0] if batch and x.ndim else reduce(losses, "sum" if batch else reduction)


def margin_ranking_loss(x1: Any, x2: Any, target: Any, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - t (x1 - x2)): t = 1 wants x1 above x2, -1 below."""
    check_reduction("margin_ranking_loss", reduction)
    x1, x2, target = as_tensor(x1), as_tensor(x2), as_tensor(target)
    if not x1.ndim == x2.ndim == target.ndim:
        shapes = f"{x1.shape}, {x2.shape} and {target.shape}"
        raise ValueError(f"margin_ranking_loss: x1, x2 and target have shapes {shapes}, expected as many axes in each")
    check_broadcast("margin_ranking_loss", x1, x2, target)
    return reduce(clamp(margin - target * (x1 - x2), 0.0), reduction)


def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d pairwise_distance with p and eps (Balntas et al.
    2016).

    swap: the smaller of d(anchor, negative) and d(positive, negative) counts. ValueError unless margin > 0, or where
    the shapes cannot be broadcast.
    """
    check_reduction("triplet_margin_loss", reduction)
    if not margin > 0:
        raise ValueError(f"triplet_margin_loss: margin is {margin}, expected more than 0")
    anchor, positive, negative = as_tensor(anchor), as_tensor(positive), as_tensor(negative)
    check_broadcast("triplet_margin_loss", anchor, positive, negative)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduce(clamp(pairwise_distance(anchor, positive, p, eps) - far + margin, 0.0), reduction)
