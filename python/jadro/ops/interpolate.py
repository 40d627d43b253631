"""Resizing of sequences, images and volumes: each axis is a sum over a few taps, or cells a whole number of times."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor
from .avg_pool import AvgPoolData, adaptive_avg_pool
from .common import tensors
from .windows import pool_plan

MODES = {  # how many axes of space each takes
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3),
    "linear": (1,), "bilinear": (2,), "trilinear": (3,), "bicubic": (2,),
}  # fmt: skip


class Taps(NamedTuple):
    """y[o] = sum over k of weight[k, o] x[places[k, o]], and 0 where `untouched`; weight None is 1."""

    places: np.ndarray
    weight: np.ndarray | None
    untouched: np.ndarray | None = None


def _adjoint(taps: Taps, size: int) -> Taps:
    """The gradient of x, of `size` cells, as taps of dy. Cells with fewer taps than others repeat one with weight 0:
    NaN reaches no cell that it did not come from."""
    depth, out = taps.places.shape
    order = np.argsort(taps.places, axis=None, kind="stable")
    cells = taps.places.reshape(-1)[order]
    counts = np.bincount(cells, minlength=size)
    starts = np.cumsum(counts) - counts
    k = np.arange(counts.max(initial=0))[:, None]
    place = order[np.minimum(starts + np.minimum(k, counts - 1), depth * out - 1)]
    weight = np.where(k < counts, 1.0 if taps.weight is None else taps.weight.reshape(-1)[place], 0)
    untouched = np.flatnonzero(counts == 0)
    return Taps(place % out, None if (weight == 1).all() else weight, untouched if untouched.size else None)


def _apply(x: Array, axis: int, taps: Taps) -> Array:
    """The taps along an axis."""
    shape = (*x.shape[:axis], taps.places.shape[1], *x.shape[axis + 1 :])
    beside = (1,) * (x.ndim - axis - 1)
    y: Any = None
    part: Any = None
    for k, places in enumerate(taps.places):
        if isinstance(x, np.ndarray):
            part = backend.empty_like(x, shape) if part is None or part is y else part
            np.take(x, places, axis, out=part, mode="clip")
        else:
            part = x.take(backend.to_device(places, backend.device_of(x)), axis=axis)
        if taps.weight is not None:
            w = backend.to_device(taps.weight[k].astype(x.dtype), backend.device_of(x))
            part *= w.reshape(-1, *beside)
        if y is None:
            y = part
        else:
            y += part
    if taps.untouched is not None:
        y[(slice(None),) * axis + (backend.to_device(taps.untouched, backend.device_of(x)),)] = 0
    return y


class Plan(NamedTuple):
    """One axis, forward and backward."""

    axis: int
    taps: Taps
    back: Taps


class Interpolate(Elementary):
    """y = x with the taps of each of `plans` along its axis; `back`: the transpose of that map. `resize` is what the
    call asked for: mode, align_corners, antialias, sizes, scales."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, plans: tuple[Plan, ...], resize: Any = None, back: bool = False) -> Array:
        ctx.plans, ctx.back = plans, back
        for plan in reversed(plans) if back else plans:
            x = _apply(backend.contiguous(x), plan.axis, plan.back if back else plan.taps)
        return x

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Interpolate.call(dy, plans=ctx.plans, back=not ctx.back)


class Repeat(AvgPoolData):
    """y = x with each cell repeated along the axes of space: the gradient of windows' sums."""

    name = "interpolate"


def _nearest(out: int, size: int, scale: float | None, exact: bool, image: bool, dtype: Any) -> np.ndarray:
    """Which cell each output shows, [out], to PyTorch's rounding, which goes its own way for images."""
    if image and not exact and out in (size, 2 * size):
        return np.arange(out) * size // out
    dtype = np.float32 if exact else dtype
    step = dtype(1 / scale) if scale else dtype(size) / dtype(out)
    at = (np.arange(out, dtype=dtype) + dtype(0.5 if exact else 0)) * step
    return np.minimum(at.astype(np.int64), size - 1)


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    """The weight at distance d (Keys 1981)."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _kernel(out: int, size: int, scale: float | None, mode: str, align: bool, dtype: Any) -> Taps:
    """Linear and cubic weights; taps beyond the edge are the edge's."""
    i = np.arange(out, dtype=dtype)
    if align:
        at = i * (dtype(size - 1) / dtype(out - 1) if out > 1 else dtype(0))
    else:
        step = dtype(1 / scale) if scale else dtype(size) / dtype(out)
        at = step * (i + dtype(0.5)) - dtype(0.5)
    if mode != "bicubic":
        at = np.maximum(at, 0)
    first = np.minimum(np.floor(at), size - 1)
    rest = np.clip(at - first, 0, 1)
    if mode == "bicubic":
        weight = np.stack([_cubic(np.abs(rest - k), -0.75) for k in range(-1, 3)])
        index = first + np.arange(-1, 3)[:, None]
    else:
        weight, index = np.stack([1 - rest, rest]), np.stack([first, first + 1])
    return Taps(np.clip(index, 0, size - 1).astype(np.int64), weight)


def _smooth(out: int, size: int, scale: float | None, mode: str, align: bool) -> Taps:
    """Weights of a kernel as wide as the cells that an output stands for (antialias), which sum to 1."""
    step = 1 / scale if scale else size / out
    if align:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
    wide, reach = max(step, 1.0), 2 if mode == "bicubic" else 1
    centre = step * (np.arange(out) + 0.5)
    first = np.maximum((centre - reach * wide + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach * wide + 0.5).astype(np.int64), size)
    index = first + np.arange((last - first).max(initial=1))[:, None]
    d = np.abs(index - centre + 0.5) / wide
    weight = np.where(index < last, _cubic(d, -0.5) if reach == 2 else np.maximum(1 - d, 0), 0)
    return Taps(np.minimum(index, last - 1), weight / weight.sum(0))


@functools.lru_cache(maxsize=256)
def _plan(
    n: int,
    axis: int,
    out: int,
    size: int,
    scale: float | None,
    mode: str,
    align: bool,
    antialias: bool,
    dtype: str,
) -> Plan | None:
    """None where the axis stays as it is."""
    kind = np.float64 if dtype == "float64" else np.float32  # as PyTorch computes places
    if mode.startswith("nearest"):
        taps = Taps(_nearest(out, size, scale, mode != "nearest", n == 2, kind)[None], None)
    elif out == size and (antialias or mode != "bicubic"):
        return None
    elif antialias:
        taps = _smooth(out, size, scale, mode, align)
    else:
        taps = _kernel(out, size, scale, mode, align, kind)
    if taps.weight is not None:
        used = (taps.weight != 0).any(1)
        taps = Taps(taps.places[used], taps.weight[used])
    plain = taps.weight is None or (taps.weight == 1).all()
    if plain and len(taps.places) == 1 and np.array_equal(taps.places[0], np.arange(size)):
        return None
    return Plan(axis, taps, _adjoint(taps, size))


def _factors(plans: list[Plan | None], space: tuple[int, ...]) -> tuple[int, ...] | None:
    """How often each cell stands along each axis, None where that is not all there is."""
    factors = []
    for plan, size in zip(plans, space, strict=True):
        places = np.arange(size) if plan is None else plan.taps.places[0]
        factor = len(places) // size
        if len(places) != factor * size or not np.array_equal(places, np.arange(len(places)) // factor):
            return None
        factors.append(factor)
    return tuple(factors)


def _per_axis(name: str, value: Any, n: int, kind: Any) -> tuple[Any, ...]:
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(given) != n:
        raise ValueError(f"interpolate: {name} is {value!r}, expected one number or {n}, one an axis of space")
    try:
        found = tuple(kind(v) for v in given)
    except (TypeError, ValueError):
        raise TypeError(f"interpolate: {name} is {value!r}, expected numbers") from None
    if not all(v > 0 and v < math.inf for v in found):
        raise ValueError(f"interpolate: {name} is {value!r}, expected positive numbers")
    return found


def _sizes(
    space: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Output sizes, and the scales where they are the coordinates' too."""
    n = len(space)
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: size is {size} and scale_factor is {scale_factor}, expected one of them")
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor is True, expected a scale_factor with it")
        return _per_axis("size", size, n, operator.index), (None,) * n
    scales = _per_axis("scale_factor", scale_factor, n, float)
    sizes = tuple(math.floor(m * s) for m, s in zip(space, scales, strict=True))
    if min(sizes) < 1:
        raise ValueError(f"interpolate: scale_factor is {scale_factor!r}, which leaves nothing of {space}")
    return sizes, (None,) * n if recompute else scales


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """x [N, C, L], [N, C, H, W] or [N, C, D, H, W] with other sizes of space.

    y[o] = sum over k of w_k x[i_k] along each axis, around the place s (o + 1/2) - 1/2, s = 1 / scale_factor or, for a
    `size`, input / output.

    size, scale_factor: a number or one an axis; exactly one of them is given, and scale_factor gives sizes floor(M
    scale). mode: "nearest", the cell at floor(s o); "nearest-exact", at floor(s (o + 1/2)); "linear" (three axes),
    "bilinear" (four), "trilinear" (five); "bicubic" (four; Keys 1981, a = -3/4); "area", the means of
    adaptive_avg_pool. align_corners (linear and cubic modes): the first and last cells stand on each other, s = (input
    - 1) / (output - 1) and the place s o. recompute_scale_factor: s from the sizes, although scale_factor was given.
    antialias (bilinear and bicubic): the kernel, with a = -1/2, is as wide as the cells that an output stands for.

    ValueError for other modes, ranks and sizes, and for align_corners or antialias with a mode that has none; TypeError
    where x is not floating.
    """
    (x,) = tensors("interpolate", "x", 1, x)
    n = x.ndim - 2
    if mode not in MODES:
        raise ValueError(f"interpolate: mode is {mode!r}, expected one of {', '.join(MODES)}")
    if n not in MODES[mode]:
        ranks = " or ".join(str(k + 2) for k in MODES[mode])
        raise ValueError(f"interpolate: x has shape {x.shape}, expected {ranks} axes for mode {mode!r}")
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError(f"interpolate: align_corners is {align_corners}, expected None for mode {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is True, expected mode 'bilinear' or 'bicubic', not {mode!r}")
    space = x.shape[2:]
    if min(x.shape[1:]) < 1:
        raise ValueError(f"interpolate: x has shape {x.shape}, expected no empty axis but the batch")
    sizes, scales = _sizes(space, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return adaptive_avg_pool("interpolate", n, x, sizes)
    options = mode, bool(align_corners), bool(antialias), x.dtype.name
    ratios = [o / m for o, m in zip(sizes, space, strict=True)]
    plans = [_plan(n, i + 2, sizes[i], space[i], scales[i], *options) for i in range(n)]
    if mode.startswith("nearest") and (factors := _factors(plans, space)) is not None:
        window = factors, factors, (0, 0) * n, False, 1
        return Repeat.apply(x, pool=pool_plan("interpolate", n, (*x.shape[:2], *sizes), space, window, 1))
    # What shrinks goes first. Whole rows are copied faster than cells: the last axis grows while there are few.
    order = sorted(range(n), key=lambda i: (ratios[i] >= 1, i if ratios[i] < 1 else -i))
    kept = tuple(plan for i in order if (plan := plans[i]) is not None)
    return Interpolate.apply(x, plans=kept, resize=(*options[:3], sizes, scales)) if kept else x
