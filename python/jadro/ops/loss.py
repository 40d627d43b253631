"""Distances, and losses made of other operations: of predictions x of the shape of the target, all giving their mean,
their sum, or each loss ("mean", "sum", "none")."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .activation import softplus
from .common import axis_index, check_integer, tensors
from .creation import arange
from .cross_entropy import check_range, check_reduction, reduce
from .elementwise import Clamp, Log, Log1p, check_broadcast, clamp, exp, log, minimum, where
from .index import take_along
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
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim` of the two broadcast together; 0 for a vector of zeros."""
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


def _weight_of(call: str, x: Tensor, weight: Any) -> Tensor:
    """The weights of all losses; ValueError where their shape is not that of x."""
    weight = as_tensor(weight)
    if weight.shape != x.shape:
        raise ValueError(f"{call}: weight has shape {weight.shape}, expected {x.shape}, that of x")
    return weight


def _averaged(call: str, x: Tensor, losses: Tensor, weight: Any, reduction: str) -> Tensor:
    """The losses times `weight`, None for 1; their mean is their sum over that of the weights."""
    if weight is None:
        return reduce(losses, reduction)
    weight = _weight_of(call, x, weight)
    total = reduce(losses * weight, "sum" if reduction == "mean" else reduction)
    return total / weight.sum() if reduction == "mean" else total


def mse_loss(x: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Tensor:
    """(x - target)^2 weight, the mean that of the weights; weight: of x's shape, else ValueError."""
    x, target = _pair("mse_loss", x, target, reduction)
    return _averaged("mse_loss", x, (x - target).square(), weight, reduction)


def l1_loss(x: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Tensor:
    """|x - target| weight, the mean that of the weights; weight: of x's shape, else ValueError."""
    x, target = _pair("l1_loss", x, target, reduction)
    return _averaged("l1_loss", x, (x - target).abs(), weight, reduction)


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |x - target| < beta, else d - beta / 2."""
    x, target = _pair("smooth_l1_loss", x, target, reduction)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta is {beta}, expected at least 0")
    distance = (x - target).abs()
    if beta == 0:
        return reduce(distance, reduction)
    return reduce(where(distance < beta, distance.square() * (0.5 / beta), distance - 0.5 * beta), reduction)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """d^2 / 2 where d = |x - target| <= delta, else delta (d - delta / 2) (Huber 1964), times `weight`, of x's shape.
    ValueError for another shape, and unless delta > 0."""
    x, target = _pair("huber_loss", x, target, reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta}, expected more than 0")
    distance = (x - target).abs()
    near = clamp(distance, None, delta)
    losses = near * (distance - 0.5 * near)
    return reduce(losses if weight is None else losses * _weight_of("huber_loss", x, weight), reduction)


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

    x, target t: of one shape; weight: broadcast to it. ValueError for an x outside 0..1, on the CPU; to look on CUDA
    the call would have to wait for the GPU.
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


def gaussian_nll_loss(
    x: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log v + (x - target)^2 / v) / 2 of means x, v = max(var, eps) (Nix and Weigend 1994).

    var: a number, or a tensor of x's shape, of that without its last axis, or with 1 in one place. full: also
    log(2 pi) / 2. The gradient of var passes where eps is larger too. ValueError for another shape, eps <= 0, or a
    negative var.
    """
    call = "gaussian_nll_loss"
    x, target = _pair(call, x, target, reduction)
    var = as_tensor(var).to(x.dtype)
    if var.ndim and var.shape == x.shape[:-1] != x.shape:
        var = var.unsqueeze(-1)
    differ = [n for n, m in zip(var.shape, x.shape, strict=False) if n != m]
    if var.ndim and (var.ndim != x.ndim or differ not in ([], [1])):
        raise ValueError(f"{call}: var has shape {var.shape}, expected {x.shape}, {x.shape[:-1]} or 1 as one size")
    if not eps > 0:
        raise ValueError(f"{call}: eps is {eps}, expected more than 0")
    if isinstance(var.data, np.ndarray) and (var.data < 0).any():
        raise ValueError(f"{call}: var has {np.nanmin(var.data)}, expected no negative numbers")
    var = var + (clamp(var.detach(), eps) - var.detach())
    losses = 0.5 * (log(var) + (x - target).square() / var)
    return reduce(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


def poisson_nll_loss(
    x: Any, target: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
) -> Tensor:
    """exp(x) - t x of the logarithms x of rates, or, without log_input, x - t log(x + eps) of rates.

    full: also Stirling's t log t - t + log(2 pi t) / 2 where t > 1.
    """
    x, target = _pair("poisson_nll_loss", x, target, reduction)
    losses = exp(x) - target * x if log_input else x - target * log(x + eps)
    if full:
        t = where(target > 1, target, 1.0)
        losses = losses + where(target > 1, t * log(t) - t + 0.5 * log(2 * math.pi * t), 0.0)
    return reduce(losses, reduction)


def soft_margin_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-t x)), targets t 1 or -1, without overflow."""
    x, target = _same("soft_margin_loss", x, target, reduction)
    return reduce(softplus(-target * x, threshold=math.inf), reduction)


def hinge_embedding_loss(x: Any, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    x, target = _pair("hinge_embedding_loss", x, target, reduction)
    losses = where(target != -1, x, 0.0) + where(target != 1, clamp(margin - x, 0.0), 0.0)
    return reduce(losses, reduction)


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


def cosine_embedding_loss(x1: Any, x2: Any, target: Any, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """1 - cos(x1, x2) where the target is 1, max(0, cos(x1, x2) - margin) where it is -1.

    x1, x2: [N, D] with target [N], or [D] with target []. ValueError for other shapes.
    """
    call = "cosine_embedding_loss"
    check_reduction(call, reduction)
    x1, x2, target = as_tensor(x1), as_tensor(x2), as_tensor(target)
    if x1.ndim not in (1, 2) or x1.ndim != x2.ndim or target.ndim != x1.ndim - 1:
        shapes = f"{x1.shape}, {x2.shape} and {target.shape}"
        raise ValueError(f"{call}: x1, x2 and target have shapes {shapes}, expected [N, D], [N, D] and [N], or no N")
    cosine = cosine_similarity(x1, x2, -1, 1e-12)
    losses = where(target == 1, 1 - cosine, where(target == -1, clamp(cosine - margin, 0.0), 0.0))
    return reduce(losses, reduction)


def multi_margin_loss(
    x: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """sum over classes i != t of weight[t] max(0, margin - x[t] + x[i])^p / C (Crammer and Singer 2001).

    x: [N, C] or [C]; target t: [N] or [], classes; p: 1 or 2; weight: [C]. ValueError for other shapes, classes and p.
    """
    call = "multi_margin_loss"
    check_reduction(call, reduction)
    (x,), target = tensors(call, "x", 1, x), as_tensor(target)
    check_integer(call, "target", target.data)
    if x.ndim not in (1, 2) or target.shape != x.shape[:-1]:
        raise ValueError(f"{call}: x has shape {x.shape} and target {target.shape}, expected [N, C] and [N], or no N")
    if p not in (1, 2):
        raise ValueError(f"{call}: p is {p}, expected 1 or 2")
    classes, ids = x.shape[-1], target.unsqueeze(-1)
    check_range(call, target.data, classes)
    losses = clamp(margin - take_along(x, ids, x.ndim - 1) + x, 0.0)
    losses = where(ids == arange(classes, device=x.device), 0.0, losses if p == 1 else losses * losses)
    if weight is not None:
        losses = losses * as_tensor(weight)[ids]
    return reduce(losses.sum(-1) / classes, reduction)


def multilabel_soft_margin_loss(x: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """The mean over classes, the last axis, of -(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))) weight."""
    x, target = _same("multilabel_soft_margin_loss", x, target, reduction)
    return reduce(binary_cross_entropy_with_logits(x, target, weight, "none").mean(-1), reduction)
