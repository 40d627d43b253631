"""Softmax cross-entropy and the negative log-likelihood, over class indices or class probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Function, Node
from ..backend import Array, contiguous, seen, total
from ..tensor import Tensor, as_tensor, wrap
from .common import INT64, cast, check_integer, remembered, shape_of, tensors
from .elementwise import where
from .softmax import log_softmax, softmax
from .windows import Sizes

REDUCTIONS = ("mean", "sum", "none")


class CrossEntropy(Function):
    """x[R,K], target[R] -> losses[R] = -sum_k q_k log softmax(x)_k, q = w ((1 - s) onehot(target) + s / K); 0 where
    ignored. Reduced to their sum, or to their mean, over the sum of the w of the targets that count."""

    name = "cross_entropy"
    may_warn = True  # the mean of nothing is NaN

    @staticmethod
    def forward(
        ctx: Node, x: Array, *, target: Array, weight: Array | None, ignore: int, smoothing: float, reduction: str
    ) -> Array:
        kept = backend.sum_dtype(x.dtype)
        losses, lse = backend.empty_like(x, x.shape[:1], kept), backend.empty_like(x, x.shape[:1], kept)
        ctx.save(x)
        ctx.rest = target, weight, lse, ignore, smoothing
        ctx.count, ctx.sums = None if reduction == "none" else 1, None
        weights = x.dtype.type(0)
        if x.size:
            run = backend.kernel(x, "cross_entropy_forward")
            given = contiguous(x), target, weight, losses, lse, ignore, smoothing
            if ctx.count is not None and not isinstance(x, np.ndarray):  # the GPU reduces by itself
                sums = backend.empty_like(x, (3,), kept)
                run(*given, sums=sums)
                if reduction == "mean":
                    ctx.count, ctx.sums = sums[1], sums
                return sums[0 if ctx.sums is None else 2].astype(x.dtype, copy=False)
            weights = run(*given)
        if reduction == "mean":
            ctx.count = x.dtype.type(weights)
        y = losses if reduction == "none" else total(losses, None) / ctx.count
        return y if kept is x.dtype else y.astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        (x,) = ctx.saved
        target, weight, lse, ignore, smoothing = ctx.rest
        dx = backend.empty_like(x)
        if x.size:
            run = backend.kernel(x, "cross_entropy_backward")
            if isinstance(x, np.ndarray):
                dlosses = dy if ctx.count is None else backend.spread(dy / ctx.count, lse.shape)
                run(contiguous(x), target, weight, lse, contiguous(dlosses), dx, ignore, smoothing)
            else:
                run(contiguous(x), target, weight, lse, contiguous(dy), dx, ignore, smoothing, sums=ctx.sums)
        return dx

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        """dx = dlosses (softmax(x) sum_k q_k - q)"""
        (x,) = ctx.saved
        target, weight, _, ignore, smoothing = ctx.rest
        classes = x.shape[1]
        q = np.full_like(x.data, smoothing / classes)
        q[np.arange(len(target)), np.where(target == ignore, 0, target)] += 1 - smoothing
        q *= 1 if weight is None else weight
        q[target == ignore] = 0
        dlosses = dy.unsqueeze(1) if ctx.count is None else cast(dy / as_tensor(ctx.count), x.dtype)
        return dlosses * (softmax(x, 1) * wrap(q.sum(axis=1, keepdims=True)) - wrap(q))


def _weights_of(target: Array, weight: Array | None, ignore: int) -> Any:
    """The sum of the weights of the targets that count."""
    kept = target != ignore
    return kept.sum() if weight is None else weight[target[kept]].sum()


def check_reduction(call: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{call}: reduction is {reduction!r}, expected one of {', '.join(REDUCTIONS)}")


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of the losses, or all of them."""
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


@remembered
def _check(call: str, x: Sizes, weight: Sizes | None, reduction: str) -> int:
    """Checks x [N, C, ...] or [C] and the class weights [C]; the axis of the classes."""
    check_reduction(call, reduction)
    if not x:
        raise ValueError(f"{call}: x has shape {x}, expected [N, C, ...] or [C]")
    axis = min(1, len(x) - 1)
    if x[axis] < 1:
        raise ValueError(f"{call}: x has shape {x}, expected at least one class")
    if weight is not None and weight != (x[axis],):
        raise ValueError(f"{call}: weight has shape {weight}, expected ({x[axis]},): one for each class")
    return axis


def _rows(call: str, x: Tensor, target: Tensor) -> tuple[Tensor, Array]:
    """x as [R, C] and the class indices as int64 [R]; every axis of x but the classes' is rows."""
    ids, shape = target.data, x.data.shape
    check_integer(call, "target", ids)
    expected = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if ids.shape != expected:
        raise ValueError(f"{call}: target has shape {ids.shape}, expected {expected}: x has shape {shape}")
    if ids.dtype is not INT64:
        ids = ids.astype(INT64, copy=False)
    if len(shape) == 2:
        return x, contiguous(ids)
    if len(shape) > 2:
        x = x.permute(0, *range(2, len(shape)), 1)
    return x.reshape(ids.size, shape[-1 if len(shape) == 1 else 1]), seen(ids, (ids.size,))


def check_range(call: str, ids: Array, classes: int, ignore: int | None = None) -> None:
    """ValueError for a class that there is not. To check on CUDA the call would have to wait for the GPU: there its row
    gives NaN."""
    if isinstance(ids, np.ndarray) and (wrong := (ids != ignore) & ((ids < 0) | (ids >= classes))).any():
        other = "" if ignore is None else f" or ignore_index {ignore}"
        raise ValueError(f"{call}: target holds {ids[wrong][0]}, expected 0..{classes - 1}{other}")


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
    x, weight = tensors("cross_entropy", "x weight", 1, x, weight)
    target = as_tensor(target)
    axis = _check("cross_entropy", x.data.shape, shape_of(weight), reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, expected 0 <= label_smoothing <= 1")
    if target.is_floating_point():
        if ignore_index >= 0:
            raise ValueError(f"cross_entropy: ignore_index is {ignore_index}, expected none: target is probabilities")
        return _probabilities(x, target, weight, reduction, label_smoothing, axis)
    rows, ids = _rows("cross_entropy", x, target)
    try:
        y = CrossEntropy.apply(
            rows, target=ids, weight=None if weight is None else contiguous(weight.data), ignore=int(ignore_index),
            smoothing=float(label_smoothing), reduction=reduction,
        )  # fmt: skip
    except ValueError:
        check_range("cross_entropy", ids, rows.shape[1], ignore_index)
        raise
    return y.reshape(target.shape) if y.data.shape != target.data.shape and reduction == "none" else y


def _probabilities(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float, axis: int
) -> Tensor:
    if target.shape != x.shape:
        raise ValueError(
            f"cross_entropy: target has shape {target.shape}, expected {x.shape} of class probabilities, as x"
        )
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
    x, weight = tensors("nll_loss", "x weight", 1, x, weight)
    target = as_tensor(target)
    _check("nll_loss", x.data.shape, shape_of(weight), reduction)
    rows, ids = _rows("nll_loss", x, target)
    check_range("nll_loss", ids, rows.shape[1], ignore_index)
    kept = ids != ignore_index
    safe = np.where(kept, ids, 0)
    losses = -rows[np.arange(ids.size), safe]
    if weight is not None:
        losses = losses * weight[safe]
    losses = where(kept, losses, 0.0)
    if reduction == "mean":
        count = _weights_of(ids, None if weight is None else weight.data, ignore_index)
        return losses.sum() / as_tensor(count.astype(losses.dtype))
    return losses.sum() if reduction == "sum" else losses.reshape(target.shape)
