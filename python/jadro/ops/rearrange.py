"""Images in other orders: pixels out of channels and back, shuffled channels, windows as columns and back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import remembered, tensors
from .shape import permute, reshape
from .windows import Sizes, output_sizes, per_axis


class Columns(NamedTuple):
    """The windows of images: their sizes, what pads the images, how many windows there are."""

    space: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    out: Sizes

    def padded(self, x: Array) -> Array:
        """Zeros [N, C, ...] for the padded images of x [N, C, ...]."""
        y = backend.empty_like(x, (*x.shape[:2], *(m + 2 * p for m, p in zip(self.space, self.padding, strict=True))))
        y[...] = 0
        return y

    def inside(self) -> tuple[Any, ...]:
        return (..., *(slice(p, p + m) for m, p in zip(self.space, self.padding, strict=True)))

    def taps(self) -> Iterator[tuple[Any, Any]]:
        """For each cell of the kernel, its place in [N, C, K, K', O, O'] and what it sees of padded images."""
        for tap in itertools.product(*map(range, self.kernel)):
            seen = zip(tap, self.dilation, self.stride, self.out, strict=True)
            yield (slice(None), slice(None), *tap), (..., *(slice(k * d, k * d + s * o, s) for k, d, s, o in seen))


class Unfold(Elementary):
    """x[N,C,H,W] -> y[N, C K K', O O'], the windows as columns"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, columns: Columns) -> Array:
        ctx.columns = columns
        if any(columns.padding):
            image = columns.padded(x)
            image[columns.inside()] = x
        else:
            image = x
        y = backend.empty_like(x, (*x.shape[:2], *columns.kernel, *columns.out))
        for place, seen in columns.taps():
            y[place] = image[seen]
        return y.reshape(x.shape[0], x.shape[1] * math.prod(columns.kernel), math.prod(columns.out))

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Fold.call(dy, columns=ctx.columns)


class Fold(Elementary):
    """x[N, C K K', O O'] -> y[N,C,H,W], the sums of the columns where their windows lie"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, columns: Columns) -> Array:
        ctx.columns = columns
        x = x.reshape(x.shape[0], x.shape[1] // math.prod(columns.kernel), *columns.kernel, *columns.out)
        y = columns.padded(x)
        for place, seen in columns.taps():
            y[seen] += x[place]
        return backend.contiguous(y[columns.inside()])

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Unfold.call(dy, columns=ctx.columns)


@remembered
def _columns(call: str, space: Sizes, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Columns:
    kernel, stride = per_axis(call, "kernel_size", kernel, 2), per_axis(call, "stride", stride, 2)
    dilation, padding = per_axis(call, "dilation", dilation, 2), per_axis(call, "padding", padding, 2, 0)
    sides = tuple((p, p) for p in padding)
    out = output_sizes(call, space, kernel, stride, sides, dilation)
    return Columns(space, kernel, stride, padding, dilation, out)


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images as columns: x [N, C, H, W] or [C, H, W] -> [N, C K K', O O'] or without N.

    y[n, (c, k, l), (i, j)] = x[n, c, i S - P + k D, j S - P + l D], 0 in the padding

    kernel_size, dilation, padding, stride: an int or two. ValueError for other ranks, and where the window does not
    fit; TypeError where x is not floating.
    """
    (x,) = tensors("unfold", "x", 1, x)
    if x.ndim not in (3, 4) or min(x.shape[-3:]) < 1:
        raise ValueError(f"unfold: x has shape {x.shape}, expected [N, C, H, W] or [C, H, W], not empty but for N")
    columns = _columns("unfold", x.shape[-2:], kernel_size, dilation, padding, stride)
    return Unfold.apply(x, columns=columns) if x.ndim == 4 else unfold(x.unsqueeze(0), *_options(columns)).squeeze(0)


def _options(columns: Columns) -> tuple[Sizes, ...]:
    return columns.kernel, columns.dilation, columns.padding, columns.stride


def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The sums of columns where their windows lie in images, the transpose of unfold: x [N, C K K', O O'] or without N
    -> [N, C, H, W] or [C, H, W].

    output_size: H, or H and W; the rest as in unfold. ValueError where x has not C K K' rows, or not as many columns
    as there are windows; TypeError where x is not floating.
    """
    (x,) = tensors("fold", "x", 1, x)
    columns = _columns("fold", per_axis("fold", "output_size", output_size, 2), kernel_size, dilation, padding, stride)
    rows, count = math.prod(columns.kernel), math.prod(columns.out)
    if x.ndim not in (2, 3) or x.shape[-2] % rows or not x.shape[-2] or x.shape[-1] != count:
        expected = f"[N, C * {rows}, {count}] or [C * {rows}, {count}]"
        raise ValueError(f"fold: x has shape {x.shape}, expected {expected}: there are {columns.out} windows")
    if x.ndim == 3:
        return Fold.apply(x, columns=columns)
    return fold(x.unsqueeze(0), columns.space, *_options(columns)).squeeze(0)


def pixel_shuffle(x: Any, upscale_factor: int) -> Tensor:
    """Pixels out of channels (Shi et al. 2016): x [..., C r r, H, W] -> [..., C, H r, W r].

    y[c, i r + k, j r + l] = x[(c, k, l), i, j], r = upscale_factor. ValueError where r r does not divide the channels.
    """
    x, (r,) = as_tensor(x), per_axis("pixel_shuffle", "upscale_factor", upscale_factor, 1)
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise ValueError(f"pixel_shuffle: x has shape {x.shape}, expected (..., C * {r * r}, H, W)")
    *lead, c, h, w = x.shape
    split = reshape(x, (math.prod(lead), c // (r * r), r, r, h, w))
    return reshape(permute(split, 0, 1, 4, 2, 5, 3), (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Tensor:
    """The inverse of pixel_shuffle: x [..., C, H r, W r] -> [..., C r r, H, W]. ValueError where r does not divide the
    sizes of space."""
    x, (r,) = as_tensor(x), per_axis("pixel_unshuffle", "downscale_factor", downscale_factor, 1)
    if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError(f"pixel_unshuffle: x has shape {x.shape}, expected (..., C, H * {r}, W * {r})")
    *lead, c, h, w = x.shape
    split = reshape(x, (math.prod(lead), c, h // r, r, w // r, r))
    return reshape(permute(split, 0, 1, 3, 5, 2, 4), (*lead, c * r * r, h // r, w // r))


def channel_shuffle(x: Any, groups: int) -> Tensor:
    """Channels dealt out of `groups` (Zhang et al. 2018): x [N, C, ...], y[:, i groups + g] = x[:, g C / groups + i].

    ValueError where `groups` does not divide C, or there is no axis of space.
    """
    x, (groups,) = as_tensor(x), per_axis("channel_shuffle", "groups", groups, 1)
    if x.ndim < 3 or x.shape[1] % groups:
        raise ValueError(f"channel_shuffle: x has shape {x.shape}, expected (N, C * {groups}, ...)")
    n, c, *space = x.shape
    split = reshape(x, (n, groups, c // groups, *space))
    return reshape(permute(split, 0, 2, 1, *range(3, split.ndim)), x.shape)
