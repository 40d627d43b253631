import math

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import _core, nn
from jadro.testing import gradgradcheck
from jadro.testing.cases import activation
from jadro.testing.reference.activation import activation_forward, normal_cdf


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


@pytest.mark.parametrize("x", [np.linspace(-37, 8, 3001), -np.logspace(-30, 0, 500)])
def test_relative_error_of_gelu(x, backend, dtype):
    """(8 + x^2 / 2) units in the last place, also far out where the result is tiny."""
    x = (x if dtype == np.float64 else x[x > -12.5]).astype(dtype)
    y = backend.xp.empty(x.shape, dtype)
    backend.kernel("activation_forward")("gelu", backend.xp.asarray(x), y)
    exact = activation_forward("gelu", x.astype(np.longdouble))
    bound = (8 + x.astype(float) ** 2 / 2) * np.finfo(dtype).eps * np.abs(exact)
    np.testing.assert_array_less(np.abs(backend.host(y) - exact), bound + 1e-300)


def test_the_reference_of_the_normal_distribution():
    x = np.linspace(-37, 9, 997)
    exact = np.array([math.erfc(-v * math.sqrt(0.5)) / 2 for v in x])
    np.testing.assert_allclose(normal_cdf(x), exact, rtol=1e-12)


OPTIONS = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 1.5},
    "gelu": {},
    "gelu tanh": {"approximate": "tanh"},
    "silu": {},
    "hardtanh": {"min_val": -0.5, "max_val": 1.0},
    "relu6": {},
    "softplus": {"beta": 2.0, "threshold": 5.0},
    "sigmoid": {},
    "tanh": {},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_special_values_and_edges_are_torchs(name):
    torch = pytest.importorskip("torch")
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, -0.5, 6.0, 2.5, 1e-30, -1e-30, 80.0, -80.0])
    function, options = name.split()[0], OPTIONS[name]
    y = getattr(F, function)(x, **options).numpy()
    theirs = getattr(torch.nn.functional, function)(torch.tensor(x), **options).numpy()
    np.testing.assert_allclose(y, theirs, rtol=1e-14, atol=1e-30)


@pytest.mark.parametrize("name", OPTIONS)
def test_differentiates_twice_and_again(name):
    function = getattr(F, name.split()[0])
    x = jadro.tensor(np.random.default_rng(2).standard_normal(20) * 3, requires_grad=True)
    gradgradcheck(lambda x: function(x, **OPTIONS[name]), [x])


def test_any_strides():
    x = jadro.tensor(np.random.default_rng(3).standard_normal((4, 5)), requires_grad=True)
    y = F.gelu(x.transpose(0, 1))
    y.sum().backward()
    np.testing.assert_array_equal(y.numpy(), F.gelu(x.numpy().T.copy()).numpy())
    np.testing.assert_array_equal(x.grad.numpy(), activation_slope(x.numpy()))


def activation_slope(x):
    dx = np.empty_like(x)
    _core.activation_backward("gelu", np.ones_like(x), x, dx)
    return dx


@pytest.mark.parametrize(("shape", "count"), [((3, 4), 4), ((3, 4, 2), 4), ((5,), 1), ((3, 4, 2), 1)])
def test_prelu(shape, count):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    x.flat[0] = 0
    layer, theirs = nn.PReLU(count, init=0.3).double(), torch.nn.PReLU(count, init=0.3).double()
    mine, other = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    layer(mine).backward(dy)
    theirs(other).backward(torch.tensor(dy))
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-14)
    np.testing.assert_allclose(layer.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-12)
    away = jadro.tensor(x + np.sign(x - 0.5), requires_grad=True)
    gradgradcheck(F.prelu, [away, layer.weight])
    with pytest.raises(ValueError, match="prelu: weight has shape"):
        F.prelu(mine, np.ones(7))
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 2.0, -2.0])
    found = F.prelu(special, layer.weight.data[:1]).numpy()
    np.testing.assert_array_equal(found, torch.nn.functional.prelu(torch.tensor(special), theirs.weight[:1]).detach())


@pytest.mark.parametrize(("x", "w"), [(True, False), (False, True)])
def test_prelu_gives_the_gradients_that_are_wanted(x, w):
    rng = np.random.default_rng(5)
    both = [jadro.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 4, 2), (4,))]
    wanted = jadro.grad(F.prelu(*both), both, np.ones((3, 4, 2)))
    one = [jadro.tensor(t.data, requires_grad=need) for t, need in zip(both, (x, w), strict=True)]
    F.prelu(*one).backward(np.ones((3, 4, 2)))
    for t, g, need in zip(one, wanted, (x, w), strict=True):
        assert (t.grad is not None) == need
        if need:
            np.testing.assert_array_equal(t.grad.numpy(), g.numpy())


def test_unknown_function_is_named():
    with pytest.raises(ValueError, match=r"activation.*swish"):
        _core.activation_forward("swish", np.zeros(3), np.zeros(3))


def test_integers_are_taken_as_float32():
    x = np.array([0, 1, 2])
    np.testing.assert_allclose(jadro.tanh(x).data, np.tanh(x).astype(np.float32), rtol=1e-6)
    np.testing.assert_allclose(F.sigmoid(x > 0).data, 1 / (1 + np.exp(-np.float32([0, 1, 1]))), rtol=1e-6)
    np.testing.assert_allclose(F.softmin(x, 0, dtype="float64").data, F.softmax(-x.astype(float), 0).data)
