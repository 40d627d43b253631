"""Average pooling of one to three axes, written with one matrix an axis: W[o, i] is 1 where window o sees place i.

    y = (W_d (x) W_h (x) W_w) x / count,  dx = (W_d (x) W_h (x) W_w)^T (dy / count)

count is the number of places of a window, in the input or, where padding counts, up to the padding's end, or `divisor`.
"""

from __future__ import annotations

import numpy as np

from jadro.testing.reference.sums import Array, total

Window = tuple[int, int, int, int]  # kernel, stride, padding before and after


def windows(size: int, out: int, window: Window | None) -> list[tuple[int, int]]:
    """The first place of each window and the one behind its last, padding included; bins for no window."""
    if window is None:
        return [(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]
    kernel, stride, before, after = window
    return [(o * stride - before, min(o * stride - before + kernel, size + after)) for o in range(out)]


def _axis(x: Array, axis: int, spans: list[tuple[int, int]]) -> Array:
    """The sums of x over the spans of one axis."""
    size = x.shape[axis]
    parts = [np.take(x, range(max(a, 0), min(b, size)), axis) for a, b in spans]
    return np.stack([total(part, (axis,)) for part in parts], axis)


def counts(sizes: tuple[int, ...], spans: list[list[tuple[int, int]]], padding_counts: bool, divisor: int) -> Array:
    if divisor:
        return np.full([len(s) for s in spans], divisor)
    each = [
        [b - a if padding_counts else min(b, m) - max(a, 0) for a, b in axis]
        for m, axis in zip(sizes, spans, strict=True)
    ]
    result = np.ones((), int)
    for axis in each:
        result = np.multiply.outer(result, np.array(axis))
    return result


def avg_pool_forward(
    x: Array, out: tuple[int, ...], axes: list[Window] | None, padding_counts: bool = False, divisor: int = 0
) -> Array:
    """x[N,C,...] -> y[N,C,*out]; axes None: adaptive."""
    space = x.shape[2:]
    spans = [windows(m, o, None if axes is None else axes[i]) for i, (m, o) in enumerate(zip(space, out, strict=True))]
    y = x
    for i, axis in enumerate(spans):
        y = _axis(y, i + 2, axis)
    return y / counts(space, spans, padding_counts, divisor).astype(x.dtype)


def avg_pool_backward(
    dy: Array, space: tuple[int, ...], axes: list[Window] | None, padding_counts: bool = False, divisor: int = 0
) -> Array:
    """dy[N,C,...] -> dx[N,C,*space]."""
    out = dy.shape[2:]
    spans = [windows(m, o, None if axes is None else axes[i]) for i, (m, o) in enumerate(zip(space, out, strict=True))]
    dx = dy / counts(space, spans, padding_counts, divisor).astype(dy.dtype)
    for i, axis in enumerate(spans):
        wider = np.zeros((*dx.shape[: i + 2], space[i], *dx.shape[i + 3 :]), dy.dtype)
        moved, place = np.moveaxis(dx, i + 2, 0), np.moveaxis(wider, i + 2, 0)
        for o, (a, b) in enumerate(axis):
            place[max(a, 0) : max(b, 0)] += moved[o]
        dx = wider
    return dx
