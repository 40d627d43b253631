"""Arithmetic, reductions and joins by the library's kernels, on every instruction set: against NumPy, in float64."""

import numpy as np
import pytest

import jadro
from jadro import _core
from jadro.testing import gradcheck, gradgradcheck

SIZES = [1, 3, 8, 17, 67, 4099]
DTYPES = [np.float32, np.float64]  # those of float64 are NumPy's
TWO = ["add", "subtract", "multiply", "true_divide", "maximum", "minimum"]
ONE = ["absolute", "negative", "sqrt", "exp"]


@pytest.fixture(params=_core.available_isas(), autouse=True)
def isa(request):
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


def numbers(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_special(*shape, dtype, seed=0):
    x = numbers(*shape, dtype=dtype, seed=seed)
    flat = x.reshape(-1)
    flat[seed % flat.size :: 7] = np.nan
    flat[(seed + 2) % flat.size :: 11] = -np.inf
    flat[(seed + 4) % flat.size :: 13] = -0.0
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TWO)
def test_two_operands_have_numpys_bits(name, size, dtype):
    ufunc = getattr(np, name)
    a, b = with_special(size, dtype=dtype), with_special(size, dtype=dtype, seed=1)
    with np.errstate(all="ignore"):
        for u, v in [(a, b), (a, dtype(0.5)), (dtype(0.5), a), (a, np.broadcast_to(dtype(3), (size,))), (a[None], a)]:
            np.testing.assert_array_equal(_core.compute(ufunc, u, v), ufunc(u, v))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ONE)
def test_one_operand(name, size, dtype):
    ufunc, x = getattr(np, name), with_special(size, dtype=dtype)
    with np.errstate(all="ignore"):
        expected = ufunc(x)
        np.testing.assert_allclose(
            _core.compute(ufunc, x), expected, rtol=4 * np.finfo(dtype).eps if name == "exp" else 0
        )
    if name in ("absolute", "negative"):
        np.testing.assert_array_equal(np.signbit(_core.compute(ufunc, x)), np.signbit(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_select(size, dtype):
    mask, a, b = numbers(size, seed=3) > 0, with_special(size, dtype=dtype), numbers(size, dtype=dtype, seed=1)
    for u, v in [(a, b), (a, dtype(2)), (dtype(2), a)]:
        np.testing.assert_array_equal(jadro.where(mask, u, v).data, np.where(mask, u, v))
    assert _core.select(mask, dtype(1), dtype(2)) is NotImplemented
    assert _core.select(numbers(size), a, b) is NotImplemented


SHAPES = [
    ((5000,), None), ((7, 130), (1,)), ((130, 7), (0,)), ((600, 70), (0,)), ((3, 9000), (1,)), ((4, 5, 67), (1,)),
    ((2, 3, 4, 5), (1, 2)), ((6, 1, 8), (0, 1, 2)), ((3000, 3), (1,)), ((1, 1), (0,)), ((2, 2, 5000), (1,)),
]  # fmt: skip


@pytest.mark.parametrize("shape, axes", SHAPES)
def test_reductions(shape, axes):
    x = numbers(*shape) + 3
    wide, eps = x.astype(np.float64), np.finfo(np.float32).eps
    norm = np.sqrt((wide * wide).sum(axes))
    expected = [wide.sum(axes), wide.mean(axes), norm, wide.max(axes), wide.min(axes), wide.var(axes)]
    for kind, y in enumerate(expected):
        for keepdim in (False, True):
            found = _core.reduce(kind, x, axes, keepdim, 0)
            assert found.dtype == np.float32
            assert found.shape == x.sum(axes, keepdims=keepdim).shape
            np.testing.assert_allclose(found.reshape(y.shape), y, rtol=0 if kind in (3, 4) else 64 * eps, atol=0)


@pytest.mark.parametrize("axes", [(0,), (1,), None])
def test_extremes_are_nan_where_a_number_is(axes):
    x = numbers(40, 50)
    x[3, 7] = x[30, 49] = np.nan
    x[5, 6], x[6, 6] = np.inf, -np.inf
    for kind, name in ((3, "max"), (4, "min")):
        np.testing.assert_array_equal(_core.reduce(kind, x, axes, False, 0), getattr(x, name)(axes))


@pytest.mark.parametrize("n", [1, 5, 8, 16, 100])
def test_places_are_of_the_first(n):
    x = np.random.default_rng(n).integers(0, 4, (60, n)).astype(np.float32)
    x[7, n // 2] = x[9, 0] = x[9, -1] = np.nan
    for largest in (True, False):
        values, places = _core.reduce_places(x, largest)
        np.testing.assert_array_equal(places, x.argmax(1) if largest else x.argmin(1))
        np.testing.assert_array_equal(values, x.max(1) if largest else x.min(1))


@pytest.mark.parametrize("threads", [2, 3])
def test_bits_do_not_depend_on_threads(threads):
    x = numbers(300_001)
    before = jadro.get_num_threads()
    results = []
    for count in (1, threads):
        jadro.set_num_threads(count)
        rows = x[:300_000].reshape(300, 1000)
        kinds = [_core.reduce(k, y, a, False, 1) for k in range(6) for y, a in ((x, None), (rows, (0,)), (rows, (1,)))]
        results.append([*kinds, _core.compute(np.exp, x), _core.join((x, x), 0, False), _core.select(x > 0, x, -x)])
    jadro.set_num_threads(before)
    for one, many in zip(*results, strict=True):
        assert one.tobytes() == many.tobytes()


def test_what_the_kernels_do_not_take():
    x = numbers(6, 8)
    assert _core.reduce(0, x.T, (0,), False, 0) is NotImplemented
    assert _core.reduce(0, x.astype(np.float64), None, False, 0) is NotImplemented
    assert _core.reduce_places(x.astype(np.float64), True) is NotImplemented
    assert _core.reduce(0, x[:0], None, False, 0) is NotImplemented
    assert _core.reduce(0, numbers(2, 3, 4), (0, 2), False, 0) is NotImplemented
    assert _core.reduce_places(x[:, ::2], True) is NotImplemented
    assert _core.join((x, x.T.copy().T), 0, False) is NotImplemented
    assert _core.join((x,), 3, True) is NotImplemented
    np.testing.assert_array_equal(_core.compute(np.add, x, x[0]), x + x[0])
    np.testing.assert_array_equal(_core.compute(np.multiply, x.T, x.T), x.T * x.T)
    with pytest.raises(ValueError, match=r"seen: shape is \(7, 7\)"):
        _core.seen(x, (7, 7))
    for call in (_core.reduce, _core.reduce_places, _core.select, _core.join, _core.seen):
        with pytest.raises(TypeError, match="expected"):
            call(x)
    with pytest.raises(TypeError, match="tape_quiet: expected"):
        _core.tape_quiet()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_joins(axis):
    xs = tuple(numbers(*(n if d == axis else 4 for d in range(3)), seed=n) for n in (1, 3, 2))
    np.testing.assert_array_equal(_core.join(xs, axis, False), np.concatenate(xs, axis))
    same = numbers(4, 5), numbers(4, 5, seed=1)
    np.testing.assert_array_equal(_core.join(same, axis, True), np.stack(same, axis))
    large = numbers(100_000), numbers(7)
    np.testing.assert_array_equal(_core.join(large, 0, False), np.concatenate(large))


@pytest.mark.parametrize("dim", [None, 0, 1, (0, 1)])
def test_gradients_of_variance(dim):
    x = jadro.tensor(numbers(4, 5, dtype=np.float64), requires_grad=True)
    for correction in (0, 1, 2):
        gradcheck(lambda x: x.var(dim, correction=correction), [x])  # noqa: B023
        gradgradcheck(lambda x: x.var(dim, correction=correction), [x])  # noqa: B023


def test_gradients_of_extremes_and_stacks():
    x = jadro.tensor(numbers(4, 5, dtype=np.float64), requires_grad=True)
    for dim in (0, 1):
        gradcheck(lambda x: x.max(dim).values * x.min(dim, keepdim=True).values, [x])  # noqa: B023
        gradgradcheck(lambda x: x.max(dim).values ** 2, [x])  # noqa: B023
        gradgradcheck(lambda x: jadro.stack([x, x * x], dim) ** 2, [x])  # noqa: B023
