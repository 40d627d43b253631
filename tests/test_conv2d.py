import re
from dataclasses import replace

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro.testing import cases
from jadro.testing.cases import conv2d

OPTIONS = ((1, 1), (1, 1, 1, 1), (1, 1), 1)  # stride, padding, dilation, groups


@pytest.mark.parametrize("case", conv2d.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@pytest.mark.parametrize("algorithm", ["direct", "im2col", "winograd"])
@pytest.mark.parametrize("case", conv2d.CASES, ids=str)
def test_every_algorithm_matches_the_reference(case, algorithm, backend, dtype):
    """All that a forced algorithm accepts it must compute; it may refuse, but then says why."""
    inputs = case.make_inputs(dtype)
    if backend.is_cuda and algorithm == "winograd":
        with pytest.raises(RuntimeError, match=r"conv2d_\w+: algorithm 'winograd' is not available on cuda"):
            backend.run(replace(case, algorithm=algorithm), inputs)
        return
    try:
        results = backend.run(replace(case, algorithm=algorithm), inputs)
    except ValueError as error:
        assert algorithm == "winograd" and re.search(r"'winograd'.*kernels of \(2, 2\).*; kernel \(", str(error))
        assert not case.winograd_serves
        return
    cases.assert_close_to_reference(results, case)


def test_unknown_algorithm_is_named():
    from jadro import _core

    x, w, y = np.zeros((1, 2, 5, 5)), np.zeros((3, 2, 3, 3)), np.zeros((1, 3, 5, 5))
    with pytest.raises(ValueError, match=r"conv2d.*algorithm.*fastest"):
        _core.conv2d_forward(x, w, None, y, *OPTIONS, algorithm="fastest")


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (3, 1), (5, 1), (3, 2), (4, 2), (5, 2), (6, 2)])
@pytest.mark.parametrize("channels", [16, 64, 256])
def test_winograd_is_within_a_hundred_thousandth_of_the_exact_result(channels, size, stride, backend):
    """Of the largest element, on random data: the accuracy that single precision must keep."""
    if backend.is_cuda:
        pytest.skip("no Winograd on cuda")
    image, kernel, strides = (14 * stride, 15 * stride), (size, size), (stride, stride)
    case = conv2d.Conv2dCase("accuracy", 2, channels, image, 32, kernel, strides, (1,) * 4, algorithm="winograd")
    inputs = case.make_inputs(np.float32)
    results, (exact, _) = backend.run(case, inputs), cases.expected(case, np.dtype(np.float32))
    for name in ("y", "dx", "dw"):
        error = np.abs(results[name] - exact[name]).max() / np.abs(exact[name]).max()
        assert error < 1e-5, f"{name}: {error:.2g}"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_winograd_keeps_nan_and_infinity_where_they_belong(value, stride, backend, dtype):
    if backend.is_cuda:
        pytest.skip("no Winograd on cuda")
    kernel, strides = (4, 4) if stride == 2 else (3, 3), (stride, stride)
    case = conv2d.Conv2dCase("special", 2, 17, (9, 10), 20, kernel, strides, (1,) * 4, algorithm="winograd")
    inputs = case.make_inputs(dtype)
    inputs["x"][1, 3, 4, 2] = value
    inputs["dy"][0, 5, -1, -1] = value
    results, direct = backend.run(case, inputs), backend.run(replace(case, algorithm="direct"), inputs)
    for name, result in results.items():
        np.testing.assert_array_equal(np.isfinite(result), np.isfinite(direct[name]), name)


def test_outputs_count_pixels_exactly(backend, dtype):
    """An image and a filter of ones count the taps that meet the image."""
    forward, xp = backend.kernel("conv2d_forward"), backend.xp
    x, w, y = xp.ones((1, 1, 6, 7), dtype), xp.ones((1, 1, 3, 3), dtype), xp.empty((1, 1, 6, 7), dtype)
    forward(x, w, None, y, *OPTIONS)
    rows, columns = np.array([2, 3, 3, 3, 3, 2]), np.array([2, 3, 3, 3, 3, 3, 2])
    np.testing.assert_array_equal(backend.host(y)[0, 0], np.outer(rows, columns))


def test_a_nan_reaches_its_neighbours_only(backend, dtype):
    forward, xp = backend.kernel("conv2d_forward"), backend.xp
    x, w, y = xp.ones((1, 2, 9, 9), dtype), xp.ones((5, 2, 3, 3), dtype), xp.empty((1, 5, 9, 9), dtype)
    x[0, 1, 4, 2] = np.nan
    forward(x, w, None, y, *OPTIONS)
    expected = np.zeros((5, 9, 9), bool)
    expected[:, 3:6, 1:4] = True
    np.testing.assert_array_equal(np.isnan(backend.host(y)[0]), expected)


def test_relu_hands_nan_on(backend, dtype):
    forward, xp = backend.kernel("conv2d_forward"), backend.xp
    x, w, y = xp.full((1, 1, 2, 2), np.nan, dtype), xp.ones((1, 1, 1, 1), dtype), xp.empty((1, 1, 2, 2), dtype)
    forward(x, w, None, y, (1, 1), (0, 0, 0, 0), (1, 1), 1, relu=True)
    assert np.isnan(backend.host(y)).all()


def test_large_strided_images_are_those_of_each_alone():
    """A stride with one cell in the kernel: the cells that are met are taken out of some images at a time."""
    rng = np.random.default_rng(0)
    x, w = (
        jadro.tensor(rng.integers(-3, 4, s).astype(np.float64), requires_grad=True)
        for s in ((5, 2, 900, 902), (3, 2, 1, 1))
    )
    y = F.conv2d(x, w, stride=2, padding=1)
    dy = rng.integers(-3, 4, y.shape).astype(np.float64)
    dx, dw = jadro.grad(y, [x, w], jadro.tensor(dy))
    met, taken = x.data[:, :, 1::2, 1::2], dy[:, :, 1:, 1:]
    np.testing.assert_array_equal(y.data[:, :, 1:, 1:], np.einsum("fc,nchw->nfhw", w.data[:, :, 0, 0], met))
    assert not y.data[:, :, 0].any() and not y.data[:, :, :, 0].any()
    np.testing.assert_array_equal(dw.data[:, :, 0, 0], np.einsum("nfhw,nchw->fc", taken, met))
    expected = np.zeros(x.shape)
    expected[:, :, 1::2, 1::2] = np.einsum("fc,nfhw->nchw", w.data[:, :, 0, 0], taken)
    np.testing.assert_array_equal(dx.data, expected)


def test_bias_of_nothing(backend, dtype):
    """Pixels that see only padding are the bias."""
    forward, xp = backend.kernel("conv2d_forward"), backend.xp
    x, w = xp.ones((1, 1, 1, 1), dtype), xp.ones((2, 1, 1, 1), dtype)
    b, y = xp.asarray([3.0, -4.0], dtype), xp.empty((1, 2, 3, 3), dtype)
    forward(x, w, b, y, *OPTIONS)
    expected = np.broadcast_to(np.array([3.0, -4.0])[:, None, None], (2, 3, 3)).copy()
    expected[:, 1, 1] += 1
    np.testing.assert_array_equal(backend.host(y)[0], expected)


def test_an_epilogue_that_does_not_fit_is_named():
    from jadro import _core

    x, w, y = np.zeros((1, 2, 5, 5)), np.zeros((3, 2, 3, 3)), np.ones((1, 3, 5, 5))
    for wrong in ({"scale": np.zeros(2)}, {"add": np.zeros((1, 3, 5, 4))}):
        with pytest.raises(ValueError, match=f"conv2d_forward: {next(iter(wrong))} has shape"):
            _core.conv2d_forward(x, w, None, y, *OPTIONS, **wrong)
    with pytest.raises(TypeError, match="conv2d_forward: add has dtype"):
        _core.conv2d_forward(x, w, None, y, *OPTIONS, add=np.zeros((1, 3, 5, 5), np.float32))
    assert (y == 1).all()
