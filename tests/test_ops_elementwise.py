"""Pointwise operations: values and broadcasting against NumPy, dtypes and gradients against PyTorch and differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jadro
from jadro.testing import gradcheck

BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "remainder": np.remainder,
    "floor_divide": np.floor_divide,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
UNARY = ["exp", "expm1", "log1p", "sin", "cos", "abs", "sign", "floor", "ceil", "square", "isnan", "isinf", "isfinite"]
FINITE = st.floats(-8, 8, width=32)


def values(shape, seed=0):
    """Numbers away from 0, where nothing is cut."""
    x = np.random.default_rng(seed).uniform(0.3, 2.0, shape)
    return x * np.random.default_rng(seed + 1).choice([-1, 1], shape)


def leaf(shape, seed=0, positive=False):
    x = values(shape, seed)
    return jadro.tensor(np.abs(x) if positive else x, requires_grad=True)


@given(data=st.data(), shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4, min_side=0))
@settings(max_examples=60, deadline=None)
def test_binary_values_broadcast_as_numpy(data, shapes):
    a, b = (data.draw(hnp.arrays(np.float32, s, elements=FINITE)) for s in shapes.input_shapes)
    with np.errstate(all="ignore"):
        for name, ufunc in BINARY.items():
            expected = ufunc(a, b)
            y = getattr(jadro.tensor(a), name)(jadro.tensor(b))
            assert y.shape == shapes.result_shape and y.dtype == expected.dtype
            np.testing.assert_array_equal(y.data, expected)


@given(data=st.data(), shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
@settings(max_examples=30, deadline=None)
def test_binary_gradients_sum_back_over_broadcast_axes(data, shapes):
    a, b = (leaf(s, i) for i, s in enumerate(shapes.input_shapes))
    name = data.draw(st.sampled_from(["add", "sub", "mul", "div", "maximum", "minimum"]))
    gradcheck(getattr(jadro.Tensor, name), [a, b], directions=1)


@pytest.mark.parametrize("name", UNARY)
def test_unary_values(name):
    x = np.concatenate([values(20), [0.0, -0.5, np.inf, -np.inf, np.nan]])
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    np.testing.assert_array_equal(getattr(jadro.tensor(x), name)().data, expected)


@pytest.mark.parametrize("name", ["exp", "expm1", "sin", "cos", "abs", "square", "tanh", "sigmoid", "relu", "neg"])
def test_unary_gradients(name):
    gradcheck(getattr(jadro.Tensor, name), [leaf((3, 4))])


@pytest.mark.parametrize("name", ["log", "log1p", "sqrt", "rsqrt"])
def test_unary_gradients_of_positive_numbers(name):
    gradcheck(getattr(jadro.Tensor, name), [leaf((3, 4), positive=True)])


@pytest.mark.parametrize("exponent", [2, 3, -1, 0, 0.5, 2.5])
def test_powers_by_a_number(exponent):
    x = leaf((5,), positive=True)
    np.testing.assert_allclose((x**exponent).data, x.data**exponent, rtol=1e-14)
    gradcheck(lambda x: x**exponent, [x])


def test_powers_by_a_tensor():
    gradcheck(jadro.pow, [leaf((3, 4), positive=True), leaf((4,), 2)])
    gradcheck(lambda b: 2.0**b, [leaf((4,))])
    zero = jadro.tensor([0.0, 0.0, 0.0], requires_grad=True)
    power = jadro.tensor([0.0, 1.0, 2.0], requires_grad=True)
    y = zero**power
    y.sum().backward()
    assert y.tolist() == [1, 0, 0] and zero.grad.tolist() == [0, 1, 0] and power.grad.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="integers cannot be raised"):
        jadro.tensor([2, 3]) ** -1


def test_reflected_operators():
    x = leaf((4,), positive=True)
    for f in (lambda x: 2 + x, lambda x: 2 - x, lambda x: 2 * x, lambda x: 2 / x, lambda x: 2.0**x):
        np.testing.assert_allclose(f(x).data, f(x.data), rtol=1e-14)
        gradcheck(f, [x])
    array = values(4, 3)
    for f in (np.add, np.subtract, np.multiply, np.true_divide):
        y = f(array, x)
        assert y.requires_grad
        np.testing.assert_array_equal(y.data, f(array, x.data))
    assert (7 // jadro.tensor([2, 3])).tolist() == [3, 2] and (7 % jadro.tensor([2, 3])).tolist() == [1, 1]


def test_gradient_of_the_remainder():
    gradcheck(jadro.Tensor.remainder, [leaf((20,)), leaf((20,), 5)])


DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", [*DTYPES, "number int", "number float", "scalar float64"])
def test_dtypes_mix_as_in_torch(a, b):
    torch = pytest.importorskip("torch")
    scalars = {"number int": 2, "number float": 2.0, "scalar float64": np.float64(2).reshape(())}
    other = scalars.get(b, np.array([1], b) if b not in scalars else None)
    theirs = torch.from_numpy(other) if isinstance(other, np.ndarray) else other
    ours = jadro.as_tensor(other) if isinstance(other, np.ndarray) else other
    for f in (lambda x, y: x + y, lambda x, y: y * x, lambda x, y: x / y):
        expected = f(torch.ones(1, dtype=getattr(torch, a)), theirs).numpy().dtype
        assert f(jadro.ones(1, dtype=a), ours).dtype == expected


def test_ieee_passes_without_a_warning():
    x = jadro.tensor([0.0, 1.0, -1.0, np.inf, np.nan], requires_grad=True)
    y = x.log() + 1 / x + x.sqrt() + (x * 1000).exp()
    y.sum().backward()
    np.testing.assert_array_equal(np.isnan(y.data), [True, False, True, False, True])
    assert y.data[3] == np.inf and x.grad.shape == (5,)


def test_logic():
    a, b = jadro.tensor([True, True, False]), jadro.tensor([True, False, False])
    assert (a & b).tolist() == [True, False, False] and (a | b).tolist() == [True, True, False]
    assert (a ^ b).tolist() == [False, True, False] and (~a).tolist() == [False, False, True]
    assert a.any().item() and not a.all().item()
    with pytest.raises(TypeError, match="invert"):
        ~jadro.ones(2)


def test_comparison_with_nothing_is_false():
    t = jadro.ones(2)
    assert (t == None) is False and (t != None) is True  # noqa: E711
    assert t in [None, t][1:]


def test_extremes_share_ties():
    a, b = jadro.ones(2, requires_grad=True), jadro.ones(2, requires_grad=True)
    jadro.maximum(a, b).sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == [0.5, 0.5]


def test_where_and_masked_fill():
    a, b = leaf((3, 1)), leaf((4,), 2)
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    np.testing.assert_array_equal(jadro.where(mask, a, b).data, np.where(mask, a.data, b.data))
    gradcheck(lambda a, b: jadro.where(mask, a, b), [a, b])
    assert jadro.where(mask, 1.0, jadro.zeros(4)).dtype == np.float32
    x = leaf((3, 4))
    gradcheck(lambda x: x.masked_fill(mask, -5.0), [x])
    assert (x.masked_fill(mask, -np.inf).data[mask] == -np.inf).all()
    with pytest.raises(TypeError, match="where: condition has dtype float64"):
        jadro.where(a, a, b)
    np.testing.assert_array_equal(b.masked_fill(mask, 0).data, np.where(mask, 0, b.data))
    with pytest.raises(ValueError, match=r"masked_fill: shapes \(3, 4\) and \(5,\) cannot be broadcast together"):
        leaf((5,)).masked_fill(mask, 0)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_rounded_quotients(dtype):
    a, b = np.array([7, -7, 7, -7, 6]).astype(dtype), np.array([2, 2, -2, -2, 3]).astype(dtype)
    for mode, numpy in (("floor", np.floor), ("trunc", np.trunc)):
        y = jadro.tensor(a).div(jadro.tensor(b), rounding_mode=mode)
        assert y.dtype == dtype and y.tolist() == numpy(a / b).tolist()
    with pytest.raises(ValueError, match="rounding_mode is 'ceil', expected None, 'floor' or 'trunc'"):
        jadro.tensor(a).div(2, rounding_mode="ceil")


def test_a_factor_of_what_is_added():
    x, y = jadro.tensor([1.0, 2.0], requires_grad=True), jadro.tensor([3.0, 5.0], requires_grad=True)
    (x.add(y, alpha=2) * x.sub(y, alpha=0.5)).sum().backward()
    np.testing.assert_allclose(x.grad.data, [6.5, 11.5])
    np.testing.assert_allclose(y.grad.data, [-4.5, -7.0])
    z = jadro.tensor([1.0, 2.0])
    assert z.add_(y.detach(), alpha=-1).tolist() == [-2.0, -3.0] and z.sub_(1, alpha=3).tolist() == [-5.0, -6.0]


def test_rounding_to_places():
    x = jadro.tensor([1.25, -2.5, 123.456])
    assert x.round().tolist() == [1.0, -2.0, 123.0]
    np.testing.assert_allclose(x.round(decimals=1).data, [1.2, -2.5, 123.5], rtol=1e-6)


def test_clamp():
    x = leaf((20,))
    np.testing.assert_array_equal(x.clamp(-1, 1).data, x.data.clip(-1, 1))
    gradcheck(lambda x: x.clamp(-1, 1), [x])
    gradcheck(lambda x: x.clip(min=0.1), [x])
    gradcheck(lambda x, m: x.clamp(max=m), [x, leaf((20,), 7)])
    edge = jadro.tensor([1.0, 2.0], requires_grad=True)
    edge.clamp(1.0, 1.5).sum().backward()
    assert edge.grad.tolist() == [1.0, 0.0]
    assert np.isnan(jadro.tensor([np.nan]).clamp(0, 1).item())
    with pytest.raises(ValueError, match="clamp: min and max are None"):
        x.clamp()


def test_casts_carry_gradients():
    x = jadro.ones(3, requires_grad=True)
    (x.double() * 2).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2.0] * 3
    assert jadro.tensor([1.9, -1.9]).long().tolist() == [1, -1]


def test_clone_copies_and_passes_the_gradient():
    x = leaf((2, 3))
    y = x.T.clone()
    assert not np.shares_memory(x.data, y.data) and y.is_contiguous()
    gradcheck(lambda x: x.T.clone() * 2, [x])


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\) cannot be broadcast together"):
        jadro.ones(2) + jadro.ones(3)
    with pytest.raises(ValueError, match="lt: shapes"):
        _ = jadro.ones(2) < jadro.ones(3)
    with pytest.raises(TypeError, match="dtype"):
        jadro.ones(2) + "text"


def test_large_results_in_kept_memory():
    a, b = leaf((300, 200)), leaf((200,), 3, positive=True)
    for name in ("add", "sub", "mul", "div", "maximum"):
        y = getattr(a, name)(b)
        np.testing.assert_array_equal(y.data, BINARY[name](a.data, b.data))
        np.testing.assert_array_equal(getattr(b, name)(a).data, BINARY[name](b.data, a.data))
    np.testing.assert_allclose((1.5 - a).exp().data, np.exp(1.5 - a.data), rtol=1e-15)
    np.testing.assert_array_equal(a.T.clone().data, a.data.T)
    (a * 2 + a * 3 + a).sum().backward()
    np.testing.assert_array_equal(a.grad.data, np.full((300, 200), 6.0))
    with pytest.raises(ValueError, match="add: shapes"):
        a + a.T


def test_clamp_of_many_elements():
    x = np.random.default_rng(0).standard_normal(5000).astype("float32")
    x[:4] = np.nan, np.inf, -np.inf, -0.0
    for low, high in ((-0.5, 0.5), (None, 0.25), (0.1, None), (1, -1)):
        y = x if low is None else np.maximum(x, np.float32(low))
        y = y if high is None else np.minimum(y, np.float32(high))
        np.testing.assert_array_equal(jadro.as_tensor(x).clamp(low, high).numpy(), y)


@pytest.mark.parametrize("number", [1j, np.complex64(1)])
def test_complex_numbers_are_refused(number):
    for f in (lambda x: x + number, lambda x: number * x, lambda x: x < number):
        with pytest.raises(TypeError, match="complex"):
            f(jadro.ones(3))
