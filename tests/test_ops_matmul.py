"""The matrix product of any ranks: NumPy's rules, any strides, gradients."""

import numpy as np
import pytest

import jadro
from jadro.testing import gradcheck, gradgradcheck

SHAPES = [
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((0, 2, 3), (3, 0)),
    ((2, 0, 3), (2, 3, 4)),
]


def leaf(shape, seed):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_values_and_gradients(a, b):
    a, b = leaf(a, 0), leaf(b, 1)
    y = a @ b
    assert y.shape == np.matmul(a.data, b.data).shape
    np.testing.assert_allclose(y.data, a.data @ b.data, rtol=1e-12, atol=1e-14)
    gradcheck(jadro.matmul, [a, b], directions=1)
    if y.numel():
        gradgradcheck(jadro.matmul, [a, b], directions=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_strides_are_free(dtype):
    rng = np.random.default_rng(0)
    big = rng.standard_normal((40, 60)).astype(dtype)
    for a in (big[::2, ::3], big[::3, ::2].T[:20, :20], big[:20, :20], big.T[:20, :20]):
        square = np.ascontiguousarray(a)[:, : a.shape[1]]
        y = jadro.as_tensor(a) @ jadro.as_tensor(big[: a.shape[1], :7])
        np.testing.assert_allclose(y.data, square @ big[: a.shape[1], :7], rtol=1e-4 if dtype == "float32" else 1e-12)


def test_integers_and_mixed_dtypes():
    a = np.arange(6).reshape(2, 3)
    y = jadro.tensor(a) @ jadro.tensor(a.T)
    assert y.dtype == np.int64 and y.tolist() == (a @ a.T).tolist()
    assert (jadro.ones(2, 3) @ jadro.ones(3, 2, dtype="float64")).dtype == np.float64


def test_arrays_on_either_side():
    t, a = leaf((3, 3), 0), np.eye(3)
    assert (a @ t).requires_grad and (t @ a).requires_grad


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (4, 2)), ((3,), (4,)), ((2, 3), (4,)), ((), (3,)), ((2, 2, 3), (3, 3, 2))]
)
def test_shapes_that_do_not_fit(a, b):
    with pytest.raises(ValueError, match="matmul: shapes"):
        jadro.zeros(*a) @ jadro.zeros(*b)
