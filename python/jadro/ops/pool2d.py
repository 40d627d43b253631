"""Max pooling of images, volumes and, through an axis of size 1, of sequences; adaptive too, and its inverse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from ..autograd import Elementary, Function, Node
from ..backend import Array, seen
from ..tensor import Tensor, as_tensor
from .common import check_integer, remembered, tensors
from .windows import Pool, Sizes, adaptive_sizes, per_axis, pool_plan, pool_space, pool_windows

# A pool's window: kernel, stride, (before, after) of each axis, dilation; none for bins that are not equal, and for
# unpooling.
INT32 = np.dtype(np.int32)


class MaxPool2d(Function):
    """x[N,C,(ID,)IH,IW] -> y[N,C,(OD,)OH,OW], indices int64: offsets (id*IH+ih)*IW+iw of the maxima; NaN wins, then
    the first of equals

    Without a window the outputs are the maxima of bins floor(j I / O) .. ceil((j + 1) I / O).
    """

    name = "max_pool2d"

    @staticmethod
    def forward(ctx: Node, x: Array, *, pool: Pool, return_indices: bool) -> Any:
        y, indices = backend.empty_like(x, pool.shape), None
        if return_indices or ctx.needs[0]:
            indices = backend.empty_like(x, pool.seen_shape, INT32)
        if y.size:
            name = "max_pool2d_forward" if pool.window else "adaptive_max_pool2d_forward"
            backend.kernel(x, name)(seen(x, pool.seen), seen(y, pool.seen_shape), indices, *pool.window)
        ctx.indices, ctx.pool = indices, pool
        return (y, indices.reshape(pool.shape).astype(np.int64)) if return_indices and indices is not None else y

    @staticmethod
    def backward(ctx: Node, dy: Any, *_: None) -> Array:
        return MaxPool2dData.call(dy, indices=ctx.indices, pool=ctx.pool)

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor, *_: None) -> Any:
        return cls.backward(ctx, dy)


class MaxPool2dData(Elementary):
    """dy, indices -> dx: each gradient goes to the cell its maximum came from"""

    @staticmethod
    def forward(ctx: Node, dy: Array, *, indices: Array, pool: Pool) -> Array:
        ctx.indices, ctx.pool = indices, pool
        dx = backend.empty_like(dy, pool.of)
        # The CPU scatters by the indices alone; the GPU gathers, from the windows around each element.
        around = {} if isinstance(dy, np.ndarray) or not pool.window else {"window": pool.window}
        if dy.size:
            run = backend.kernel(dy, "max_pool2d_backward")
            run(seen(dy, pool.seen_shape), indices, seen(dx, pool.seen), **around)
        else:
            dx[...] = 0
        return dx

    @staticmethod
    def backward(ctx: Node, ddx: Any) -> Any:
        return Gather.call(ddx, indices=ctx.indices, pool=ctx.pool)


class Gather(Elementary):
    """y, indices -> x: what stands in each plane at the indices, 0 for -1; the gradient of MaxUnpool2d"""

    @staticmethod
    def forward(ctx: Node, y: Array, *, indices: Array, pool: Pool) -> Array:
        ctx.indices, ctx.pool = indices, pool
        x = backend.empty_like(y, pool.shape)
        if x.size:
            run = backend.kernel(y, "max_unpool2d_backward")
            run(seen(y, pool.seen), indices, seen(x, pool.seen_shape))
        return x

    @staticmethod
    def backward(ctx: Node, dx: Any) -> Any:
        return MaxPool2dData.call(dx, indices=ctx.indices, pool=ctx.pool)


class MaxUnpool2d(Elementary):
    """x, indices -> y: zeros, and each x at its index; of two with the same index the last counts. `pool` is the
    pooling that leads from y to x."""

    name = "max_unpool2d"

    @staticmethod
    def forward(ctx: Node, x: Array, *, indices: Array, pool: Pool) -> Array:
        ctx.indices, ctx.pool = indices, pool
        y = backend.empty_like(x, pool.of)
        if x.size:
            run = backend.kernel(x, "max_unpool2d_forward")
            run(seen(x, pool.seen_shape), indices, seen(y, pool.seen))
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return Gather.call(dy, indices=ctx.indices, pool=ctx.pool)


def _lift(sizes: Sizes, unit: int) -> Sizes:
    """The numbers of one axis as those of two, the first of size 1."""
    return sizes if len(sizes) > 1 else (unit, *sizes)


@remembered
def _windows(call: str, n: int, x: Sizes, *options: Any) -> Pool:
    sizes, kernel, strides, dilations, _, around = pool_windows(call, pool_space(call, n, x), *options)
    flat = sum(around, (0, 0) if n == 1 else ())
    return pool_plan(call, n, x, sizes, (_lift(kernel, 1), _lift(strides, 1), flat, _lift(dilations, 1)))


@remembered
def _bins(call: str, n: int, x: Sizes, output_size: Any) -> Pool:
    """Equal bins are windows."""
    space = pool_space(call, n, x)
    sizes = adaptive_sizes(call, space, output_size)
    if any(m % o for m, o in zip(space, sizes, strict=True)):
        return pool_plan(call, n, x, sizes, ())
    kernel = _lift(tuple(m // o for m, o in zip(space, sizes, strict=True)), 1)
    return pool_plan(call, n, x, sizes, (kernel, kernel, (0,) * 2 * len(kernel), (1,) * len(kernel)))


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
    (x,) = tensors(call, "x", 1, x)
    pool = _windows(call, n, x.data.shape, kernel_size, stride, padding, dilation, ceil_mode)
    return MaxPool2d.apply(x, pool=pool, return_indices=return_indices)


def adaptive_max_pool(call: str, n: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    """The maxima of output_size[i] bins along each of the last n axes; bin j covers floor(j M / O) .. ceil((j+1) M /
    O). See `jadro.nn.functional.adaptive_max_pool2d`."""
    (x,) = tensors(call, "x", 1, x)
    return MaxPool2d.apply(x, pool=_bins(call, n, x.data.shape, output_size), return_indices=return_indices)


@remembered
def _unpooled(call: str, n: int, x: Sizes, kernel_size: Any, stride: Any, padding: Any, output_size: Any) -> Pool:
    """The max pooling that leads to x, from the smallest sizes that do or from `output_size`, less than a stride from
    them."""
    space = pool_space(call, n, x)
    kernel = per_axis(call, "kernel_size", kernel_size, n)
    strides = kernel if stride is None else per_axis(call, "stride", stride, n)
    pads = per_axis(call, "padding", padding, n, 0)
    usual = tuple((m - 1) * s - 2 * p + k for m, s, p, k in zip(space, strides, pads, kernel, strict=True))
    sizes = usual if output_size is None else per_axis(call, "output_size", tuple(output_size)[-n:], n)
    if min(sizes) < 1 or any(abs(m - u) >= s for m, u, s in zip(sizes, usual, strides, strict=True)):
        raise ValueError(f"{call}: output_size is {sizes}, expected less than a stride {strides} from {usual}")
    if math.prod(sizes) >= 2**31:
        raise ValueError(f"{call}: output_size is {sizes}, expected less than 2^31 places")
    return pool_plan(call, n, (*x[:-n], *sizes), space, ())


def max_unpool(
    call: str, n: int, x: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    """The inverse of max pooling over n = 1, 2 or 3 axes; see `jadro.nn.functional.max_unpool2d`."""
    (x,), indices = tensors(call, "x", 1, x), as_tensor(indices).data
    check_integer(call, "indices", indices)
    if indices.shape != x.shape:
        raise ValueError(f"{call}: indices has shape {indices.shape}, expected {x.shape} as x has")
    pool = _unpooled(call, n, x.data.shape, kernel_size, stride, padding, output_size)
    places = math.prod(pool.of[-n:])
    if indices.size and not (int(indices.min()) >= -1 and int(indices.max()) < places):
        raise ValueError(
            f"{call}: indices reach from {int(indices.min())} to {int(indices.max())}, expected -1 to {places - 1}"
        )
    return MaxUnpool2d.apply(x, indices=seen(indices.astype(np.int32), pool.seen_shape), pool=pool)
