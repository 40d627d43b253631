"""Instruction sets, threads, kept memory and the verbose line."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jadro import _core


def in_child(code, **environment):
    """stdout of a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    return result.returncode, result.stdout.strip(), result.stderr.strip()


def test_every_instruction_set_can_be_forced():
    for name in _core.available_isas():
        assert in_child("from jadro import _core; print(_core.isa())", JADRO_ISA=name) == (0, name, "")


def test_an_unknown_instruction_set_is_an_error():
    before = _core.isa()
    with pytest.raises(ValueError, match=r"'sse9' .* baseline|'sse9' .* neon"):
        _core.set_isa("sse9")
    assert _core.isa() == before
    code, _, error = in_child("from jadro import _core; _core.isa()", JADRO_ISA="sse9")
    assert code == 1 and "ValueError" in error and "sse9" in error


def test_number_of_threads_from_the_environment():
    code = "from jadro import _core; print(_core.get_num_threads())"
    assert in_child(code, JADRO_NUM_THREADS="3") == (0, "3", "")
    expected = str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else str(os.cpu_count())
    assert in_child(code, JADRO_NUM_THREADS="") == (0, expected, "")
    for wrong in ("0", "-2", "many", "2x", "65536", "9" * 30):
        status, _, error = in_child(code, JADRO_NUM_THREADS=wrong)
        assert status == 1 and f"ValueError: JADRO_NUM_THREADS is '{wrong}', expected 1..65535" in error


def test_bad_numbers_of_threads(threads):
    threads(2)
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"set_num_threads: n is {n}"):
            _core.set_num_threads(n)
    with pytest.raises(TypeError):
        _core.set_num_threads(2**40)
    assert _core.get_num_threads() == 2


@pytest.mark.parametrize("shape", [(3, 4), (), (0, 5), (7,)])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, "int32", bool])
def test_empty_arrays(shape, kind):
    array = _core.empty(shape, kind)
    assert array.shape == shape and array.dtype == np.dtype(kind)
    assert array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % 64 == 0
    array[...] = 1
    assert (array == 1).all()


def test_impossible_arrays():
    with pytest.raises(ValueError, match="empty"):
        _core.empty((2, -1), np.float32)
    with pytest.raises(TypeError):
        _core.empty((2, 3), "no dtype")
    for shape in ((2**31, 2**31, 2**31), (2**62,), (2**63 - 1, 2)):
        with pytest.raises((MemoryError, ValueError)):
            _core.empty(shape, np.float64)
    with pytest.raises((TypeError, ValueError)):  # NumPy would read the memory as pointers
        _core.empty((3,), object)


def test_freed_memory_is_kept_and_handed_out_again():
    _core.release_memory()
    before, kept = _core.kept_memory()
    assert kept == 0
    array = _core.empty((1000, 1000), np.float32)
    address = array.ctypes.data
    assert _core.kept_memory()[0] >= before + array.nbytes
    del array
    in_use, kept = _core.kept_memory()
    assert in_use == before and kept >= 4_000_000
    again = _core.empty((1000, 1000), np.float32)
    assert again.ctypes.data == address
    del again
    _core.release_memory()
    assert _core.kept_memory() == (before, 0)


def test_memory_outlives_whoever_made_it():
    """A view keeps its array's block out of the free list."""
    view = _core.empty((100, 100), np.float64)[10:20]
    view[...] = 7
    others = [_core.empty((100, 100), np.float64) for _ in range(3)]
    for other in others:
        other[...] = 1
    assert (view == 7).all()


def test_the_verbose_line_names_the_call(capfd):
    x, y = np.ones(70000, np.float32), np.ones(70000, np.float32)
    a = np.ones((64, 64), np.float32)
    _core.verbose(True)
    try:
        _core.activation_forward("tanh", x, y)
        _core.gemm(a, a, np.empty_like(a))
    finally:
        _core.verbose(False)
    _core.activation_forward("tanh", x, y)
    captured = capfd.readouterr()
    lines = (captured.out + captured.err).splitlines()
    assert len(lines) == 2
    assert "activation" in lines[0] and "70000" in lines[0] and _core.isa() in lines[0] and "ms" in lines[0]
    assert "gemm" in lines[1] and "64" in lines[1] and _core.isa() in lines[1]


def test_version():
    import jadro

    assert _core.__version__ == jadro.__version__
