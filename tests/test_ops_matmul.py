"""The matrix product of any ranks: NumPy's rules, any strides, gradients."""

import numpy as np
import pytest

import jadro
from jadro import _core
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


def batches(dtype="float64"):
    """Batches of every layout: side by side, heads between rows, broadcast on either side, reversed, scattered."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, (6, 8, *shape)).astype(dtype) for shape in ((33, 20), (20, 19)))
    heads, narrow = a.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3), b.swapaxes(2, 3).copy().swapaxes(2, 3)
    return {
        "plain": (a, b),
        "heads": (heads, narrow),
        "a_broadcast": (a[:1], b),
        "b_broadcast": (a[:, :1], b[0]),
        "rows_joined": (a, b[:1, :1]),
        "rows_not_joined": (heads, b[:1, :1]),
        "reversed": (a[::-1, :, ::-1], b[:, ::-1]),
        "scattered": (a[..., ::2], b[:, :, 1::2, ::3]),
        "rows": (a[:, :, :1], b),
        "columns": (a, b[..., :1]),
        "few_large": (np.tile(a[0, :3], (1, 8, 1)), np.tile(b[0, :3], (1, 1, 8))),
    }


@pytest.mark.parametrize("layout", batches())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batches_of_any_layout(layout, dtype):
    """Integers multiply exactly in any order."""
    a, b = batches(dtype)[layout]
    np.testing.assert_array_equal((jadro.as_tensor(a) @ jadro.as_tensor(b)).data, np.matmul(a, b))


@pytest.mark.parametrize("count", [3, 40])
def test_batches_are_the_same_bits_on_any_number_of_threads(count, threads):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((count, 70, 60)), rng.standard_normal((count, 60, 50))
    found = []
    for number in (1, 2, 3, 7):
        threads(number)
        found.append((jadro.as_tensor(a) @ jadro.as_tensor(b)).data)
    assert all(np.array_equal(found[0], y) for y in found)


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


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "expected NumPy arrays", (np.ones((2, 3)),)),
        (TypeError, "expected NumPy arrays", (np.ones((2, 3)), [1.0], None, False, False)),
        (TypeError, "a has dtype int64", (np.ones((2, 3), int), np.ones((3, 4)), None, False, False)),
        (TypeError, "different dtypes", (np.ones((2, 3)), np.ones((3, 4), np.float32), None, False, False)),
        (ValueError, "two of b", (np.ones((2, 3)), np.ones(3), None, False, False)),
        (ValueError, "inner sizes", (np.ones((2, 3)), np.ones((3, 4)), None, True, False)),
        (ValueError, "leading axes", (np.ones((2, 2, 3)), np.ones((3, 3, 4)), None, False, False)),
        (ValueError, "bias has shape", (np.ones((2, 3)), np.ones((3, 4)), np.ones(3), False, False)),
    ],
)
def test_what_the_kernel_refuses(error, message, arguments):
    with pytest.raises(error, match=f"matmul: .*{message}"):
        _core.matmul(*arguments)
