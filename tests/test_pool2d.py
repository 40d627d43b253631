import numpy as np
import pytest

from jadro.testing.cases import pool2d

HALVES = ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1))  # kernel, stride, padding, dilation


@pytest.mark.parametrize("case", pool2d.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@pytest.mark.parametrize("case", pool2d.CASES, ids=str)
def test_without_indices(case, backend, dtype):
    forward, xp = backend.kernel("max_pool2d_forward"), backend.xp
    inputs = case.make_inputs(dtype)
    y = xp.empty(case.outputs()["y"], dtype)
    forward(xp.asarray(inputs["x"]), y, None, case.kernel, case.stride, case.padding, case.dilation)
    np.testing.assert_array_equal(backend.host(y), case.reference(inputs)["y"])


@pytest.mark.parametrize("position", range(4))
def test_each_place_of_the_window_can_win(position, backend, dtype):
    xp = backend.xp
    x, y, indices = xp.zeros((1, 1, 2, 2), dtype), xp.empty((1, 1, 1, 1), dtype), xp.empty((1, 1, 1, 1), np.int32)
    x[0, 0, position // 2, position % 2] = 5
    backend.kernel("max_pool2d_forward")(x, y, indices, *HALVES)
    assert (backend.host(y).item(), backend.host(indices).item()) == (5, position)


def test_negative_zero_ties_with_zero(backend, dtype):
    xp = backend.xp
    x, y, indices = xp.zeros((1, 1, 2, 2), dtype), xp.empty((1, 1, 1, 1), dtype), xp.empty((1, 1, 1, 1), np.int32)
    x[0, 0, 0, 0] = -0.0
    backend.kernel("max_pool2d_forward")(x, y, indices, *HALVES)
    assert backend.host(indices).item() == 0 and np.signbit(backend.host(y).item())


def test_overlapping_windows_add_up(backend, dtype):
    """One peak in the middle wins all nine windows of 3x3 with stride 1 that see it."""
    xp = backend.xp
    x, y, indices = xp.zeros((1, 1, 5, 5), dtype), xp.empty((1, 1, 3, 3), dtype), xp.empty((1, 1, 3, 3), np.int32)
    x[0, 0, 2, 2] = 1
    backend.kernel("max_pool2d_forward")(x, y, indices, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1))
    dx = xp.empty((1, 1, 5, 5), dtype)
    backend.kernel("max_pool2d_backward")(xp.ones((1, 1, 3, 3), dtype), indices, dx)
    expected = np.zeros((5, 5))
    expected[2, 2] = 9
    np.testing.assert_array_equal(backend.host(dx)[0, 0], expected)
