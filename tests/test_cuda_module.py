"""The CUDA module as far as a machine without a GPU can hold it: its stub, its functions, the checks of its arguments.

Arrays that only say they are CUDA's stand in for CuPy's: every check comes before the first use of a device.
"""

import ast
import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import jadro
from jadro.testing import cases
from jadro.testing.cases import pool2d

PACKAGE = Path(jadro.__file__).parent
HALVES = ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1))  # kernel, stride, padding, dilation

needs_module = pytest.mark.skipif(
    importlib.util.find_spec("jadro._cuda") is None, reason="the CUDA module was not built (no nvcc)"
)


def stub_functions(module):
    tree = ast.parse((PACKAGE / f"{module}.pyi").read_text())
    return {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.fixture
def cuda():
    from jadro import _cuda

    return _cuda


class Claimed:
    """An array of the host that says it is CUDA's, with some items of the interface replaced."""

    def __init__(self, array, **replaced):
        self.array = array  # keeps the memory
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 3, **replaced}


def test_the_kernels_take_the_arguments_of_the_cpu():
    """Each of _cuda's kernels is one of _core's with the same positional arguments; all else is by keyword."""
    core, cuda = stub_functions("_core"), stub_functions("_cuda")
    assert cuda.pop("device_count").args == []
    assert [a.arg for a in cuda.pop("allow_tf32").args] == ["allowed"]
    assert cuda
    for name, args in cuda.items():
        assert [a.arg for a in args.args] == [a.arg for a in core[name].args], name
        assert args.kwonlyargs[-1].arg == "stream", name


@needs_module
def test_the_stub_lists_every_function(cuda):
    built = {name for name in dir(cuda) if not name.startswith("_")}
    assert built == set(stub_functions("_cuda"))


@needs_module
def test_signatures_are_those_of_the_stub(cuda):
    for name, args in stub_functions("_cuda").items():
        signature = getattr(cuda, name).__doc__.splitlines()[0]
        places = [re.search(rf"\b{a.arg}: ", signature).start() for a in [*args.args, *args.kwonlyargs]]
        assert places == sorted(places), signature


@needs_module
def test_version_is_the_package_s(cuda):
    assert cuda.__version__ == jadro._core.__version__


@needs_module
def test_device_count_needs_no_driver(cuda):
    assert cuda.device_count() >= 0


def arrays():
    return {
        "x": np.zeros((1, 2, 4, 6), np.float32),
        "y": np.zeros((1, 2, 2, 3), np.float32),
        "indices": np.zeros((1, 2, 2, 3), np.int32),
    }


def forward(cuda, options=HALVES, **given):
    cuda.max_pool2d_forward(*{**{k: Claimed(v) for k, v in arrays().items()}, **given}.values(), *options)


def backward(cuda, window=HALVES, **given):
    a = arrays()
    claimed = {"dy": Claimed(a["y"]), "indices": Claimed(a["indices"]), "dx": Claimed(a["x"])}
    cuda.max_pool2d_backward(*{**claimed, **given}.values(), window=window)


@needs_module
@pytest.mark.parametrize("argument", ["x", "y", "indices"])
def test_forward_refuses_arrays_of_the_cpu(cuda, argument):
    message = f"max_pool2d_forward: {argument} is a numpy.ndarray, expected a CuPy array"
    with pytest.raises(TypeError, match=message):
        forward(cuda, **{argument: arrays()[argument]})


@needs_module
@pytest.mark.parametrize("argument", ["dy", "indices", "dx"])
def test_backward_refuses_arrays_of_the_cpu(cuda, argument):
    array = arrays()[{"dy": "y", "dx": "x"}.get(argument, argument)]
    with pytest.raises(TypeError, match=f"max_pool2d_backward: {argument} is a numpy.ndarray, expected a CuPy array"):
        backward(cuda, **{argument: array})


FIRST = list({case.kernels: case for case in reversed(cases.ALL)}.values())  # a case of each kernel


@needs_module
@pytest.mark.parametrize("case", FIRST, ids=str)
def test_every_kernel_refuses_arrays_of_the_cpu(cuda, case):
    if not all(hasattr(cuda, name) for name in case.kernels):
        pytest.skip("the CUDA module has no such kernel")
    with pytest.raises(TypeError, match=r"^\w+: \w+(\[0\])? is a numpy\.ndarray, expected a CuPy array"):
        case.run(cuda, case.make_inputs(np.float32))


ONES = np.ones((1, 2, 4, 6), np.float32)
BAD_ARRAYS = {
    "integers": (TypeError, "x has dtype int32, expected float16, bfloat16, float32 or", {"x": ONES.astype("i4")}),
    "byte-swapped": (TypeError, "x has dtype >f4, expected float16", {"x": ONES.astype(">f4")}),
    "rank": (ValueError, r"x has shape \(2, 4, 6\), expected 4 or 5 dimensions", {"x": ONES[0]}),
    "result's shape": (ValueError, r"y has shape \(1, 2, 4, 6\), expected \(1, 2, 2, 3\)", {"y": ONES}),
    "result's dtype": (TypeError, "y has dtype float64, expected float32", {"y": np.ones((1, 2, 2, 3))}),
    "indices' dtype": (TypeError, "indices has dtype int64, expected int32", {"indices": np.ones((1, 2, 2, 3), int)}),
    "transposed": (ValueError, "x is not contiguous", {"x": np.ones((1, 2, 6, 4), np.float32).swapaxes(2, 3)}),
    "every other": (ValueError, "x is not contiguous", {"x": np.ones((1, 2, 4, 12), np.float32)[..., ::2]}),
}


@needs_module
@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays(cuda, name):
    error, message, given = BAD_ARRAYS[name]
    with pytest.raises(error, match=f"max_pool2d_forward: {message}"):
        forward(cuda, **{argument: Claimed(array) for argument, array in given.items()})


class Plain:
    """What the module reads of CuPy's arrays."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.flags = array, array.shape, array.dtype, array.flags
        self.data = types.SimpleNamespace(ptr=array.ctypes.data)


@needs_module
def test_cupy_s_arrays_are_read_without_their_interface(cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=Plain))
    with pytest.raises(ValueError, match="max_pool2d_forward: x is not contiguous"):
        forward(cuda, x=Plain(np.ones((1, 2, 6, 4), np.float32).swapaxes(2, 3)))
    with pytest.raises(TypeError, match="max_pool2d_forward: x has dtype int32"):
        forward(cuda, x=Plain(ONES.astype("i4")))


BAD_INTERFACES = {
    "masked": (TypeError, "x is masked", {"mask": Claimed(ONES)}),
    "no shape": (TypeError, "x has a __cuda_array_interface__ that cannot be read", {"shape": None}),
    "short strides": (TypeError, "x has a __cuda_array_interface__ that cannot be read", {"strides": (4,)}),
    "unaligned": (ValueError, "x is not aligned", {"data": (ONES.ctypes.data + 1, False)}),
}


@needs_module
@pytest.mark.parametrize("name", BAD_INTERFACES)
def test_bad_interfaces(cuda, name):
    error, message, replaced = BAD_INTERFACES[name]
    with pytest.raises(error, match=f"max_pool2d_forward: {message}"):
        forward(cuda, x=Claimed(ONES, **replaced))


@needs_module
def test_read_only_results(cuda):
    y, dx = arrays()["y"], arrays()["x"]
    with pytest.raises(ValueError, match="max_pool2d_forward: y is read-only"):
        forward(cuda, y=Claimed(y, data=(y.ctypes.data, True)))
    with pytest.raises(ValueError, match="max_pool2d_backward: dx is read-only"):
        backward(cuda, dx=Claimed(dx, data=(dx.ctypes.data, True)))


BAD_OPTIONS = {
    "no kernel": (r"kernel is \(0, 2\), expected each from 1 to", ((0, 2), *HALVES[1:])),
    "stride back": (r"stride is \(-1, 1\), expected each from 1 to", (HALVES[0], (-1, 1), *HALVES[2:])),
    "negative padding": (
        r"padding is \(0, -1, 0, 0\), expected each from 0 to",
        (*HALVES[:2], (0, -1, 0, 0), HALVES[3]),
    ),
    "no dilation": (r"dilation is \(0, 1\), expected each from 1 to", (*HALVES[:3], (0, 1))),
    "window too large": (
        "x has height 4 and padding 0, expected at least the window, 5",
        ((5, 1), *HALVES[1:]),
    ),
}


@needs_module
@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options(cuda, name):
    message, options = BAD_OPTIONS[name]
    with pytest.raises(ValueError, match=f"max_pool2d_forward: {message}"):
        forward(cuda, options)
    with pytest.raises(ValueError, match=f"max_pool2d_backward: {message}"):
        backward(cuda, options)


@needs_module
def test_the_window_gives_dy_its_shape(cuda):
    with pytest.raises(ValueError, match=r"max_pool2d_backward: dy has shape \(1, 2, 2, 3\), expected \(1, 2, 4, 6\)"):
        backward(cuda, ((1, 1), (1, 1), *HALVES[2:]))


@needs_module
def test_empty_batches_need_no_device(cuda):
    x, y = np.empty((0, 2, 4, 6), np.float32), np.empty((0, 2, 2, 3), np.float32)
    assert cuda.max_pool2d_forward(Claimed(x, data=(0, False)), Claimed(y, data=(0, False)), None, *HALVES) is None


@needs_module
@pytest.mark.parametrize("window", [HALVES, None], ids=["window", "plane"])
def test_memory_of_the_host_is_refused(cuda, window):
    """By the driver's word where there is one, else because there is none; nothing is written."""
    dx = arrays()["x"] + 5
    with pytest.raises((ValueError, RuntimeError), match=r"max_pool2d_backward: (dy is not in a device's|CUDA says)"):
        backward(cuda, window, dx=Claimed(dx))
    assert (dx == 5).all()


@pytest.mark.parametrize("case", [c for c in pool2d.CASES if isinstance(c, pool2d.MaxPool2dCase)], ids=str)
def test_backward_with_its_windows(case, backend, dtype):
    """The CUDA kernel adds in the order of the CPU's and of the reference: the same bits."""
    xp, inputs = backend.xp, case.make_inputs(dtype)
    expected = case.reference(inputs)
    window = {"window": (case.kernel, case.stride, case.padding, case.dilation)} if backend.is_cuda else {}
    dx = xp.empty(inputs["x"].shape, dtype)
    indices = xp.asarray(expected["indices"].astype(np.int32))
    backend.kernel("max_pool2d_backward")(xp.asarray(inputs["dy"]), indices, dx, **window)
    np.testing.assert_array_equal(backend.host(dx), expected["dx"].astype(dtype))
