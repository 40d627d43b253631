"""Normalisation, and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...nn import functional as F
from ...ops import reduce as r
from ...ops.elementwise import rsqrt, sqrt
from ...ops.shape import flatten
from ...tensor import Tensor, wrap
from .registry import beside, is_float, number, operator


@operator("BatchNormalization")
def batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, var: Any, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, is_test: int = 1, *, outputs: int = 1, training: bool = False,
) -> Any:  # fmt: skip
    """In training mode the module's moments follow the batches', as in PyTorch; `training_mode` gives the new ones as
    outputs, with the biased variance, and writes nothing. is_test: of opset 6."""
    if (
        not spatial
        or not is_test
        or not is_float(x, scale, bias, mean, var)
        or len({t.dtype for t in (x, scale, mean)}) > 1
    ):
        return NotImplemented
    if not training_mode:
        return F.batch_norm(x, mean, var, scale, bias, training, 1 - momentum, epsilon)
    y = F.batch_norm(x, None, None, scale, bias, True, 1 - momentum, epsilon)
    if outputs == 1:
        return y
    axes = (0, *range(2, x.ndim))
    moments = r.mean(x, axes), r.var(x, axes, correction=0)
    return y, *(old * momentum + new * (1 - momentum) for old, new in zip((mean, var), moments, strict=True))


@operator("InstanceNormalization")
def instance_normalization(x: Any, scale: Any, bias: Any, epsilon: float = 1e-5) -> Any:
    if math.prod(x.shape[2:]) < 2:
        return NotImplemented
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator("LayerNormalization")
def layer_normalization(
    x: Any, scale: Any, bias: Any = None, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1, *,
    outputs: int = 1,
) -> Any:  # fmt: skip
    """Over the axes from `axis` on; also the means and 1 / deviation where they are asked for."""
    if not is_float(x, scale):
        return NotImplemented
    axis %= x.ndim
    over = x.shape[axis:]
    if scale.shape == over and (bias is None or bias.shape == over):
        y = F.layer_norm(x, over, scale, bias, epsilon)
    else:
        y = F.layer_norm(x, over, eps=epsilon) * scale
        y = y if bias is None else y + bias
    if outputs == 1:
        return y
    axes = tuple(range(axis, x.ndim))
    return y, r.mean(x, axes, True), rsqrt(r.var(x, axes, correction=0, keepdim=True) + epsilon)


@operator("RMSNormalization")
def rms_normalization(x: Any, scale: Any, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Any:
    if not is_float(x, scale):
        return NotImplemented
    axes = tuple(range(axis % x.ndim, x.ndim))
    return x / sqrt(r.mean(x * x, axes, True) + epsilon) * scale


@operator("GroupNormalization")
def group_normalization(
    x: Any, scale: Any, bias: Any, epsilon: float = 1e-5, num_groups: int = 1, stash_type: int = 1, *, opset: int = 21
) -> Any:
    """scale and bias are one a channel; before opset 21 one a group."""
    if not is_float(x, scale):
        return NotImplemented
    if opset < 21 and scale.shape[0] != x.shape[1]:
        each = x.shape[1] // num_groups
        scale, bias = (flatten(t.unsqueeze(1).expand(num_groups, each)) for t in (scale, bias))
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@operator("LRN")
def lrn(x: Any, size: int = 1, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """x / (bias + alpha / size sum of x^2 over `size` channels around)^beta (Krizhevsky et al. 2012)"""
    before = (size - 1) // 2
    around = [0, 0] * (x.ndim - 2) + [before, size - 1 - before]
    squares = F.pad(x * x, around)
    total: Any = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return x / (total * (alpha / size) + bias) ** beta


@operator("LpNormalization")
def lp_normalization(x: Any, axis: int = -1, p: int = 2) -> Any:
    if not is_float(x):
        return NotImplemented
    norm = r.norm(x, p, axis, True)
    zero = wrap(norm.data == 0)
    return x / norm.masked_fill(zero, 1.0)


@operator("Dropout")
def dropout(
    x: Any, ratio: Any = 0.5, training_mode: Any = None, seed: int = 0, is_test: int = 0, *, opset: int = 13,
    outputs: int = 1, training: bool = False,
) -> Any:  # fmt: skip
    """Active in the module's training mode, or where the node says so; the masks are of jadro's generator."""
    active = training or (training_mode is not None and bool(number(training_mode)))
    p = 0.5 if ratio is None else number(ratio)
    if outputs == 1:
        return F.dropout(x, p, active)
    kept: Tensor = F.dropout(wrap(beside(x, np.ones(x.shape, x.dtype))), p, active)
    mask = kept.data != 0
    return x * kept, wrap(mask if opset >= 10 else mask.astype(x.dtype))
