"""Resizing of sequences, images and volumes: each axis is a sum over a few taps, or cells a whole number of times."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor
from .avg_pool import AvgPoolData, adaptive_avg_pool
from .common import tensors
from .windows import per_axis, pool_plan

SPACE = {"linear": (1,), "bilinear": (2,), "trilinear": (3,), "bicubic": (2,)}  # axes of space, of other modes any
PLAIN = ("nearest", "nearest-exact", "area")


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
    counts = np.bincount(taps.places.reshape(-1), minlength=size)
    k = np.arange(counts.max())[:, None]
    place = order[np.minimum(np.cumsum(counts) - counts + np.minimum(k, counts - 1), depth * out - 1)]
    weight = np.where(k < counts, 1.0 if taps.weight is None else taps.weight.reshape(-1)[place], 0)
    untouched = np.flatnonzero(counts == 0)
    return Taps(place % out, None if (weight == 1).all() else weight, untouched if untouched.size else None)


def _apply(x: Array, axis: int, taps: Taps) -> Array:
    """The taps along an axis."""
    device = backend.device_of(x)
    shape = (*x.shape[:axis], taps.places.shape[1], *x.shape[axis + 1 :])
    y: Any = None
    part: Any = None
    for k, places in enumerate(taps.places):
        if device == "cpu":
            part = backend.empty_like(x, shape) if part is y else part
            np.take(x, places, axis, out=part, mode="clip")
        else:
            part = x.take(backend.to_device(places, device), axis=axis)
        if taps.weight is not None:
            weight = taps.weight[k].astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
            part *= backend.to_device(weight, device)
        y = part if y is None else np.add(y, part, y)
    if taps.untouched is not None:
        y[(slice(None),) * axis + (backend.to_device(taps.untouched, device),)] = 0
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


def weighted(at: np.ndarray, size: int, a: float | None, wide: float, inside: bool) -> tuple[np.ndarray, np.ndarray]:
    """The taps around the places `at`, [out], and their weights, linear or, for an `a`, Keys' cubics (1981).

    wide: how far they are stretched, 1 or more. Taps beyond the edge are the edge's, or, `inside`, left out.
    """
    reach = math.ceil((1 if a is None else 2) * wide)
    places = np.floor(at) + np.arange(1 - reach, reach + 1)[:, None]
    d = np.abs(places - at.astype(np.float64)) / wide
    if a is None:
        weight = np.maximum(1 - d, 0)
    else:
        near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        weight = np.where(d <= 1, near, np.where(d < 2, far, 0))
    if inside:
        weight = np.where((places < 0) | (places >= size), 0, weight)
    if inside or wide > 1:
        weight /= weight.sum(0)
    return np.clip(places, 0, size - 1).astype(np.int64), weight


def _taps(out: int, size: int, scale: float | None, mode: str, align: bool, smooth: bool, dtype: Any) -> Taps:
    """The taps of one axis; places are computed in `dtype`, as in PyTorch."""
    exact = mode == "nearest-exact"
    kind: Any = np.float64 if dtype == "float64" and not exact else np.float32
    i, half = np.arange(out, dtype=kind), kind(0.5)
    step = kind(1 / scale) if scale else kind(size) / kind(out)
    if align:
        step = kind(size - 1) / kind(out - 1) if out > 1 else kind(0)
    if mode in PLAIN:
        at = (i + half if exact else i) * step
        if out in (size, 2 * size) and not exact:  # whatever the scale
            at = np.arange(out) * size // out
        return Taps(np.minimum(at.astype(np.int64), size - 1)[None], None)
    at = i * step if align and not smooth else step * (i + half) - half
    cubic = mode == "bicubic"
    at = at if cubic or smooth else np.maximum(at, 0)
    wide = max(float(step), 1.0) if smooth else 1.0
    return Taps(*weighted(at, size, (-0.5 if smooth else -0.75) if cubic else None, wide, smooth))


@functools.lru_cache(maxsize=256)
def _plan(
    axis: int, out: int, size: int, scale: float | None, mode: str, align: bool, smooth: bool, dtype: str
) -> Plan | None:
    """None where the axis stays as it is."""
    if out == size and (smooth or mode not in (*PLAIN, "bicubic")):
        return None
    taps = _taps(out, size, scale, mode, align, smooth, dtype)
    if taps.weight is not None:
        used = taps.weight.any(1)
        taps = Taps(taps.places[used], taps.weight[used])
    if (taps.weight is None or (taps.weight == 1).all()) and np.array_equal(taps.places, np.arange(size)[None]):
        return None
    return Plan(axis, taps, _adjoint(taps, size))


def _factors(plans: list[Plan | None], space: tuple[int, ...]) -> tuple[int, ...] | None:
    """How often each cell stands along each axis, None where that is not all there is."""
    factors = []
    for plan, size in zip(plans, space, strict=True):
        places = np.arange(size) if plan is None else plan.taps.places[0]
        factors.append(len(places) // size)
        if len(places) % size or not np.array_equal(places, np.arange(len(places)) // factors[-1]):
            return None
    return tuple(factors)


def _sizes(space: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool | None) -> tuple[Any, Any]:
    """Output sizes, and the scales where they are the coordinates' too."""
    n = len(space)
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: size is {size} and scale_factor is {scale_factor}, expected one of them")
    if size is not None and recompute:
        raise ValueError("interpolate: recompute_scale_factor is True, expected a scale_factor with it")
    if size is not None:
        return per_axis("interpolate", "size", size, n), (None,) * n
    scales = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * n
    if len(scales) != n or not all(1 <= m * s < math.inf for m, s in zip(space, scales, strict=True)):
        raise ValueError(f"interpolate: scale_factor is {scale_factor}, expected {n} that leave something of {space}")
    return tuple(math.floor(m * s) for m, s in zip(space, scales, strict=True)), (None,) * n if recompute else tuple(
        map(float, scales)
    )


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """x [N, C, L], [N, C, H, W] or [N, C, D, H, W] with other sizes of space.

    y[o] = sum over k of w_k x[i_k] along each axis, around the place s (o + 1/2) - 1/2, s = 1 / scale_factor or, for a
    `size`, input / output.

    size, scale_factor: a number or one an axis; one of them is given, scale_factor for sizes floor(M scale). mode:
    "nearest", the cell at floor(s o); "nearest-exact", at floor(s (o + 1/2)); "linear", "bilinear", "trilinear" for
    one, two, three axes of space; "bicubic" for two (Keys 1981, a = -3/4); "area", the means of adaptive_avg_pool.
    align_corners: the first and last cells stand on each other, at s o, s = (input - 1) / (output - 1).
    recompute_scale_factor: s from the sizes all the same. antialias (bilinear, bicubic with a = -1/2): the kernel is as
    wide as the cells that an output stands for.

    ValueError for other modes, ranks and sizes, and for align_corners or antialias with a mode that has none.
    """
    (x,) = tensors("interpolate", "x", 1, x)
    n, space = x.ndim - 2, x.shape[2:]
    if mode not in (*PLAIN, *SPACE):
        raise ValueError(f"interpolate: mode is {mode!r}, expected one of {', '.join((*PLAIN, *SPACE))}")
    if n not in SPACE.get(mode, (1, 2, 3)) or min(x.shape[1:]) < 1:
        ranks = " or ".join(str(k + 2) for k in SPACE.get(mode, (1, 2, 3)))
        raise ValueError(f"interpolate: x has shape {x.shape}, expected {ranks} axes for mode {mode!r}, none empty")
    if align_corners is not None and mode in PLAIN:
        raise ValueError(f"interpolate: align_corners is {align_corners}, expected None for mode {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is True, expected mode 'bilinear' or 'bicubic', not {mode!r}")
    sizes, scales = _sizes(space, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return adaptive_avg_pool("interpolate", n, x, sizes)
    options = mode, bool(align_corners), bool(antialias)
    plans = [_plan(i + 2, sizes[i], space[i], scales[i], *options, x.dtype.name) for i in range(n)]
    if mode in PLAIN and (factors := _factors(plans, space)) is not None:
        window = factors, factors, (0, 0) * n, False, 1
        return Repeat.apply(x, pool=pool_plan("interpolate", n, (*x.shape[:2], *sizes), space, window, 1))
    # What shrinks goes first. Whole rows are copied faster than cells: the last axis grows while there are few.
    order = sorted(range(n), key=lambda i: (sizes[i] >= space[i], i if sizes[i] < space[i] else -i))
    kept = tuple(plan for i in order if (plan := plans[i]) is not None)
    return Interpolate.apply(x, plans=kept, resize=(*options, sizes, scales)) if kept else x
