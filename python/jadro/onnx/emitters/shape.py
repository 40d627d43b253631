"""Moving elements: shapes, indexing, joining, padding, embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import embedding, index, pad, shape
from .registry import Builder, emits

_END = np.iinfo(np.int64).max


@emits(shape.Reshape)
def reshape(g: Builder, x: Any, *, shape: Any) -> str:
    return g.reshaped(g.name(x), x.shape, np.empty(x.shape, np.bool_).reshape(shape).shape)


@emits(shape.Permute)
def permute(g: Builder, x: Any, *, axes: Any) -> str:
    return g.node("Transpose", g.name(x), perm=list(axes))


@emits(shape.Expand)
def expand(g: Builder, x: Any, *, shape: Any) -> str:
    lead = len(shape) - x.ndim
    sizes = [1 if i >= lead and n == x.shape[i - lead] else n for i, n in enumerate(shape)]  # 1 leaves x's own
    return g.node("Expand", g.name(x), g.ints(*sizes))


@emits(shape.Cat)
def cat(g: Builder, *xs: Any, axis: int, stacked: bool = False) -> str:
    names = [g.node("Unsqueeze", g.name(x), g.ints(axis)) if stacked else g.name(x) for x in xs]
    return g.node("Concat", *names, axis=axis)


@emits(pad.Pad)
def pad_(g: Builder, x: Any, *, shape: Any, inside: Any, value: float) -> str:
    before = [s.start for s in inside]
    after = [n - s.stop for n, s in zip(shape, inside, strict=True)]
    return g.node("Pad", g.name(x), g.ints(*before, *after), g.constant(value, x.dtype))


@emits(embedding.Embedding)
def embedding_(g: Builder, weight: Any, *, ids: Any, padding: int, scale: Any) -> str:
    return g.node("Gather", g.name(weight), g.name(ids), axis=0)


@emits(index.GetItem)
def getitem(g: Builder, x: Any, *, index: Any) -> str:
    """Slices, integers and new axes; or arrays for one axis, or for the first ones together."""
    parts = list(index)
    if any(i is Ellipsis for i in parts):
        at = next(k for k, i in enumerate(parts) if i is Ellipsis)
        named = sum(i is not None and i is not Ellipsis for i in parts)
        parts[at : at + 1] = [slice(None)] * (x.ndim - named)
    if all(isinstance(i, (int, np.integer, slice)) or i is None for i in parts):
        return _sliced(g, g.name(x), parts)
    arrays = [k for k, i in enumerate(parts) if not isinstance(i, slice)]
    whole = all(parts[k] == slice(None) for k in range(len(parts)) if k not in arrays)
    if whole and all(np.asarray(parts[k]).dtype.kind in "iu" for k in arrays):
        if len(arrays) == 1:
            return g.node("Gather", g.name(x), g.name(parts[arrays[0]]), axis=arrays[0])
        if arrays == list(range(len(arrays))):
            places = np.stack(np.broadcast_arrays(*(parts[k] for k in arrays)), -1)
            return g.node("GatherND", g.name(x), g.constant(places, np.int64))
    raise ValueError("onnx.export: an index of masks or of arrays among slices, expected slices or arrays of integers")


def _sliced(g: Builder, name: str, parts: list[Any]) -> str:
    cuts: list[tuple[int, int, int, int]] = []  # start, end, axis, step
    dropped, added, axis, place = [], [], 0, 0
    for part in parts:
        if part is None:
            added.append(place)
        elif isinstance(part, slice):
            step = 1 if part.step is None else part.step
            if part != slice(None) and (part.start, part.stop, step) != (0, None, 1):
                first = (0 if step > 0 else _END) if part.start is None else part.start
                last = (_END if step > 0 else -_END) if part.stop is None else part.stop
                cuts.append((first, last, axis, step))
        else:
            cuts.append((int(part), _END if part == -1 else int(part) + 1, axis, 1))
            dropped.append(axis)
        place += part is None or isinstance(part, slice)
        axis += part is not None
    if cuts:
        name = g.node("Slice", name, *(g.ints(*column) for column in zip(*cuts, strict=True)))
    if dropped:
        name = g.node("Squeeze", name, g.ints(*dropped))
    return g.node("Unsqueeze", name, g.ints(*added)) if added else name
