import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jadro
import jadro.nn.functional as F
from jadro.testing import gradgradcheck
from jadro.testing.cases import softmax

rng = np.random.default_rng(0)


@pytest.mark.parametrize("case", softmax.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data(), st.sampled_from(["softmax", "log_softmax"]))
@settings(max_examples=50, deadline=None)
def test_drawn_shapes_against_torch(shape, data, name):
    torch = pytest.importorskip("torch")
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x, dy = rng.standard_normal(shape) * 5, rng.standard_normal(shape)
    mine, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = getattr(F, name)(mine, dim), getattr(torch.nn.functional, name)(theirs, dim)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_differentiates_twice(function, dim):
    gradgradcheck(lambda x: function(x, dim) ** 2, [jadro.tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)])


@pytest.mark.parametrize("shape", [(3, 20), (20, 3)])
def test_nan_and_infinity_stay_where_they_are(shape, dtype):
    torch = pytest.importorskip("torch")
    axis = 1 if shape[1] == 20 else 0
    x = rng.standard_normal(shape).astype(dtype)
    rows = x if axis else x.T
    rows[0, 4], rows[1, :] = np.nan, -np.inf
    rows[2, 5] = -np.inf
    for name in ("softmax", "log_softmax"):
        y = getattr(F, name)(x, axis).numpy()
        theirs = getattr(torch, name)(torch.tensor(x), axis).numpy()
        np.testing.assert_allclose(y, theirs, rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_any_strides():
    x = jadro.tensor(rng.standard_normal((4, 5)), requires_grad=True)
    y = F.softmax(x.transpose(0, 1), 1)
    np.testing.assert_array_equal(y.numpy(), F.softmax(x.numpy().T.copy(), 1).numpy())
