"""Arrays and devices: which native module serves which device, and where result memory comes from.

NumPy arrays live on the CPU and are served by `_core`; CuPy arrays live on CUDA and are served by `_cuda`. Neither CuPy
nor `_cuda` is imported before a CUDA array is asked for.
"""

from __future__ import annotations

import functools
import math
import sys
from types import ModuleType
from typing import Any

import numpy as np

from . import _core

Array = Any  # numpy.ndarray or cupy.ndarray

KEPT_BYTES = _core._KEPT_BYTES  # from this size on results live in memory that the library keeps

_KERNELS = vars(_core)
_add_reduce: Any = np.add.reduce  # what ndarray.sum calls
SUM, MEAN, NORM, MAX, MIN, VAR = range(6)  # what _core.reduce computes

_FLOAT32 = np.dtype(np.float32)
_CUDA = f"{__package__}._cuda"
_NO_CUDA = (
    "CUDA needs CuPy and the native CUDA module: "
    "`pip install 'jadro[cuda]'` on a machine with nvcc and an NVIDIA driver"
)


_cupy: ModuleType | None = None  # once it was found to have a device


def cupy() -> ModuleType:
    """The CuPy module; RuntimeError where it is not installed or finds no device."""
    global _cupy
    if _cupy is not None and sys.modules.get("cupy") is _cupy:
        return _cupy
    try:
        import cupy as cp  # type: ignore[import-not-found]
    except ImportError as error:
        raise RuntimeError(f"{_NO_CUDA} (cupy cannot be imported: {error})") from None
    if not cp.is_available():
        raise RuntimeError(f"{_NO_CUDA} (cupy finds no CUDA device)")
    _cupy = cp
    return cp


def cuda() -> ModuleType:
    """The native CUDA module; RuntimeError where it was not built."""
    cupy()
    if (found := sys.modules.get(_CUDA)) is not None:
        return found
    try:
        from . import _cuda
    except ImportError as error:
        raise RuntimeError(f"{_NO_CUDA} (jadro._cuda cannot be imported: {error})") from None
    return _cuda


def native(x: Array) -> Any:
    """The native module whose kernels take `x`."""
    return _core if isinstance(x, np.ndarray) else cuda()


def kernel(x: Array, name: str) -> Any:
    """The native function `name` for the device of `x`, on CUDA bound to CuPy's current stream of that device;
    RuntimeError where the device has none."""
    if isinstance(x, np.ndarray):
        return _KERNELS[name]
    found = getattr(cuda(), name, None)
    if found is None:
        raise RuntimeError(f"{name}: not available on {device_of(x)}; move the tensor with .to('cpu')")
    return functools.partial(found, stream=cupy().cuda.get_current_stream(x.device.id).ptr)


def parse_device(device: Any) -> str:
    """`device` as "cpu", "cuda" or "cuda:1"; None is the CPU. ValueError for anything else."""
    if device is None:
        return "cpu"
    kind, _, index = str(device).partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(f"device is {device!r}, expected 'cpu', 'cuda' or 'cuda:<index>'")
    if kind == "cpu" or int(index or 0) == 0:
        return kind
    return f"cuda:{int(index)}"


def device_of(x: Array) -> str:
    """The device that holds the array `x`."""
    if isinstance(x, np.ndarray):
        return "cpu"
    return "cuda" if x.device.id == 0 else f"cuda:{x.device.id}"


def to_device(x: Array, device: str) -> Array:
    """`x` on `device`: itself where it is there already, else a copy."""
    if device_of(x) == device:
        return x
    if device == "cpu":
        return x.get()
    cp = cupy()
    with cp.cuda.Device(int(device.partition(":")[2] or 0)):
        return cp.asarray(x)


def empty(shape: tuple[int, ...], dtype: Any, device: str = "cpu") -> Array:
    """An uninitialised C-contiguous array."""
    dtype = np.dtype(dtype)
    if device != "cpu":
        return _empty_on(int(device.partition(":")[2] or 0), shape, dtype)
    if math.prod(shape) * dtype.itemsize < KEPT_BYTES:
        return np.empty(shape, dtype)
    return _core.empty(tuple(shape), dtype)


def empty_like(x: Array, shape: tuple[int, ...] | None = None, dtype: np.dtype | None = None) -> Array:
    """An uninitialised C-contiguous array on the device of `x`, of its shape and dtype where none are given."""
    if isinstance(x, np.ndarray):
        return _core.empty_like(x, shape, dtype)
    return _empty_on(x.device.id, x.shape if shape is None else shape, dtype or x.dtype)


def _empty_on(index: int, shape: tuple[int, ...], dtype: Any) -> Array:
    cp = cupy()
    if cp.cuda.Device().id == index:  # to enter a device takes as long as the array itself
        return cp.empty(shape, dtype)
    with cp.cuda.Device(index):
        return cp.empty(shape, dtype)


def sum_dtype(dtype: np.dtype) -> np.dtype:
    """What numbers of `dtype` are summed in: float32 for 16-bit floats."""
    return _FLOAT32 if dtype.itemsize == 2 else dtype


def compute(ufunc: np.ufunc, *xs: Array) -> Array:
    """ufunc(*xs) of operands of one dtype, which is also the result's; a large result lies in kept memory. ValueError
    for operands on several devices."""
    try:
        return _core.compute(ufunc, *xs)
    except TypeError:  # NumPy's and CuPy's arrays do not mix
        devices = dict.fromkeys(map(device_of, xs))
        if len(devices) == 1:
            raise
        raise ValueError(f"{ufunc.__name__}: operands are on {' and '.join(devices)}, expected one device") from None


def total(x: Array, axes: tuple[int, ...] | None, keepdim: bool = False) -> Array:
    """The sum over `axes`, None for all."""
    y = _core.reduce(SUM, x, axes, keepdim, 0)
    if y is not NotImplemented:
        return y
    if isinstance(x, np.ndarray):
        return _add_reduce(x, axes, keepdims=keepdim)
    return x.sum(axis=axes, keepdims=keepdim)


def spread(x: Array, shape: tuple[int, ...]) -> Array:
    """x broadcast to `shape`: large ones as a view, small ones copied, for views take longer to make."""
    if not isinstance(x, (np.ndarray, np.generic)) or math.prod(shape) * x.itemsize >= KEPT_BYTES:
        return np.broadcast_to(x, shape)
    y = np.empty(shape, x.dtype)
    y[...] = x
    return y


contiguous = _core.contiguous  # None, and what is C-contiguous, as it is, else a copy that is
seen = _core.seen  # `x`, C-contiguous, in another shape; None stays


def as_array(data: Any) -> Array:
    """`data` as an array, without a copy where it is aligned and in native byte order; TypeError for dtypes that are no
    numbers."""
    if not isinstance(data, np.ndarray):
        data = cupy().asarray(data) if hasattr(data, "__cuda_array_interface__") else np.asarray(data)
    if not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))
    if isinstance(data, np.ndarray) and not data.flags.aligned:
        data = data.copy()
    if data.dtype.kind not in "fiub" and data.dtype.name != "bfloat16":
        raise TypeError(f"tensor: data has dtype {data.dtype}, expected floats, integers or booleans")
    return data
