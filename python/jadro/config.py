"""What this build and this machine offer: `jadro.show_config()`, threads, the verbose line."""

from __future__ import annotations

import importlib.util
import operator
import os
import platform

import numpy as np

from . import _core
from ._version import __version__


def set_num_threads(n: int) -> None:
    """Sets how many threads kernels use; ValueError outside 1..65535, TypeError for no integer. Results do not depend
    on it."""
    try:
        number = operator.index(n)
    except TypeError:
        raise TypeError(f"set_num_threads: n is {n!r}, expected an integer") from None
    if not 1 <= number < 2**16:
        raise ValueError(f"set_num_threads: n is {number}, expected 1..65535")
    _core.set_num_threads(number)


def get_num_threads() -> int:
    """How many threads kernels use: those the process may run on, or `JADRO_NUM_THREADS`, for which the first use of
    threads raises ValueError where it is not in 1..65535."""
    return _core.get_num_threads()


def verbose(on: bool = True) -> None:
    """Turns the line for each kernel call on or off: op, shape, algorithm, instruction set, threads, ms. Also
    `JADRO_VERBOSE=1`."""
    _core.verbose(bool(on))


_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """What the products of float32 convolutions and recurrent layers may round their operands to on CUDA: "highest"
    (the default) float32 itself, "high" TF32, 10 bits of the mantissa, which runs on tensor cores. Sums stay float32.

    `linear` and `@` are cuBLAS's, which CuPy lets use TF32 where the environment says `CUPY_TF32=1`. On the CPU it
    means nothing. ValueError for another precision.
    """
    global _precision
    if precision not in ("highest", "high"):
        raise ValueError(f"set_float32_matmul_precision: precision is {precision!r}, expected 'highest' or 'high'")
    _precision = precision
    try:
        from . import _cuda
    except ImportError:
        return
    _cuda.allow_tf32(precision == "high")


def get_float32_matmul_precision() -> str:
    """ "highest" or "high", as `set_float32_matmul_precision` left it."""
    return _precision


def _cuda_state() -> str:
    if importlib.util.find_spec("cupy") is None:
        return "no (CuPy is not installed: pip install 'jadro[cuda]')"
    if importlib.util.find_spec("jadro._cuda") is None:
        return "no (this build has no CUDA module: nvcc was not found)"
    import cupy  # type: ignore[import-not-found]

    if not cupy.is_available():
        return "no (CuPy finds no device)"
    return f"yes (CuPy {cupy.__version__}, {cupy.cuda.runtime.getDeviceProperties(0)['name'].decode()})"


def show_config() -> None:
    """Prints version, instruction set in use, threads, CUDA and the optional parts found."""
    optional = ("onnx", "matplotlib", "sklearn", "ml_dtypes")
    found = [name for name in optional if importlib.util.find_spec(name) is not None]
    lines = {
        "jadro": f"{__version__} ({os.path.dirname(__file__)})",
        "Python": f"{platform.python_version()}, NumPy {np.__version__}, {platform.system()} {platform.machine()}",
        "instruction set": f"{_core.isa()} (available: {', '.join(_core.available_isas())})",
        "threads": f"{get_num_threads()}",
        "CUDA": _cuda_state(),
        "optional parts": ", ".join(found) or "none",
    }
    for name, value in lines.items():
        print(f"{name:<16} {value}")
