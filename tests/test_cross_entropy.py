import numpy as np
import pytest

import jadro.nn.functional as F
from jadro import _core
from jadro.testing.cases import cross_entropy


@pytest.mark.parametrize("case", cross_entropy.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


def test_equal_scores_cost_log_of_the_classes(backend, dtype):
    xp = backend.xp
    x, target = xp.full((4, 10), 7.0, dtype), xp.asarray([0, 3, 9, 5])
    losses, lse = xp.empty(4, dtype), xp.empty(4, dtype)
    backend.kernel("cross_entropy_forward")(x, target, None, losses, lse, -100, 0.0)
    np.testing.assert_allclose(backend.host(losses), np.log(10), rtol=4 * np.finfo(dtype).eps)


def test_gradient_rows_sum_to_zero(backend, dtype):
    xp = backend.xp
    rng = np.random.default_rng(0)
    x, target = xp.asarray(rng.standard_normal((6, 33)).astype(dtype)), xp.asarray(rng.integers(0, 33, 6))
    losses, lse, dx = xp.empty(6, dtype), xp.empty(6, dtype), xp.empty((6, 33), dtype)
    backend.kernel("cross_entropy_forward")(x, target, None, losses, lse, -100, 0.2)
    backend.kernel("cross_entropy_backward")(x, target, None, lse, xp.ones(6, dtype), dx, -100, 0.2)
    np.testing.assert_allclose(backend.host(dx).sum(axis=1), 0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("bad", [10, -1, 2**40, -(2**63)])
def test_target_out_of_range_names_it_and_writes_nothing(bad, dtype):
    target = np.array([1, 2, bad])
    x, losses, lse = np.zeros((3, 10), dtype), np.full(3, 7, dtype), np.full(3, 7, dtype)
    dx = np.full((3, 10), 7, dtype)
    with pytest.raises(ValueError, match=f"cross_entropy.*target.*{bad}"):
        _core.cross_entropy_forward(x, target, None, losses, lse, -100, 0.0)
    with pytest.raises(ValueError, match=f"cross_entropy.*target.*{bad}"):
        _core.cross_entropy_backward(x, target, None, lse, losses, dx, -100, 0.0)
    assert (losses == 7).all() and (lse == 7).all() and (dx == 7).all()


def test_nan_stays_in_its_row(backend, dtype):
    xp = backend.xp
    x, target = xp.zeros((3, 5), dtype), xp.asarray([0, 1, 2])
    x[1, 4] = np.nan
    losses, lse = xp.empty(3, dtype), xp.empty(3, dtype)
    backend.kernel("cross_entropy_forward")(x, target, None, losses, lse, -100, 0.0)
    np.testing.assert_array_equal(np.isnan(backend.host(losses)), [False, True, False])


def test_probabilities_have_no_class_to_ignore():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="ignore_index is 1, expected none"):
        F.cross_entropy(x, x, ignore_index=1)


def test_an_impossible_class_costs_nothing_to_the_others(backend, dtype):
    """A score of -inf (a masked class) is a probability of zero, with gradient zero."""
    xp = backend.xp
    x, target = xp.zeros((2, 4), dtype), xp.asarray([0, 2])
    x[:, 1] = -np.inf
    losses, lse, dx = xp.empty(2, dtype), xp.empty(2, dtype), xp.empty((2, 4), dtype)
    backend.kernel("cross_entropy_forward")(x, target, None, losses, lse, -100, 0.0)
    backend.kernel("cross_entropy_backward")(x, target, None, lse, xp.ones(2, dtype), dx, -100, 0.0)
    np.testing.assert_allclose(backend.host(losses), np.log(3), rtol=4 * np.finfo(dtype).eps)
    assert (backend.host(dx)[:, 1] == 0).all()
