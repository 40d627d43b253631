"""Activations made of other operations: their equations, PyTorch, differences, values far out, bad input."""

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn
from jadro.testing import gradcheck, gradgradcheck

X = np.random.default_rng(0).standard_normal((6, 10)) * 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def soft(x, axis):
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


# name: (options, equation, f(-big), f(big), slope at -big, slope at big); None where that is no limit
CASES = {
    "hardsigmoid": ({}, lambda x: np.clip(x / 6 + 0.5, 0, 1), 0.0, 1.0, 0, 0),
    "hardswish": ({}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), 0.0, 1e4, 0, 1),
    "mish": ({}, lambda x: x * np.tanh(np.log1p(np.exp(x))), 0.0, 1e4, 0, 1),
    "selu": (
        {},
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
        -1.7580993408473766, 10507.009873554805, 0, 1.0507009873554805,
    ),
    "celu": ({"alpha": 1.5}, lambda x: np.where(x > 0, x, 1.5 * (np.exp(x / 1.5) - 1)), -1.5, 1e4, 0, 1),
    "softsign": ({}, lambda x: x / (1 + abs(x)), -1 / 1.0001, 1 / 1.0001, 1 / 10001**2, 1 / 10001**2),
    "logsigmoid": ({}, lambda x: np.log(sigmoid(x)), -1e4, 0.0, 1, 0),
    "hardshrink": ({"lambd": 0.7}, lambda x: np.where(abs(x) > 0.7, x, 0), -1e4, 1e4, 1, 1),
    "softshrink": (
        {"lambd": 0.7}, lambda x: np.sign(x) * np.maximum(abs(x) - 0.7, 0), -9999.3, 9999.3, 1, 1
    ),
    "tanhshrink": ({}, lambda x: x - np.tanh(x), -9999.0, 9999.0, 1, 1),
    "threshold": ({"threshold": 0.5, "value": -2.0}, lambda x: np.where(x > 0.5, x, -2), -2.0, 1e4, 0, 1),
    "glu": ({"dim": 1}, lambda x: x[:, :5] * sigmoid(x[:, 5:]), None, None, None, None),
    "softmin": ({"dim": 0}, lambda x: soft(-x, 0), None, None, None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equation_and_gradient(name):
    options, equation, *_ = CASES[name]
    f = lambda x: getattr(F, name)(x, **options)  # noqa: E731
    np.testing.assert_allclose(f(X).data, equation(X), rtol=1e-12, atol=1e-14)
    leaf = jadro.tensor(X, requires_grad=True)
    gradcheck(f, leaf)
    gradgradcheck(f, leaf, directions=1)


@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name):
    torch = pytest.importorskip("torch")
    options = CASES[name][0]
    for dtype in (np.float32, np.float64):
        x = X.astype(dtype)
        if name not in ("glu", "softmin"):
            x = np.append(x, np.array([0, 0.5, -0.7, 0.7, 50, -50, 1e4, -1e4, np.nan], dtype))
        ours, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, expected = getattr(F, name)(ours, **options), getattr(torch.nn.functional, name)(theirs, **options)
        rounded = name in ("hardsigmoid", "celu")  # PyTorch keeps their constants in float32
        bound = 30 * np.finfo(np.float32 if rounded else dtype).eps
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=bound, atol=bound)
        y.sum().backward()
        expected.sum().backward()
        number = ~np.isnan(x)
        np.testing.assert_allclose(ours.grad.data[number], theirs.grad.numpy()[number], rtol=bound, atol=bound)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2] is not None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out_and_nan(name, dtype):
    options, _, low, high, low_slope, high_slope = CASES[name]
    x = jadro.tensor(np.array([-1e4, 1e4, np.nan], dtype), requires_grad=True)
    y = getattr(F, name)(x, **options)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.data, [low, high, np.nan], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data[:2], [low_slope, high_slope], rtol=1e-6)


LAYERS = {name.lower(): getattr(nn, name) for name in nn.__all__}


@pytest.mark.parametrize("name", CASES)
def test_layers(name):
    options = CASES[name][0]
    layer = LAYERS[name](**options).eval()
    np.testing.assert_array_equal(layer(X).data, getattr(F, name)(X, **options).data)
    assert not layer.state_dict() and all(f"{k}={v}" in repr(layer) for k, v in options.items())


BAD = [
    (ValueError, "celu: alpha is 0, expected more than 0", lambda: F.celu(X, 0)),
    (ValueError, "softshrink: lambd is -1, expected at least 0", lambda: F.softshrink(X, -1)),
    (ValueError, "glu: x has size 5 along dim 0, expected an even one", lambda: F.glu(X[:5], 0)),
    (ValueError, "glu: dim is 2, expected -2..1", lambda: F.glu(X, 2)),
    (ValueError, "Softmax2d: x has shape", lambda: nn.Softmax2d()(X)),
    *((TypeError, f"{name}: x has dtype int64", lambda name=name: getattr(F, name)(X.astype(int), **CASES[name][0]))
      for name in CASES),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=range(len(BAD)))
def test_bad_input(error, message, call):
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_inplace_is_taken():
    x = jadro.tensor(X)
    for name in ("relu", "relu6", "elu", "silu", "leaky_relu", "hardtanh", "selu", "celu", "hardswish", "mish"):
        np.testing.assert_array_equal(getattr(F, name)(x, inplace=True).data, getattr(F, name)(x).data)
    np.testing.assert_array_equal(x.data, X)
