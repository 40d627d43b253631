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
from .pad import pad
from .shape import permute, reshape
from .windows import Sizes, output_sizes, per_axis


class Columns(NamedTuple):
    """The windows of images of sizes `space`."""

    space: Sizes
    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    out: Sizes

    def taps(self) -> Iterator[tuple[Any, Any]]:
        """For each cell of the kernel, its place in [N, C, K, K', O, O'] and what it sees of [N, C, H, W]."""
        for tap in itertools.product(*map(range, self.kernel)):
            seen = zip(tap, self.dilation, self.stride, self.out, strict=True)
            yield (slice(None), slice(None), *tap), (..., *(slice(k * d, k * d + s * o, s) for k, d, s, o in seen))


class Unfold(Elementary):
    """x[N,C,H,W] -> y[N,C,K,K',O,O'], the windows"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, columns: Columns) -> Array:
        ctx.columns = columns
        y = backend.empty_like(x, (*x.shape[:2], *columns.kernel, *columns.out))
        for place, seen in columns.taps():
            y[place] = x[seen]
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Fold.call(dy, columns=ctx.columns)


class Fold(Elementary):
    """x[N,C,K,K',O,O'] -> y[N,C,H,W], the sums where the windows lie"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, columns: Columns) -> Array:
        ctx.columns = columns
        y = backend.empty_like(x, (*x.shape[:2], *columns.space))
        y[...] = 0
        for place, seen in columns.taps():
            y[seen] += x[place]
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Unfold.call(dy, columns=ctx.columns)


@remembered
def _columns(call: str, space: Sizes, kernel: Any, dilation: Any, padding: Any, stride: Any) -> tuple[Columns, Sizes]:
    """The windows of padded images, and their padding as `pad` takes it."""
    kernel, stride = per_axis(call, "kernel_size", kernel, 2), per_axis(call, "stride", stride, 2)
    dilation, (p, q) = per_axis(call, "dilation", dilation, 2), per_axis(call, "padding", padding, 2, 0)
    out = output_sizes(call, space, kernel, stride, ((p, p), (q, q)), dilation)
    return Columns((space[0] + 2 * p, space[1] + 2 * q), kernel, stride, dilation, out), (q, q, p, p)


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images as columns: x [N, C, H, W] or [C, H, W] -> [N, C K K', O O'] or without N.

    y[n, (c, k, l), (i, j)] = x[n, c, i S - P + k D, j S - P + l D], 0 in the padding

    kernel_size, dilation, padding, stride: an int or two. ValueError for other ranks, and where the window does not
    fit.
    """
    (x,) = tensors("unfold", "x", 1, x)
    if x.ndim not in (3, 4) or min(x.shape[-3:]) < 1:
        raise ValueError(f"unfold: x has shape {x.shape}, expected [N, C, H, W] or [C, H, W], not empty but for N")
    columns, around = _columns("unfold", x.shape[-2:], kernel_size, dilation, padding, stride)
    lead, c = x.shape[:-3], x.shape[-3]
    y = Unfold.apply(pad(reshape(x, (math.prod(lead), *x.shape[-3:])), around), columns=columns)
    return reshape(y, (*lead, c * math.prod(columns.kernel), math.prod(columns.out)))


def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The sums of columns where their windows lie, the transpose of unfold: x [N, C K K', O O'] or without N -> [N, C,
    H, W] or [C, H, W].

    output_size: H, or H and W; the rest as in unfold. ValueError where x has not C K K' rows, or not as many columns
    as there are windows.
    """
    (x,) = tensors("fold", "x", 1, x)
    space = per_axis("fold", "output_size", output_size, 2)
    columns, around = _columns("fold", space, kernel_size, dilation, padding, stride)
    lead, rows, count = x.shape[:-2], math.prod(columns.kernel), math.prod(columns.out)
    if x.ndim not in (2, 3) or x.shape[-2] % rows or not x.shape[-2] or x.shape[-1] != count:
        raise ValueError(f"fold: x has shape {x.shape}, expected [N, C * {rows}, {count}] or without N")
    split = reshape(x, (math.prod(lead), x.shape[-2] // rows, *columns.kernel, *columns.out))
    y = pad(Fold.apply(split, columns=columns), [-n for n in around])
    return reshape(y, (*lead, *y.shape[1:]))


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
