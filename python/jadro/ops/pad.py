"""Padding: constant cells, or the input's own cells reflected, repeated at the edge, or wrapped around."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import flat_ints
from .index import GetItem

MODES = ("constant", "reflect", "replicate", "circular")


class Pad(Elementary):
    """y = x amid cells of `value`; `inside` is where x lies in y's `shape`."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, shape: tuple[int, ...], inside: tuple[slice, ...], value: float) -> Array:
        ctx.inside = inside
        y = backend.empty_like(x, shape)
        y[...] = value
        y[inside] = x
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return GetItem.call(dy, index=ctx.inside)


def _sources(mode: str, size: int, before: int, after: int) -> np.ndarray:
    """Which input cell each output cell of a padded axis shows."""
    i = np.arange(-before, size + after)
    if mode == "replicate":
        return np.clip(i, 0, size - 1)
    if mode == "circular":
        return i % size
    last = size - 1
    return last - np.abs(last - np.abs(i))


def _check(mode: str, axis: int, size: int, pair: tuple[int, int]) -> None:
    if pair == (0, 0):
        return
    most = {"reflect": size - 1, "circular": size}.get(mode)
    if mode != "constant" and size == 0 and max(pair) > 0:
        raise ValueError(f"pad: axis {axis} has size 0, expected at least 1 for mode {mode!r}")
    if most is not None and max(pair) > most:
        raise ValueError(f"pad: pad is {pair} on axis {axis} of size {size}, expected at most {most} for mode {mode!r}")
    if size + min(pair[0], 0) + min(pair[1], 0) < 0 or size + sum(pair) < 0:
        raise ValueError(f"pad: pad is {pair} on axis {axis} of size {size}, which leaves less than nothing")


def pad(x: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """x with cells added around it.

    pad: (before, after) of the last axis, then of the one before it, and so on, as in PyTorch; negative numbers cut
    cells off. mode: "constant" (`value`, default 0), "reflect" (without the edge cell), "replicate" (the edge cell),
    "circular". Raises ValueError for an odd number of sizes, too many of them, or more cells than the mode has.
    """
    x = as_tensor(x)
    amounts = flat_ints("pad", "pad", (tuple(pad),) if isinstance(pad, (tuple, list)) else (pad,))
    if mode == "zeros":
        mode = "constant"
    if mode not in MODES:
        raise ValueError(f"pad: mode is {mode!r}, expected one of {', '.join(MODES)}")
    if len(amounts) % 2 or len(amounts) > 2 * x.ndim:
        raise ValueError(f"pad: pad is {amounts}, expected (before, after) for at most {x.ndim} axes")
    pairs = [(0, 0)] * x.ndim
    for i in range(len(amounts) // 2):
        pairs[x.ndim - 1 - i] = amounts[2 * i], amounts[2 * i + 1]
    for axis, pair in enumerate(pairs):
        _check(mode, axis, x.shape[axis], pair)
    if mode != "replicate" and any(min(pair) < 0 for pair in pairs):
        cut = tuple(slice(-min(a, 0), n + min(b, 0)) for n, (a, b) in zip(x.shape, pairs, strict=True))
        x = x[cut]
        pairs = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if mode == "constant":
        shape = tuple(n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True))
        inside = tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, pairs, strict=True))
        return Pad.apply(x, shape=shape, inside=inside, value=0 if value is None else value)
    for axis, (before, after) in enumerate(pairs):
        if before or after:  # replicate also where a negative size has cut everything: the edge cell stays
            x = x[(slice(None),) * axis + (_sources(mode, x.shape[axis], before, after),)]
    return x
