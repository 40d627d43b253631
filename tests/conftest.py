"""Fixtures: every instruction set and device that is there (`backend`), both dtypes (`dtype`).

`cuda_host` is the CUDA kernels compiled for the CPU (-DJADRO_CUDA_HOST=ON).
"""

import importlib.util
import os
import sys

import numpy as np
import pytest

import jadro
from jadro import _core
from jadro.testing import cases

GUARD = 64  # bytes before and behind each output
CANARY, UNWRITTEN = 0xA5, 0xFF  # 0xFF everywhere is NaN, or -1


def cuda_is_here() -> bool:
    """Whether the CUDA module, CuPy and a device are there."""
    if importlib.util.find_spec("jadro._cuda") is None or importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    return cupy.cuda.is_available()


def backend_names() -> list[str]:
    cuda = ["cuda"] if cuda_is_here() or os.environ.get("JADRO_REQUIRE_GPU") == "1" else []
    host = ["cuda_host"] if importlib.util.find_spec("jadro._cuda_host") is not None else []
    return [*_core.available_isas(), *host, *cuda]


class Backend:
    """One set of kernels, and its arrays: NumPy's (`xp`) or CuPy's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_cuda = name.startswith("cuda")
        if name == "cuda_host":
            from jadro import _cuda_host  # type: ignore[attr-defined]

            self.core, self.xp = _cuda_host, np
        elif name == "cuda":
            import cupy

            from jadro import _cuda

            self.core, self.xp = _cuda, cupy
        else:
            _core.set_isa(name)
            self.core, self.xp = _core, np

    def kernel(self, name):
        """The kernel, or a skip where the CUDA module has none of that name."""
        if self.is_cuda and not hasattr(self.core, name):
            pytest.skip(f"the CUDA module has no {name}")
        return getattr(self.core, name)

    def host(self, array):
        return array if isinstance(array, np.ndarray) else array.get()

    def run(self, case, inputs):
        """The results of a case, on the host, from outputs between canary bytes and from inputs that must stay as
        they are.
        """
        for name in case.kernels:
            self.kernel(name)
        given = {name: self.xp.asarray(array) for name, array in inputs.items()}
        if self.xp is np:
            given = {name: array.copy() for name, array in given.items()}
            for array in given.values():
                array.flags.writeable = False
        buffers = []

        def empty(shape, dtype):
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            buffer = self.xp.full(size + 2 * GUARD, CANARY, np.uint8)
            buffer[GUARD : GUARD + size] = UNWRITTEN
            buffers.append(buffer)
            return buffer[GUARD : GUARD + size].view(dtype).reshape(shape)

        results = case.run(self.core, given, empty)
        for buffer in buffers:
            guards = np.concatenate([self.host(buffer)[:GUARD], self.host(buffer)[-GUARD:]])
            assert (guards == CANARY).all(), f"{case}: wrote outside an output"
        for name, array in given.items():
            np.testing.assert_array_equal(self.host(array), inputs[name], f"{case}: input {name} was changed")
        return {name: self.host(array) for name, array in results.items()}

    def check(self, case, dtype):
        """Runs a case and holds it to the reference by the tolerance rule."""
        cases.assert_close_to_reference(self.run(case, case.make_inputs(dtype)), case)


@pytest.fixture(params=backend_names())
def backend(request):
    before = _core.isa()
    if request.param == "cuda" and not cuda_is_here():
        pytest.fail("JADRO_REQUIRE_GPU is 1, but the CUDA module, CuPy or a device is missing")
    yield Backend(request.param)
    _core.set_isa(before)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=["auto"])
def cuda_device(request, monkeypatch):
    """A device "cuda": CuPy's where there is one, else the stand-in, with its recurrent loop as the parameter says."""
    if cuda_is_here():
        return
    if importlib.util.find_spec("jadro._cuda_host") is None:
        pytest.skip("neither a GPU nor the kernels for the host are there")
    from cupy_stand_in import Native, module

    from jadro import _cuda_host  # type: ignore[attr-defined]

    native = Native(_cuda_host, request.param)
    monkeypatch.setitem(sys.modules, "cupy", module())
    monkeypatch.setitem(sys.modules, "jadro._cuda", native)
    monkeypatch.setattr(jadro, "_cuda", native, raising=False)


@pytest.fixture
def threads():
    """set_num_threads, undone afterwards."""
    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)
