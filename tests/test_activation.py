import numpy as np
import pytest

from jadro.testing.cases import activation


@pytest.mark.parametrize("case", activation.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@pytest.mark.parametrize("function", ["relu", "tanh", "sigmoid"])
def test_in_place(function, backend, dtype):
    xp = backend.xp
    x = np.random.default_rng(0).standard_normal(1003).astype(dtype)
    dy = np.random.default_rng(1).standard_normal(1003).astype(dtype)
    y, dx = xp.empty(1003, dtype), xp.empty(1003, dtype)
    forward, backward = backend.kernel("activation_forward"), backend.kernel("activation_backward")
    forward(function, xp.asarray(x), y)
    backward(function, xp.asarray(dy), y, dx)
    both, grad = xp.asarray(x.copy()), xp.asarray(dy.copy())
    forward(function, both, both)
    backward(function, grad, both, grad)
    np.testing.assert_array_equal(backend.host(both), backend.host(y))
    np.testing.assert_array_equal(backend.host(grad), backend.host(dx))


@pytest.mark.parametrize(("function", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_stays_within_its_bounds_and_never_falls(function, low, high, backend, dtype):
    xp = backend.xp
    x = np.linspace(-60, 60, 20001).astype(dtype)
    y = xp.empty_like(xp.asarray(x))
    backend.kernel("activation_forward")(function, xp.asarray(x), y)
    y = backend.host(y)
    assert low <= y.min() and y.max() <= high
    # neighbours may be out of order by their rounding only
    assert (np.diff(y) >= -4 * np.finfo(dtype).eps).all()


@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_relative_error_of_single_values(function, backend, dtype):
    """Every value, small ones included, within a few units in its last place: no cancellation near zero."""
    xp = backend.xp
    x = np.concatenate([np.logspace(-30, 1, 4001), -np.logspace(-30, 1, 4001)]).astype(dtype)
    y = xp.empty(x.shape, dtype)
    backend.kernel("activation_forward")(function, xp.asarray(x), y)
    wide = x.astype(np.longdouble)
    exact = np.tanh(wide) if function == "tanh" else 1 / (1 + np.exp(-wide))
    np.testing.assert_array_less(np.abs(backend.host(y) - exact), 6 * np.finfo(dtype).eps * np.abs(exact))


def test_unknown_function_is_named():
    from jadro import _core

    with pytest.raises(ValueError, match=r"activation.*swish"):
        _core.activation_forward("swish", np.zeros(3), np.zeros(3))
