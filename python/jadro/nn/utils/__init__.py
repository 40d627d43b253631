"""Gradient clipping, parameters as one vector, and evaluation mode for a while; `rnn`: sequences of unlike lengths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ... import backend
from ...ops.shape import cat
from ...tensor import Tensor, as_tensor
from ..module import Module
from . import rnn as rnn


def _with_grad(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The gradients of the parameters that have one."""
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in given if p.grad is not None]


def _alike(grads: list[Tensor]) -> list[list[Tensor]]:
    """The gradients of each dtype; each list can be one native call."""
    groups: dict[Any, list[Tensor]] = {}
    for grad in grads:
        groups.setdefault(grad.data.dtype, []).append(grad)
    return list(groups.values())


_NORMS = {1: "sizes", 2: "squares", math.inf: "largest"}


def _power_sum(grads: list[Tensor], norm_type: float) -> float:
    """The sum of |x|^norm_type over all elements in float64; for infinity the largest |x|."""
    of = _NORMS.get(norm_type)
    if of is None:
        return sum(float((np.abs(grad.data) ** norm_type).sum(dtype=np.float64)) for grad in grads)
    return backend.kernel(grads[0].data, "grad_norm")([backend.contiguous(grad.data) for grad in grads], of)


def _clip(grads: list[Tensor], scale: float, bound: float) -> None:
    """x = min(max(scale x, -bound), bound) in place."""
    values = [backend.contiguous(grad.data) for grad in grads]
    backend.kernel(values[0], "grad_clip")(values, scale, bound)
    for grad, value in zip(grads, values, strict=True):
        if value is not grad.data:
            grad.data[...] = value
        grad._version[0] += 1


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:  # fmt: skip
    """Scales all gradients by max_norm / (norm + 1e-6) where their common norm exceeds max_norm; returns the norm
    before.

    norm_type: 2, another positive number, or infinity ("inf" too) for the largest element. error_if_nonfinite: raise
    ValueError for a norm that is NaN or infinite, before any gradient has changed; otherwise the gradients take what
    the arithmetic gives.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm is {max_norm}, expected at least 0")
    norm_type = float(norm_type)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type is {norm_type}, expected a positive number")
    grads = _with_grad(parameters)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.array([_power_sum(alike, norm_type) for alike in _alike(grads)])
        total = float(sums.max(initial=0.0) if norm_type == math.inf else sums.sum() ** (1.0 / norm_type))
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"clip_grad_norm_: the norm of the gradients is {total}; some gradient is NaN or infinite")
    scale = max_norm / (total + 1e-6)
    if not scale >= 1.0:
        for alike in _alike(grads):
            _clip(alike, scale, math.inf)
    return as_tensor(np.asarray(total, grads[0].dtype if grads else np.float32))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bounds every element of the gradients to -clip_value..clip_value. ValueError where clip_value is negative."""
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value is {clip_value}, expected at least 0")
    for alike in _alike(_with_grad(parameters)):
        _clip(alike, 1.0, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters in a row, [sum of their sizes]; gradients reach them."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vector: Any, parameters: Iterable[Tensor]) -> None:
    """Copies the pieces of `vector` into the parameters, in order. ValueError where the sizes differ, nothing copied
    then."""
    given, vector = list(parameters), as_tensor(vector).detach()
    sizes = [p.numel() for p in given]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"vector_to_parameters: vector has shape {vector.shape}, expected ({sum(sizes)},)")
    for parameter, piece in zip(given, vector.split(sizes) if given else (), strict=True):
        parameter.detach().copy_(piece.reshape(parameter.shape))


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Puts a Module into evaluation mode inside a `with` block, and each of its modules back into its own mode
    afterwards."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, Module) else []
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
