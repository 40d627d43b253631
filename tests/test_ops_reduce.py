"""Reductions over every kind of axis, against NumPy and PyTorch, and their gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jadro
import jadro.nn.functional as F
from jadro.testing import gradcheck, gradgradcheck

SHAPE = (3, 4, 5)
AXES = [None, 0, -1, (0, 2), (1,), [0, 1, 2]]


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var", "std"])
def test_values_and_gradients(name, axis, keepdim):
    x = leaf(*SHAPE)
    numpy = {"amax": np.max, "amin": np.min}.get(name, getattr(np, name))
    options = {"ddof": 1} if name in ("var", "std") else {}
    expected = numpy(x.data, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdim, **options)
    np.testing.assert_allclose(getattr(x, name)(axis, keepdim=keepdim).data, expected, rtol=1e-12)
    gradcheck(lambda x: getattr(x, name)(axis, keepdim=keepdim), [x], directions=1)


def test_dim_and_axis_are_one_argument():
    x = leaf(*SHAPE)
    np.testing.assert_array_equal(x.sum(axis=1).data, x.sum(dim=1).data)
    with pytest.raises(TypeError, match="both dim and axis"):
        x.sum(dim=1, axis=1)
    for bad, message in ((3, "dim is 3, expected -3..2"), ((0, 0), "each axis once")):
        with pytest.raises(ValueError, match=message):
            x.sum(bad)
    with pytest.raises(TypeError, match="expected an integer"):
        x.sum(1.5)


def test_scalars_reduce_to_themselves():
    x = jadro.tensor(3.0, requires_grad=True)
    assert x.sum(0).shape == () and x.mean(-1).item() == 3.0 and x.max(0).values.item() == 3.0
    assert x.prod(0).shape == x.norm(2, 0).shape == x.cumsum(-1).shape == ()
    assert F.softmax(x, 0).item() == 1.0 and F.log_softmax(x, -1).item() == 0.0
    with pytest.raises(ValueError, match="dim is 1"):
        x.sum(1)


def test_dtypes_of_sums():
    assert jadro.ones(3, dtype="bool").sum().dtype == np.int64
    assert jadro.ones(3, dtype="int32").sum().item() == 3
    assert jadro.tensor([1, 2]).mean().dtype == np.float32
    assert jadro.ones(3).sum(dtype="float64").dtype == np.float64


@pytest.mark.parametrize("p", [1, 2, 3, 0, 1.5, np.inf, -np.inf, "fro"])
@pytest.mark.parametrize("dim", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_norms(p, dim, keepdim):
    x = leaf(3, 4)
    size = 2 if p == "fro" else p
    powers = {0: lambda v: v != 0, np.inf: np.abs, -np.inf: np.abs}.get(size, lambda v: np.abs(v) ** size)(x.data)
    take = {np.inf: np.max, -np.inf: np.min}.get(size, np.sum)(powers, axis=dim, keepdims=keepdim)
    expected = take if size == 0 or np.isinf(size) else take ** (1 / size)
    np.testing.assert_allclose(x.norm(p, dim, keepdim).data, expected, rtol=1e-12)
    if size != 0:
        gradcheck(lambda x: x.norm(p, dim, keepdim), [x])


def test_the_norm_of_nothing_has_no_slope():
    x = jadro.tensor([[0.0, 0.0], [3.0, 4.0]], dtype="float64", requires_grad=True)
    x.norm(dim=1).sum().backward()
    np.testing.assert_allclose(x.grad.data, [[0, 0], [0.6, 0.8]])
    gradgradcheck(lambda x: x.norm(dim=1), [leaf(3, 4)])
    with pytest.raises(ValueError, match="p is 'nuc', expected a number or 'fro'"):
        x.norm("nuc")


NAMES = "sum mean var std max min argmax argmin any all cumsum logsumexp"


@pytest.mark.parametrize("name", NAMES.split())
def test_arrays_are_taken(name):
    x = np.random.default_rng(3).standard_normal((3, 4))
    args = (0,) if name in ("cumsum", "logsumexp") else ()
    call = getattr(jadro, name)
    np.testing.assert_array_equal(call(x, *args).data, call(jadro.tensor(x), *args).data)


def test_empty_reductions():
    x = jadro.zeros(0, 3)
    assert x.sum().item() == 0 and x.sum(0).tolist() == [0, 0, 0] and np.isnan(x.mean().item())
    assert x.max(dim=1).values.shape == (0,)
    for call in (x.max, x.argmin, lambda: x.max(dim=0), lambda: x.amin(0)):
        with pytest.raises(ValueError, match="nothing along"):
            call()


def test_max_and_min_with_dim_are_torchs():
    x = jadro.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]], requires_grad=True)
    found = x.max(dim=1)
    assert found.values.tolist() == [3.0, 2.0] and found.indices.tolist() == [1, 0]
    values, indices = x.min(1, keepdim=True)
    assert values.tolist() == [[1.0], [0.0]] and indices.tolist() == [[0], [2]]
    found.values.sum().backward()
    assert x.grad.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert x.max(axis=1).tolist() == [3.0, 2.0]
    gradcheck(lambda x: x.max(0).values, [leaf(4, 5)])
    assert jadro.tensor([1.0, 2.0]).max(jadro.tensor([3.0, 0.0])).tolist() == [3.0, 2.0]


def test_full_maximum_shares_ties():
    x = jadro.tensor([2.0, 1.0, 2.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [0.5, 0.0, 0.5]


def test_nan_propagates():
    x = jadro.tensor([1.0, np.nan, 2.0], requires_grad=True)
    assert np.isnan(x.max().item()) and np.isnan(x.sum().item()) and x.argmax().item() == 1
    x.max().backward()
    assert x.grad.tolist() == [0, 1, 0]


@pytest.mark.parametrize("dim", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_positions_are_torchs(dim, keepdim):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(0, 3, (4, 5)).astype(np.float32)
    for name in ("argmax", "argmin"):
        ours = getattr(jadro.tensor(x), name)(dim, keepdim)
        theirs = getattr(torch.from_numpy(x), name)(dim, keepdim)
        assert ours.dtype == np.int64 and ours.shape == tuple(theirs.shape)
        extreme = x.max if name == "argmax" else x.min
        taken = (
            x.ravel()[ours.item()]
            if dim is None
            else np.take_along_axis(
                x, ours.data.reshape(theirs.shape) if keepdim else np.expand_dims(ours.data, dim), dim
            )
        )
        np.testing.assert_array_equal(np.squeeze(taken), np.squeeze(extreme(dim)))


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.booleans())
@settings(max_examples=30, deadline=None)
def test_variance(numbers, unbiased):
    x = np.array(numbers)
    np.testing.assert_allclose(jadro.tensor(x).var(unbiased=unbiased).item(), x.var(ddof=int(unbiased)), atol=1e-12)


def test_variance_of_all_axes_by_its_flag():
    x = leaf(3, 4)
    for unbiased in (False, True):
        np.testing.assert_allclose(x.var(unbiased).item(), x.data.var(ddof=unbiased))
        np.testing.assert_allclose(x.std(unbiased).item(), x.data.std(ddof=unbiased))


def test_variance_of_one_number():
    assert np.isnan(jadro.ones(1).var().item()) and jadro.ones(1).var(unbiased=False).item() == 0
    assert jadro.tensor([1.0, 3.0]).var(correction=0).item() == 1


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(dim):
    x = leaf(4, 5)
    e = np.exp(x.data)
    np.testing.assert_allclose(x.softmax(dim).data, e / e.sum(dim, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(x.log_softmax(dim).data, np.log(e / e.sum(dim, keepdims=True)), rtol=1e-12)
    np.testing.assert_allclose(x.logsumexp(dim).data, np.log(e.sum(dim)), rtol=1e-12)
    for name in ("softmax", "log_softmax", "logsumexp"):
        gradcheck(lambda x, name=name: getattr(x, name)(dim), [x])


@pytest.mark.parametrize("call", [F.softmax, F.log_softmax, jadro.Tensor.prod, jadro.Tensor.cumsum])
def test_in_another_dtype(call):
    x = jadro.tensor([[1, 2], [3, 4]], dtype="float32")
    np.testing.assert_array_equal(call(x, 1, dtype="float64").data, call(x.double(), 1).data)


def test_softmax_neither_overflows_nor_loses_small_numbers():
    x = jadro.tensor([1000.0, 1000.0, -np.inf], requires_grad=True)
    assert x.softmax(0).tolist() == [0.5, 0.5, 0.0]
    assert x.logsumexp(0).item() == pytest.approx(1000 + np.log(2))
    assert jadro.tensor([0.0, -200.0]).log_softmax(0).tolist() == [0.0, -200.0]
    assert jadro.zeros(0, 3).softmax(0).shape == (0, 3)


@pytest.mark.parametrize("call", [jadro.sum, jadro.prod, lambda x, **o: jadro.cumsum(x, 0, **o), None])
def test_integers_are_summed_as_int64_or_as_asked(call):
    call = call or (lambda x, **options: jadro.cumprod(x, 0, **options))
    for dtype in ("bool", "uint8", "int32", "int64"):
        x = jadro.tensor([1, 1, 1], dtype=dtype)
        assert call(x).dtype == np.int64
        assert call(x, dtype=np.int32).dtype == np.int32
        assert call(x[0], dtype=np.uint8).dtype == np.uint8 if call is not jadro.prod else True
    assert jadro.tensor([200, 100], dtype="uint8").sum().item() == 300


def test_a_number_is_sorted_as_a_row_of_one():
    x = jadro.tensor(3.0, requires_grad=True)
    for values, places in (x.sort(), x.topk(1), x.kthvalue(1), x.median(0)):
        assert (values.shape, values.item(), places.shape, places.item()) == ((), 3.0, (), 0)
    assert x.argsort(0).shape == x.cumprod(-1).shape == ()
    x.sort().values.backward()
    assert x.grad.item() == 1.0
    with pytest.raises(ValueError, match=r"sort: dim is 1, expected -1\.\.0"):
        x.sort(1)


def test_products_and_running_sums():
    x = leaf(3, 4)
    np.testing.assert_allclose(x.prod().item(), x.data.prod(), rtol=1e-13)
    np.testing.assert_allclose(x.prod(1, keepdim=True).data, x.data.prod(1, keepdims=True), rtol=1e-13)
    gradcheck(lambda x: x.prod(0), [x])
    gradcheck(lambda x: x.prod(), [jadro.tensor([1.0, 0.0, 3.0], dtype="float64", requires_grad=True)])
    gradgradcheck(lambda x: x.prod(0), [x])
    gradgradcheck(lambda x: x.prod(), [jadro.tensor([1.0, 0.0, 3.0, 0.0], dtype="float64", requires_grad=True)])
    gradcheck(lambda x: x.cumsum(1), [x])
    np.testing.assert_array_equal(x.cumsum(0).data, x.data.cumsum(0))


def test_truth_and_counts():
    x = jadro.tensor([[True, False], [True, True]])
    assert x.any(1).tolist() == [True, True] and x.all(dim=0).tolist() == [True, False]
    assert x.count_nonzero().item() == 3


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_takes_arrays(name):
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(getattr(F, name)(x, dim=1).data, getattr(jadro.as_tensor(x), name)(1).data)
