"""Softmax cross-entropy and the negative log-likelihood, over class indices or class probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor, wrap
from .common import check_float, check_integer
from .elementwise import where
from .softmax import log_softmax, softmax

REDUCTIONS = ("mean", "sum", "none")


class CrossEntropy(Function):
    """x[R,K], target[R] -> losses[R] = -sum_k q_k log softmax(x)_k, q = w ((1 - s) onehot(target) + s / K); 0 where
    ignored"""

    name = "cross_entropy"

    @staticmethod
    def forward(ctx: Node, x: Array, *, target: Array, weight: Array | None, ignore: int, smoothing: float) -> Array:
        losses, lse = (backend.empty_like(x, x.shape[:1]) for _ in range(2))
        if x.size:
            run = backend.kernel(x, "cross_entropy_forward")
            run(backend.contiguous(x), target, weight, losses, lse, ignore, smoothing)
        ctx.save(x)
        ctx.rest = target, weight, lse, ignore, smoothing
        return losses

    @staticmethod
    def backward(ctx: Node, dlosses: Array) -> Array:
        (x,) = ctx.saved
        target, weight, lse, ignore, smoothing = ctx.rest
        dx = backend.empty_like(x)
        if x.size:
            run = backend.kernel(x, "cross_entropy_backward")
            run(backend.contiguous(x), target, weight, lse, backend.contiguous(dlosses), dx, ignore, smoothing)
        return dx

    @classmethod
    def backward_graph(cls, ctx: Node, dlosses: Tensor) -> Tensor:
        """dx = dlosses (softmax(x) sum_k q_k - q)"""
        (x,) = ctx.saved
        target, weight, _, ignore, smoothing = ctx.rest
        classes = x.shape[1]
        q = np.full_like(x.data, smoothing / classes)
        q[np.arange(len(target)), np.where(target == ignore, 0, target)] += 1 - smoothing
        q *= 1 if weight is None else weight
        q[target == ignore] = 0
        return dlosses.unsqueeze(1) * (softmax(x, 1) * wrap(q.sum(axis=1, keepdims=True)) - wrap(q))


def check_reduction(call: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{call}: reduction is {reduction!r}, expected one of {', '.join(REDUCTIONS)}")


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of the losses, or all of them."""
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def _check(call: str, x: Tensor, weight: Any, reduction: str) -> Tensor | None:
    """Checks x [N, C, ...] or [C] and the class weights [C], and returns these."""
    check_reduction(call, reduction)
    check_float(call, "x", x.data)
    if x.ndim == 0:
        raise ValueError(f"{call}: x has shape {x.shape}, expected [N, C, ...] or [C]")
    classes = x.shape[min(1, x.ndim - 1)]
    if classes < 1:
        raise ValueError(f"{call}: x has shape {x.shape}, expected at least one class")
    if weight is None:
        return None
    weight = as_tensor(weight)
    check_float(call, "weight", weight.data, x.data)
    if weight.shape != (classes,):
        raise ValueError(f"{call}: weight has shape {weight.shape}, expected ({classes},): one for each class")
    return weight


def _rows(call: str, x: Tensor, target: Tensor, ignore: int) -> tuple[Tensor, Array]:
    """x as [R, C] and the class indices as int64 [R]; every axis of x but the classes' is rows."""
    check_integer(call, "target", target.data)
    expected = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    if target.shape != expected:
        raise ValueError(f"{call}: target has shape {target.shape}, expected {expected}: x has shape {x.shape}")
    classes = x.shape[min(1, x.ndim - 1)]
    ids = backend.contiguous(target.data.astype(np.int64, copy=False)).reshape(-1)
    # To check on CUDA the call would have to wait for the GPU: there these rows give NaN.
    if isinstance(ids, np.ndarray) and (wrong := (ids != ignore) & ((ids < 0) | (ids >= classes))).any():
        raise ValueError(f"{call}: target holds {ids[wrong][0]}, expected 0..{classes - 1} or ignore_index {ignore}")
    if x.ndim > 2:
        x = x.permute(0, *range(2, x.ndim), 1)
    return x.reshape(ids.size, classes), ids


def _average(losses: Tensor, ids: Array, weight: Tensor | None, ignore: int) -> Tensor:
    """The sum of the losses over the sum of the weights of their classes; NaN where every target is ignored."""
    kept = ids != ignore
    total = kept.sum() if weight is None else weight.data[ids[kept]].sum()
    return losses.sum() / (losses.dtype.type(total) if losses.device == "cpu" else wrap(total.astype(losses.dtype)))


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum_k q_k log softmax(x)_k, as `torch.nn.functional.cross_entropy`.

    x: [C], [N, C] or [N, C, d1, ...], scores. target: class indices of x's shape without C, or probabilities of x's
    shape. weight: [C], of each class. ignore_index: rows with this target count for nothing. label_smoothing: s in q =
    (1 - s) target + s / C. reduction: "mean" (weighted by the classes' weights), "sum" or "none". Raises ValueError for
    shapes, targets and options that do not fit, TypeError for dtypes; on CUDA a target out of range gives NaN.
    """
    x, target = as_tensor(x), as_tensor(target)
    weight = _check("cross_entropy", x, weight, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, expected 0 <= label_smoothing <= 1")
    if target.is_floating_point():
        return _probabilities(x, target, weight, reduction, label_smoothing)
    rows, ids = _rows("cross_entropy", x, target, ignore_index)
    losses = CrossEntropy.apply(
        rows, target=ids, weight=None if weight is None else backend.contiguous(weight.data), ignore=ignore_index,
        smoothing=float(label_smoothing),
    )  # fmt: skip
    if reduction == "mean":
        return _average(losses, ids, weight, ignore_index)
    return losses.sum() if reduction == "sum" else losses.reshape(target.shape)


def _probabilities(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float) -> Tensor:
    if target.shape != x.shape:
        raise ValueError(
            f"cross_entropy: target has shape {target.shape}, expected {x.shape} of class probabilities, as x"
        )
    axis = min(1, x.ndim - 1)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / x.shape[axis]
    logs = log_softmax(x, axis)
    if weight is not None:
        logs = logs * weight.reshape(-1, *(1,) * (x.ndim - axis - 1))
    losses = -(target * logs).sum(axis)
    return reduce(losses, reduction)


def nll_loss(x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """-weight[target] x[target] of log-probabilities x: [C], [N, C] or [N, C, d1, ...]; the rest as in
    `cross_entropy`."""
    x, target = as_tensor(x), as_tensor(target)
    weight = _check("nll_loss", x, weight, reduction)
    rows, ids = _rows("nll_loss", x, target, ignore_index)
    kept = ids != ignore_index
    safe = np.where(kept, ids, 0)
    losses = -rows[np.arange(ids.size), safe]
    if weight is not None:
        losses = losses * weight[safe]
    losses = where(kept, losses, 0.0)
    if reduction == "mean":
        return _average(losses, ids, weight, ignore_index)
    return losses.sum() if reduction == "sum" else losses.reshape(target.shape)
