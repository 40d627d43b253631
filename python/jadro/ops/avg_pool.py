"""Average pooling of sequences, images and volumes; adaptive and global too."""

from __future__ import annotations

from typing import Any

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .windows import Sizes, adaptive_sizes, pool_input, pool_windows, remembered

# kernel, stride, (before, after) of each axis, whether padding counts, and the divisor or 0; the first three are empty
# for adaptive pooling
Options = tuple[Sizes, Sizes, Sizes, bool, int]
ADAPTIVE: Options = ((), (), (), False, 0)


class AvgPool(Elementary):
    """x[N,C,...] -> y[N,C,*sizes], the means of windows"""

    name = "avg_pool"

    @staticmethod
    def forward(ctx: Node, x: Array, *, sizes: Sizes, options: Options) -> Array:
        ctx.space, ctx.options = x.shape[2:], options
        y = backend.empty_like(x, (*x.shape[:2], *sizes))
        if y.size:
            backend.kernel(x, "avg_pool_forward")(backend.contiguous(x), y, *options)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        return AvgPoolData.call(dy, space=ctx.space, options=ctx.options)


class AvgPoolData(Elementary):
    """dy -> dx: every place gets its share of the gradients of the windows that see it"""

    @staticmethod
    def forward(ctx: Node, dy: Array, *, space: Sizes, options: Options) -> Array:
        ctx.sizes, ctx.options = dy.shape[2:], options
        dx = backend.empty_like(dy, (*dy.shape[:2], *space))
        if dx.size:
            backend.kernel(dy, "avg_pool_backward")(backend.contiguous(dy), dx, *options)
        return dx

    @staticmethod
    def backward(ctx: Node, ddx: Any) -> Any:
        return AvgPool.call(ddx, sizes=ctx.sizes, options=ctx.options)


@remembered
def _windows(call: str, space: Sizes, *options: Any) -> tuple[Sizes, tuple[Sizes, Sizes, Sizes]]:
    """The sizes of the output, and kernel, stride and padding as the kernels take them."""
    sizes, kernel, strides, _, around, _ = pool_windows(call, space, *options)
    return sizes, (kernel, strides, sum(around, ()))


@remembered
def _bins(call: str, space: Sizes, output_size: Any) -> tuple[Sizes, Options]:
    """The sizes of the output; equal bins are windows."""
    sizes = adaptive_sizes(call, space, output_size)
    if any(m % o for m, o in zip(space, sizes, strict=True)):
        return sizes, ADAPTIVE
    kernel = tuple(m // o for m, o in zip(space, sizes, strict=True))
    return sizes, (kernel, kernel, (0, 0) * len(kernel), False, 0)


def avg_pool(
    call: str, n: int, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Average pooling over n = 1, 2 or 3 axes; see `jadro.nn.functional.avg_pool2d`."""
    x, single = pool_input(call, n, as_tensor(x))
    if divisor_override is not None and (not isinstance(divisor_override, int) or divisor_override == 0):
        raise ValueError(f"{call}: divisor_override is {divisor_override!r}, expected an integer but 0")
    sizes, window = _windows(call, x.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    options = *window, bool(count_include_pad), divisor_override or 0
    y = AvgPool.apply(x, sizes=sizes, options=options)
    return y.squeeze(0) if single else y


def adaptive_avg_pool(call: str, n: int, x: Any, output_size: Any) -> Tensor:
    """The means of output_size[i] bins along each of the last n axes; bin j covers floor(j M / O) .. ceil((j+1) M /
    O)."""
    x, single = pool_input(call, n, as_tensor(x))
    sizes, options = _bins(call, x.shape[2:], output_size)
    y = AvgPool.apply(x, sizes=sizes, options=options)
    return y.squeeze(0) if single else y
