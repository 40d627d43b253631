"""The native CUDA kernels: the functions of `_core` on CuPy arrays, or on any with a `__cuda_array_interface__`.

Arrays are as `_core` wants them, and all of one device; TypeError and ValueError come before any work. A call enqueues
its work on `stream` (as CuPy's `Stream.ptr`) and returns: it neither waits nor allocates. RuntimeError where CUDA
refuses the launch. Kernels use no atomics: the same input gives the same bits.
"""

from typing import Any

Array = Any  # cupy.ndarray of float32 or float64, one dtype in a call
Int32s = Any  # cupy.ndarray of int32
Pair = tuple[int, int]
Sides = tuple[int, int, int, int]  # (top, bottom, left, right)

__version__: str

def device_count() -> int:
    """How many CUDA devices there are; 0 where there is no driver."""

# --- max pooling: x[n,c,ih,iw], y[n,c,oh,ow]; planes of less than 2^31 elements. The backward pass takes the forward
# pass's (kernel, stride, padding, dilation) as its window, and then looks for each element of dx only at the windows
# around it; without, at all of the plane. Indices outside their window, or the plane, count for nothing.
def max_pool2d_forward(
    x: Array,
    y: Array,
    indices: Int32s | None,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    *,
    stream: int = 0,
) -> None: ...
def max_pool2d_backward(
    dy: Array,
    indices: Int32s,
    dx: Array,
    *,
    window: tuple[Pair, Pair, Sides, Pair] | None = None,
    stream: int = 0,
) -> None: ...
