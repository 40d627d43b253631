"""Max and average pooling of images and, through an axis of size 1, of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Elementary, Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor, wrap
from .common import check_float
from .conv2d import Conv2d, Options
from .index import GetItem
from .shape import Reshape, stack
from .windows import Sides, Sizes, ceil_sides, extents, output_sizes, per_axis, sides


class MaxPool2d(Function):
    """x[N,C,IH,IW] -> y[N,C,OH,OW], indices int64: offsets ih*IW+iw of the maxima; NaN wins, then the first of
    equals"""

    name = "max_pool2d"

    @staticmethod
    def forward(ctx: Node, x: Array, *, sizes: Sizes, window: tuple[Sizes, ...], return_indices: bool) -> Any:
        y = backend.empty_like(x, (*x.shape[:2], *sizes))
        indices = None
        if return_indices or ctx.needs[0]:
            indices = backend.empty(y.shape, np.int32, backend.device_of(x))
        if y.size:
            backend.kernel(x, "max_pool2d_forward")(backend.contiguous(x), y, indices, *window)
        ctx.indices, ctx.shape, ctx.window = indices, x.shape, window
        return (y, indices.astype(np.int64)) if return_indices and indices is not None else y

    @staticmethod
    def backward(ctx: Node, dy: Any, *_: None) -> Array:
        return MaxPool2dData.call(dy, indices=ctx.indices, shape=ctx.shape, window=ctx.window)

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor, *_: None) -> Any:
        return cls.backward(ctx, dy)


class MaxPool2dData(Elementary):
    """dy, indices -> dx: each gradient goes to the cell its maximum came from"""

    @staticmethod
    def forward(ctx: Node, dy: Array, *, indices: Array, shape: Sizes, window: tuple[Sizes, ...]) -> Array:
        ctx.indices = indices
        dx = backend.empty_like(dy, shape)
        # The CPU scatters by the indices alone; the GPU gathers, from the windows around each element.
        around = {} if isinstance(dy, np.ndarray) else {"window": window}
        if dy.size:
            backend.kernel(dy, "max_pool2d_backward")(backend.contiguous(dy), indices, dx, **around)
        else:
            dx[...] = 0
        return dx

    @staticmethod
    def backward(ctx: Node, ddx: Any) -> Any:
        n, c = ddx.shape[:2]
        planes = Reshape.call(ddx, shape=(n, c, ddx.shape[2] * ddx.shape[3]))
        batch, channel = np.ogrid[:n, :c]
        return GetItem.call(planes, index=(batch[..., None, None], channel[..., None, None], ctx.indices))


def _prepare(
    call: str, n: int, x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Sizes, Sizes, Sizes, Sizes, Sides, Sides]:
    """Checks, and gives output sizes, kernel, stride, dilation, the padding asked for, and that with the ceil_mode's
    share."""
    if x.ndim != n + 2:
        raise ValueError(f"{call}: x has shape {x.shape}, expected {n + 2} axes, or {n + 1} without the batch")
    check_float(call, "x", x.data)
    if min(x.shape[1:]) < 1:
        raise ValueError(f"{call}: x has shape {x.shape}, expected no empty axis but the batch")
    kernel = per_axis(call, "kernel_size", kernel_size, n)
    strides = kernel if stride is None or stride == () or stride == [] else per_axis(call, "stride", stride, n)
    dilations = per_axis(call, "dilation", dilation, n)
    around = sides(call, padding, x.shape[2:], kernel, strides, dilations)
    reach = extents(kernel, dilations)
    if any(max(pair) >= e for pair, e in zip(around, reach, strict=True)):
        raise ValueError(
            f"{call}: padding is {around}, expected less than the window's {reach}: some would see padding only"
        )
    sizes = output_sizes(call, x.shape[2:], kernel, strides, around, dilations)
    if not ceil_mode:
        return sizes, kernel, strides, dilations, around, around
    wide = ceil_sides(x.shape[2:], kernel, strides, around, dilations)
    sizes = output_sizes(call, x.shape[2:], kernel, strides, wide, dilations)
    return sizes, kernel, strides, dilations, around, wide


def _lift(sizes: Sizes, unit: int) -> Sizes:
    """The numbers of one axis as those of two, the first of size 1."""
    return sizes if len(sizes) == 2 else (unit, *sizes)


def max_pool(
    call: str,
    n: int,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    """Max pooling over n = 1 or 2 axes; see `jadro.nn.functional.max_pool2d`."""
    x = as_tensor(x)
    if x.ndim == n + 1:
        y = max_pool(call, n, x.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(t.squeeze(0) for t in y) if return_indices else y.squeeze(0)
    sizes, kernel, strides, dilations, _, around = _prepare(
        call, n, x, kernel_size, stride, padding, dilation, ceil_mode
    )
    flat = sum(around, ()) if n == 2 else (0, 0, *around[0])
    window = _lift(kernel, 1), _lift(strides, 1), flat, _lift(dilations, 1)
    y = MaxPool2d.apply(
        x if n == 2 else x.unsqueeze(2), sizes=_lift(sizes, 1), window=window, return_indices=return_indices
    )
    if n == 2:
        return y
    return tuple(t.squeeze(2) for t in y) if return_indices else y.squeeze(2)


def _counts(
    sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sides, shape: Sizes, include: bool, dtype: Any
) -> np.ndarray:
    """How many cells each window averages: those of the input, with `include` also those of the padding."""
    counts = np.ones((1,) * len(sizes), dtype)
    for axis, (out, k, s, (before, after), m) in enumerate(zip(sizes, kernel, stride, padding, shape, strict=True)):
        start = np.arange(out) * s - before
        end = np.minimum(start + k, m + after)
        n = end - start if include else np.minimum(end, m) - np.maximum(start, 0)
        counts = counts * n.reshape([-1 if i == axis else 1 for i in range(len(sizes))]).astype(dtype)
    return counts


def avg_pool(
    call: str, n: int, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> Tensor:
    """Average pooling over n = 1 or 2 axes, a convolution of each channel with ones; see
    `jadro.nn.functional.avg_pool2d`."""
    x = as_tensor(x)
    if x.ndim == n + 1:
        return avg_pool(call, n, x.unsqueeze(0), kernel_size, stride, padding, ceil_mode, count_include_pad).squeeze(0)
    sizes, kernel, strides, ones, around, wide = _prepare(call, n, x, kernel_size, stride, padding, 1, ceil_mode)
    counts = _counts(sizes, kernel, strides, around, x.shape[2:], count_include_pad, x.dtype)
    flat = sum(wide, ()) if n == 2 else (0, 0, *wide[0])
    options = Options(_lift(strides, 1), flat, _lift(ones, 1), 1, "auto")
    planes = x.reshape(x.shape[0] * x.shape[1], 1, *_lift(x.shape[2:], 1))
    box = wrap(backend.to_device(np.ones((1, 1, *_lift(kernel, 1)), x.dtype), x.device))
    total = Conv2d.apply(planes, box, None, sizes=_lift(sizes, 1), options=options).reshape(*x.shape[:2], *sizes)
    return total / as_tensor(backend.to_device(counts, x.device))


def adaptive_avg_pool(call: str, n: int, x: Any, output_size: Any) -> Tensor:
    """Averages of output_size[i] bins along each of the last n axes; bin j covers floor(j M / O) .. ceil((j+1) M /
    O)."""
    x = as_tensor(x)
    if x.ndim not in (n + 1, n + 2):
        raise ValueError(f"{call}: x has shape {x.shape}, expected {n + 2} axes, or {n + 1} without the batch")
    check_float(call, "x", x.data)
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    space = x.shape[x.ndim - n :]
    if min(space) < 1:
        raise ValueError(f"{call}: x has shape {x.shape}, expected no empty axis but the batch")
    if len(given) != n:
        raise ValueError(f"{call}: output_size is {output_size!r}, expected an integer or {n} of them")
    sizes = per_axis(call, "output_size", tuple(m if o is None else o for o, m in zip(given, space, strict=True)), n)
    for axis, (m, out) in enumerate(zip(space, sizes, strict=True), start=x.ndim - n):
        x = _bins(x, axis, m, out)
    return x


def _bins(x: Tensor, axis: int, m: int, out: int) -> Tensor:
    """The means of `out` bins along an axis of size m."""
    if m % out == 0:
        return x.reshape(*x.shape[:axis], out, m // out, *x.shape[axis + 1 :]).mean(axis + 1)
    lead = (slice(None),) * axis

    def piece(j: int) -> Tensor:
        index = (*lead, slice(j * m // out, -(-(j + 1) * m // out)))
        return x[index]

    return stack([piece(j).mean(axis) for j in range(out)], axis)
