"""Resize and Upsample, where each axis is a gather or a small matrix of interpolation weights; grids of places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops.grid_sample import affine_grid, grid_sample
from ...ops.interpolate import weighted
from ...ops.matmul import matmul
from ...ops.shape import expand, reshape
from ...tensor import Tensor, wrap
from .registry import array, beside, ints, is_float, operator


def _coordinates(transform: str, out: int, size: int, scale: float) -> np.ndarray:
    """Where each output cell stands among the input's, [out], in float32 as the scales are."""
    one, half = np.float32(1), np.float32(0.5)
    i, step = np.arange(out, dtype=np.float32), np.float32(scale)
    if transform == "asymmetric":
        return i / step
    if transform == "tf_half_pixel_for_nn":
        return (i + half) / step
    if transform == "align_corners":
        return i * np.float32(size - 1) / np.float32(out - 1) if out > 1 else 0 * i
    if transform == "pytorch_half_pixel" and out == 1:
        return 0 * i
    at = (i + half) / step - half
    if transform == "half_pixel_symmetric":
        at += np.float32(size) / 2 * (one - np.float32(out) / (step * np.float32(size)))
    return at


_NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _matrix(at: np.ndarray, size: int, mode: str, a: float, exclude_outside: bool, shrink: float) -> np.ndarray:
    """[out, size]: what each output takes of each input; shrink below 1 widens the kernel (antialias)."""
    places, weight = weighted(at, size, None if mode == "linear" else a, 1 / shrink, exclude_outside)
    out = np.zeros((len(at), size))
    np.add.at(out, (np.arange(len(at)), places), weight)
    return out


def _along(x: Tensor, axis: int, matrix: np.ndarray) -> Tensor:
    """x with the matrix [out, in] applied along an axis."""
    turned = x.transpose(axis, x.ndim - 1)
    rows = reshape(turned, (-1, x.shape[axis])) if turned.data.size else turned
    y = matmul(rows, wrap(beside(x, np.ascontiguousarray(matrix.T, x.dtype))))
    return reshape(y, (*turned.shape[:-1], len(matrix))).transpose(axis, x.ndim - 1)


def _repeated(x: Tensor, axis: int, places: np.ndarray) -> Tensor:
    """x[places] along an axis; each cell a few times over where that is what it is."""
    size, out = x.shape[axis], len(places)
    if out % size == 0 and np.array_equal(places, np.arange(out) // (out // size)):
        shape = x.shape
        wide = reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        wide = expand(wide, *shape[: axis + 1], out // size, *shape[axis + 1 :])
        return reshape(wide, (*shape[:axis], out, *shape[axis + 1 :]))
    return x[(slice(None),) * axis + (beside(x, places),)]


def _sizes(
    shape: tuple[int, ...], axes: list[int], scales: list[float] | None, sizes: list[int] | None, policy: str
) -> tuple[list[int], list[float]]:
    """Sizes and scales of `axes`."""
    given = [shape[a] for a in axes]
    if sizes is None:
        factors = scales or []
        return [math.floor(np.float32(m) * np.float32(s)) for m, s in zip(given, factors, strict=True)], factors
    ratios = [n / m for n, m in zip(sizes, given, strict=True)]
    if policy == "stretch":
        return sizes, ratios
    one = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(one * m + 0.5) for m in given], [one] * len(axes)


@operator("Resize")
def resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, antialias: int = 0, axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel", cubic_coeff_a: float = -0.75, exclude_outside: int = 0,
    extrapolation_value: float = 0.0, keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor", *, opset: int = 11,
) -> Any:  # fmt: skip
    if opset < 11:  # X, scales
        scales, coordinate_transformation_mode, nearest_mode = roi, "asymmetric", "floor"
    if not is_float(x) or coordinate_transformation_mode == "tf_crop_and_resize":
        return NotImplemented
    places = list(range(x.ndim)) if axes is None else [a % x.ndim for a in ints(axes) or []]
    factors = [float(s) for s in array(scales).reshape(-1)] if scales is not None and scales.data.size else None
    wanted, factors = _sizes(x.shape, places, factors, ints(sizes), keep_aspect_ratio_policy)
    if wanted == [x.shape[a] for a in places]:
        return x
    for axis, out, scale in zip(places, wanted, factors, strict=True):
        size = x.shape[axis]
        if out == size and scale == 1:
            continue
        at = _coordinates(coordinate_transformation_mode, out, size, scale)
        if mode == "nearest":
            x = _repeated(x, axis, np.clip(_NEAREST[nearest_mode](at), 0, size - 1).astype(np.int64))
        else:
            shrink = min(scale, 1.0) if antialias else 1.0
            x = _along(x, axis, _matrix(at, size, mode, cubic_coeff_a, bool(exclude_outside), shrink))
    return x


@operator("Upsample")
def upsample(x: Any, scales: Any = None, mode: str = "nearest") -> Any:
    given = scales if isinstance(scales, Tensor) else wrap(np.asarray(scales, np.float32))
    return resize(x, given, mode=mode, opset=10)


@operator("GridSample")
def sample(x: Any, grid: Any, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros") -> Any:
    mode = "bilinear" if mode == "linear" else mode
    if x.ndim not in (4, 5) or mode not in ("bilinear", "nearest") or not is_float(x, grid) or x.dtype != grid.dtype:
        return NotImplemented
    return grid_sample(x, grid, mode, padding_mode, bool(align_corners))


@operator("AffineGrid")
def grid_of_map(theta: Any, size: Any, align_corners: int = 0) -> Any:
    sizes = ints(size) or []
    if not is_float(theta) or min(sizes) < 1:
        return NotImplemented
    return affine_grid(theta, sizes, bool(align_corners))
