"""Max pooling of images, volumes and, through an axis of size 1, of sequences; adaptive too, and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..autograd import Elementary, Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import check_float, check_integer
from .windows import Sizes, adaptive_sizes, per_axis, pool_input, pool_windows, remembered

Window = tuple[Sizes, ...]  # kernel, stride, (before, after) of each axis, dilation


class MaxPool2d(Function):
    """x[N,C,(ID,)IH,IW] -> y[N,C,(OD,)OH,OW], indices int64: offsets (id*IH+ih)*IW+iw of the maxima; NaN wins, then
    the first of equals

    Without a window the outputs are the maxima of bins floor(j I / O) .. ceil((j + 1) I / O).
    """

    name = "max_pool2d"

    @staticmethod
    def forward(ctx: Node, x: Array, *, sizes: Sizes, window: Window | None, return_indices: bool) -> Any:
        y = backend.empty_like(x, (*x.shape[:2], *sizes))
        indices = None
        if return_indices or ctx.needs[0]:
            indices = backend.empty(y.shape, np.int32, backend.device_of(x))
        if y.size:
            name = "max_pool2d_forward" if window else "adaptive_max_pool2d_forward"
            backend.kernel(x, name)(backend.contiguous(x), y, indices, *(window or ()))
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
    def forward(ctx: Node, dy: Array, *, indices: Array, shape: Sizes, window: Window | None) -> Array:
        ctx.indices = indices
        dx = backend.empty_like(dy, shape)
        # The CPU scatters by the indices alone; the GPU gathers, from the windows around each element.
        around = {} if isinstance(dy, np.ndarray) or window is None else {"window": window}
        if dy.size:
            backend.kernel(dy, "max_pool2d_backward")(backend.contiguous(dy), indices, dx, **around)
        else:
            dx[...] = 0
        return dx

    @staticmethod
    def backward(ctx: Node, ddx: Any) -> Any:
        return Gather.call(ddx, indices=ctx.indices)


class Gather(Elementary):
    """y, indices -> x: what stands in each plane at the indices, 0 for -1; the gradient of MaxUnpool2d"""

    @staticmethod
    def forward(ctx: Node, y: Array, *, indices: Array) -> Array:
        ctx.indices, ctx.shape = indices, y.shape
        x = backend.empty_like(y, indices.shape)
        if x.size:
            backend.kernel(y, "max_unpool2d_backward")(backend.contiguous(y), indices, x)
        return x

    @staticmethod
    def backward(ctx: Node, dx: Any) -> Any:
        return MaxPool2dData.call(dx, indices=ctx.indices, shape=ctx.shape, window=None)


class MaxUnpool2d(Elementary):
    """x, indices -> y: zeros, and each x at its index; of two with the same index the last counts"""

    name = "max_unpool2d"

    @staticmethod
    def forward(ctx: Node, x: Array, *, indices: Array, shape: Sizes) -> Array:
        ctx.indices = indices
        y = backend.empty_like(x, shape)
        if x.size:
            backend.kernel(x, "max_unpool2d_forward")(backend.contiguous(x), indices, y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Gather.call(dy, indices=ctx.indices)


def _lift(sizes: Sizes, unit: int) -> Sizes:
    """The numbers of one axis as those of two, the first of size 1."""
    return sizes if len(sizes) > 1 else (unit, *sizes)


@remembered
def _windows(call: str, space: Sizes, *options: Any) -> tuple[Sizes, Window]:
    """The sizes of the output, and the windows as the kernels take them."""
    sizes, kernel, strides, dilations, _, around = pool_windows(call, space, *options)
    flat = sum(around, (0, 0) if len(space) == 1 else ())
    return sizes, (_lift(kernel, 1), _lift(strides, 1), flat, _lift(dilations, 1))


@remembered
def _bins(call: str, space: Sizes, output_size: Any) -> tuple[Sizes, Window | None]:
    """The sizes of the output, and windows where all bins are equal."""
    sizes = adaptive_sizes(call, space, output_size)
    if any(m % o for m, o in zip(space, sizes, strict=True)):
        return sizes, None
    kernel = _lift(tuple(m // o for m, o in zip(space, sizes, strict=True)), 1)
    return sizes, (kernel, kernel, (0,) * 2 * len(kernel), (1,) * len(kernel))


def _pool(x: Tensor, single: bool, sizes: Sizes, window: Window | None, return_indices: bool) -> Any:
    """MaxPool2d of x [N, C, ...], one axis as two, and without the batch axis again where it came without one."""
    one = len(sizes) == 1
    y = MaxPool2d.apply(
        x.unsqueeze(2) if one else x, sizes=_lift(sizes, 1), window=window, return_indices=return_indices
    )
    results = y if return_indices else (y,)
    results = tuple(t.squeeze(2) if one else t for t in results)
    results = tuple(t.squeeze(0) if single else t for t in results)
    return results if return_indices else results[0]


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
    """Max pooling over n = 1, 2 or 3 axes; see `jadro.nn.functional.max_pool2d`."""
    x, single = pool_input(call, n, as_tensor(x))
    sizes, window = _windows(call, x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    return _pool(x, single, sizes, window, return_indices)


def adaptive_max_pool(call: str, n: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    """The maxima of output_size[i] bins along each of the last n axes; bin j covers floor(j M / O) .. ceil((j+1) M /
    O). See `jadro.nn.functional.adaptive_max_pool2d`."""
    x, single = pool_input(call, n, as_tensor(x))
    sizes, window = _bins(call, x.shape[2:], output_size)
    return _pool(x, single, sizes, window, return_indices)


def _unpooled(call: str, x: Tensor, n: int, kernel_size: Any, stride: Any, padding: Any, output_size: Any) -> Sizes:
    """The sizes of space that max pooling took to those of x: the smallest, or `output_size`, less than a stride from
    it."""
    kernel = per_axis(call, "kernel_size", kernel_size, n)
    strides = kernel if stride is None else per_axis(call, "stride", stride, n)
    pads = per_axis(call, "padding", padding, n, 0)
    usual = tuple((m - 1) * s - 2 * p + k for m, s, p, k in zip(x.shape[2:], strides, pads, kernel, strict=True))
    sizes = usual if output_size is None else per_axis(call, "output_size", tuple(output_size)[-n:], n)
    if min(sizes) < 1 or any(abs(m - u) >= s for m, u, s in zip(sizes, usual, strides, strict=True)):
        raise ValueError(f"{call}: output_size is {sizes}, expected less than a stride {strides} from {usual}")
    return sizes


def max_unpool(
    call: str, n: int, x: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    """The inverse of max pooling over n = 1, 2 or 3 axes; see `jadro.nn.functional.max_unpool2d`."""
    x, indices = as_tensor(x), as_tensor(indices).data
    check_float(call, "x", x.data)
    check_integer(call, "indices", indices)
    if indices.shape != x.shape:
        raise ValueError(f"{call}: indices has shape {indices.shape}, expected {x.shape} as x has")
    x, single = pool_input(call, n, x)
    sizes = _unpooled(call, x, n, kernel_size, stride, padding, output_size)
    places = int(np.prod(sizes, dtype=object))
    if places >= 2**31:
        raise ValueError(f"{call}: output_size is {sizes}, expected less than 2^31 places")
    if indices.size and not (int(indices.min()) >= -1 and int(indices.max()) < places):
        raise ValueError(
            f"{call}: indices reach from {int(indices.min())} to {int(indices.max())}, expected -1 to {places - 1}"
        )
    lifted = x.unsqueeze(2) if n == 1 else x
    offsets = backend.contiguous(indices.reshape(lifted.shape).astype(np.int32))
    y = MaxUnpool2d.apply(lifted, indices=offsets, shape=(*x.shape[:2], *_lift(sizes, 1)))
    y = y.squeeze(2) if n == 1 else y
    return y.squeeze(0) if single else y
