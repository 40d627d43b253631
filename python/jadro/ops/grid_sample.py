"""Sampling of images and volumes at the places of a grid, and the grid of an affine map (Jaderberg et al. 2015)."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from ..backend import Array
from ..tensor import Tensor, wrap
from .common import tensors
from .compare import isnan
from .elementwise import abs, clamp, remainder, where
from .embedding import embedding
from .matmul import matmul
from .shape import cat

MODES, PADDINGS = ("bilinear", "nearest"), ("zeros", "border", "reflection")


def _reflected(at: Tensor, low: float, span: float) -> Tensor:
    """The places after reflection at low and low + span, as often as it takes."""
    far = abs(at - low)
    with np.errstate(invalid="ignore"):  # at infinity
        turned = np.floor(far.data / at.dtype.type(span)) % 2 == 1
    rest = remainder(far, span)
    return where(turned, span - rest, rest) + low


def _bounded(at: Tensor, low: float, high: float) -> Tensor:
    """The places bounded to low..high, without a gradient on the bounds."""
    return where((at.data > low) & (at.data < high), at, clamp(at.detach(), low, high))


def _places(grid: Tensor, size: int, padding: str, align: bool) -> Tensor:
    """Cells, with fractions, of coordinates in -1..1."""
    at = (grid + 1) * ((size - 1) / 2) if align else ((grid + 1) * size - 1) * 0.5
    if padding == "zeros":
        return _bounded(at, -2.0, size + 1.0)  # beyond, nothing changes any more
    if padding == "reflection":
        low, span = (0.0, size - 1.0) if align else (-0.5, float(size))
        at = _reflected(at, low, span) if span else at * 0
    return _bounded(at, 0.0, size - 1.0)


def _taps(at: Tensor, mode: str) -> list[tuple[Array, Any]]:
    """(cells, weights) along one axis."""
    if mode == "nearest":
        return [(np.rint(at.data), None)]
    low = np.floor(at.data)
    part = at - wrap(low)
    return [(low, 1 - part), (low + 1, part)]


def _rows(cells: Sequence[Array], space: tuple[int, ...], batch: int) -> Array:
    """Rows of the table [batch * cells + 1, C] that the cells [N, ...] have; the last row for those outside."""
    device = backend.device_of(cells[0])
    first = backend.to_device(np.arange(batch).reshape(-1, *(1,) * (cells[0].ndim - 1)), device)
    row, inside = first, True
    for cell, size in zip(cells, space, strict=True):
        ok = (cell >= 0) & (cell <= size - 1)  # NaN is outside
        inside = inside & ok
        row = row * size + np.where(ok, cell, 0).astype(np.int64)
    return np.where(inside, row, batch * math.prod(space))


def _check(call: str, x: Tensor, grid: Tensor, mode: str, padding: str) -> None:
    if mode not in MODES:
        raise ValueError(f"{call}: mode is {mode!r}, expected one of {', '.join(MODES)}")
    if padding not in PADDINGS:
        raise ValueError(f"{call}: padding_mode is {padding!r}, expected one of {', '.join(PADDINGS)}")
    n = x.ndim - 2
    if n not in (2, 3) or min(x.shape[1:]) < 1:
        raise ValueError(f"{call}: x has shape {x.shape}, expected 4 or 5 axes, none of space or channels empty")
    if grid.ndim != x.ndim or grid.shape[0] != x.shape[0] or grid.shape[-1] != n:
        raise ValueError(
            f"{call}: grid has shape {grid.shape}, expected ({x.shape[0]}, {', '.join(['size'] * n)}, {n}) for x of "
            f"shape {x.shape}"
        )


def grid_sample(
    x: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """x at the places of `grid`.

    y[n, :, i, j] = sum over cells k, l of x[n, :, k, l] w(v - k) w(u - l), where (u, v) is the place of grid[n, i, j]
    in cells and w(d) = max(1 - |d|, 0).

    x: [N, C, H, W] or [N, C, D, H, W]. grid: [N, H', W', 2], (x, y) in -1..1 from the first cell to the last, or
    [N, D', H', W', 3], (x, y, z); NaN is taken as -1. y: [N, C, H', W'] or [N, C, D', H', W']. mode: "bilinear" (three
    axes too), or "nearest", halves to even cells, where the gradient of the grid is 0. padding_mode: what lies outside:
    "zeros", "border", the last cells repeated, or "reflection" at the borders. align_corners: -1 and 1 are the centres
    of the first and last cells; by default their outer edges. Gradients of every order for x and grid (Jaderberg et
    al., Spatial Transformer Networks, 2015).

    Raises ValueError for other shapes, modes and paddings, TypeError for dtypes.
    """
    x, grid = tensors("grid_sample", "x grid", 2, x, grid)
    _check("grid_sample", x, grid, mode, padding_mode)
    batch, channels, *space = x.shape
    n = len(space)
    grid = where(isnan(grid), grid.dtype.type(-1), grid)
    axes = [_taps(_places(grid[..., n - 1 - i], space[i], padding_mode, bool(align_corners)), mode) for i in range(n)]
    table = cat([x.permute(0, *range(2, n + 2), 1).reshape(-1, channels), wrap(_zeros(x, (1, channels)))])
    y: Any = None
    for corner in itertools.product(*axes):
        part = embedding(_rows([cell for cell, _ in corner], tuple(space), batch), table)
        if mode == "bilinear":
            part = part * functools.reduce(operator.mul, (weight for _, weight in corner)).unsqueeze(-1)
        y = part if y is None else y + part
    if mode == "nearest" and grid.requires_grad:
        one = grid[..., :1]
        y = y + where(isnan(one), one, grid.dtype.type(0))  # 0, with the gradient 0
    return y.permute(0, n + 1, *range(1, n + 1))


def _zeros(x: Tensor, shape: tuple[int, ...]) -> Array:
    y = backend.empty_like(x.data, shape)
    y[...] = 0
    return y


def _axis(size: int, align: bool) -> np.ndarray:
    """The coordinates of the cells of an axis."""
    if align:
        return np.linspace(-1, 1, size) if size > 1 else np.zeros(size)
    return (2 * np.arange(size) + 1) / size - 1


def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid of an affine map, for grid_sample: grid[n, i, j] = theta[n] (x_j, y_i, 1).

    theta: [N, 2, 3] for size (N, C, H, W) -> [N, H, W, 2], or [N, 3, 4] for size (N, C, D, H, W) -> [N, D, H, W, 3].
    align_corners: x and y run from -1 to 1; by default from the centres of the first to the last of W, H cells between
    -1 and 1. Raises ValueError for shapes that do not fit or are empty, TypeError for dtypes.
    """
    (theta,) = tensors("affine_grid", "theta", 1, theta)
    sizes = tuple(map(operator.index, size))
    n = len(sizes) - 2
    if n not in (2, 3) or min(sizes) < 1:
        raise ValueError(f"affine_grid: size is {sizes}, expected 4 or 5 sizes of 1 and more")
    if theta.shape != (sizes[0], n, n + 1):
        raise ValueError(
            f"affine_grid: theta has shape {theta.shape}, expected {(sizes[0], n, n + 1)}, for size {sizes}"
        )
    axes = np.meshgrid(*(_axis(m, bool(align_corners)) for m in sizes[2:]), indexing="ij")
    base = np.stack([*reversed(axes), np.ones(sizes[2:])], -1).reshape(-1, n + 1).astype(theta.dtype)
    y = matmul(wrap(backend.to_device(base, theta.device)), theta.transpose(1, 2))
    return y.reshape(sizes[0], *sizes[2:], n)
