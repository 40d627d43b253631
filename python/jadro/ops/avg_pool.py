"""Average pooling of sequences, images and volumes; adaptive and global too."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array, seen
from ..tensor import Tensor, wrap
from .common import remembered, tensors
from .elementwise import where
from .windows import Pool, Sizes, adaptive_sizes, per_axis, pool_plan, pool_space, pool_windows

# A pool's window: kernel, stride, (before, after) of each axis, whether padding counts, and the divisor or 0; the first
# three are empty for adaptive pooling.
ADAPTIVE = ((), (), (), False, 0)


class AvgPool(Elementary):
    """x[N,C,...] -> y[N,C,*sizes], the means of windows"""

    name = "avg_pool"

    @staticmethod
    def forward(ctx: Node, x: Array, *, pool: Pool) -> Array:
        ctx.pool = pool
        y = backend.empty_like(x, pool.shape)
        if y.size:
            run = backend.kernel(x, "avg_pool_forward")
            run(seen(x, pool.seen), seen(y, pool.seen_shape), *pool.window)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return AvgPoolData.call(dy, pool=ctx.pool)


class AvgPoolData(Elementary):
    """dy -> dx: every place gets its share of the gradients of the windows that see it"""

    @staticmethod
    def forward(ctx: Node, dy: Array, *, pool: Pool) -> Array:
        ctx.pool = pool
        dx = backend.empty_like(dy, pool.of)
        if dx.size:
            run = backend.kernel(dy, "avg_pool_backward")
            run(seen(dy, pool.seen_shape), seen(dx, pool.seen), *pool.window)
        return dx

    @staticmethod
    def backward(ctx: Node, ddx: Any) -> Any:
        return AvgPool.call(ddx, pool=ctx.pool)


@remembered
def _windows(call: str, n: int, x: Sizes, count_include_pad: bool, divisor: Any, *options: Any) -> Pool:
    if divisor is not None and (not isinstance(divisor, int) or divisor == 0):
        raise ValueError(f"{call}: divisor_override is {divisor!r}, expected an integer other than 0")
    sizes, kernel, strides, _, around, _ = pool_windows(call, pool_space(call, n, x), *options)
    return pool_plan(call, n, x, sizes, (kernel, strides, sum(around, ()), bool(count_include_pad), divisor or 0), 1)


@remembered
def _bins(call: str, n: int, x: Sizes, output_size: Any) -> Pool:
    """Equal bins are windows."""
    space = pool_space(call, n, x)
    sizes = adaptive_sizes(call, space, output_size)
    if any(m % o for m, o in zip(space, sizes, strict=True)):
        return pool_plan(call, n, x, sizes, ADAPTIVE, 1)
    kernel = tuple(m // o for m, o in zip(space, sizes, strict=True))
    return pool_plan(call, n, x, sizes, (kernel, kernel, (0, 0) * n, False, 0), 1)


def avg_pool(
    call: str, n: int, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Average pooling over n = 1, 2 or 3 axes; see `jadro.nn.functional.avg_pool2d`."""
    (x,) = tensors(call, "x", 1, x)
    counted = count_include_pad, divisor_override
    return AvgPool.apply(x, pool=_windows(call, n, x.data.shape, *counted, kernel_size, stride, padding, 1, ceil_mode))


def root(x: Tensor, p: float) -> Tensor:
    """x^(1/p); the gradient at 0 is 0."""
    none = wrap(x.data == 0)
    return where(none, 0.0, x.masked_fill(none, 1.0) ** (1 / p))


def lp_pool(call: str, n: int, x: Any, p: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    """Pooling by norms over n = 1, 2 or 3 axes; see `jadro.nn.functional.lp_pool2d`."""
    (x,) = tensors(call, "x", 1, x)
    if not 0 < p < math.inf:
        raise ValueError(f"{call}: norm_type is {p}, expected a positive number")
    means = avg_pool(call, n, x**p, kernel_size, stride, 0, ceil_mode, True)
    return root(means * math.prod(per_axis(call, "kernel_size", kernel_size, n)), p)


def adaptive_avg_pool(call: str, n: int, x: Any, output_size: Any) -> Tensor:
    """The means of output_size[i] bins along each of the last n axes; bin j covers floor(j M / O) .. ceil((j+1) M /
    O)."""
    (x,) = tensors(call, "x", 1, x)
    return AvgPool.apply(x, pool=_bins(call, n, x.data.shape, output_size))
