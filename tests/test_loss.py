"""Losses made of other operations: their equations element by element, PyTorch, differences, values far out, bad
input."""

import math

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn
from jadro.testing import gradcheck, gradgradcheck

RNG = np.random.default_rng(0)
X, Y, Z = RNG.standard_normal((3, 5, 4))
P, Q = RNG.uniform(0.05, 0.95, (2, 5, 4))
SIGNS = np.where(RNG.uniform(size=(5, 4)) < 0.5, -1.0, 1.0)
CLASSES = RNG.integers(0, 4, 5)
WEIGHT = RNG.uniform(0.5, 2, 4)


def distance(a, b, p=2.0, eps=1e-6):
    return (abs(a - b + eps) ** p).sum(-1) ** (1 / p)


def cross(x, t):
    return -t * np.log(x) - (1 - t) * np.log(1 - x)


# name of the function, layer, inputs, options, equation
CASES = [
    ("huber_loss", "HuberLoss", (X, Y), {}, lambda x, y: np.where(abs(x - y) <= 1, (x - y) ** 2 / 2, abs(x - y) - 0.5)),
    (
        "huber_loss", "HuberLoss", (X, Y), {"delta": 0.4},
        lambda x, y: np.where(abs(x - y) <= 0.4, (x - y) ** 2 / 2, 0.4 * (abs(x - y) - 0.2)),
    ),
    ("binary_cross_entropy", "BCELoss", (P, Q), {}, cross),
    ("binary_cross_entropy", "BCELoss", (P, Q), {"weight": WEIGHT}, lambda x, t: cross(x, t) * WEIGHT),
    ("kl_div", "KLDivLoss", (np.log(P), Q), {}, lambda x, t: t * (np.log(t) - x)),
    ("kl_div", "KLDivLoss", (np.log(P), np.log(Q)), {"log_target": True}, lambda x, t: np.exp(t) * (t - x)),
    (
        "margin_ranking_loss", "MarginRankingLoss", (X, Y, SIGNS), {"margin": 0.3},
        lambda x, y, t: np.maximum(0, 0.3 - t * (x - y)),
    ),
    (
        "triplet_margin_loss", "TripletMarginLoss", (X, Y, Z), {},
        lambda a, p, n: np.maximum(0, distance(a, p) - distance(a, n) + 1),
    ),
    (
        "triplet_margin_loss", "TripletMarginLoss", (X, Y, Z), {"margin": 2.0, "p": 3.0, "swap": True, "eps": 1e-3},
        lambda a, p, n: np.maximum(
            0, distance(a, p, 3, 1e-3) - np.minimum(distance(a, n, 3, 1e-3), distance(p, n, 3, 1e-3)) + 2
        ),
    ),
]  # fmt: skip
IDS = [f"{case[0]}{i}" for i, case in enumerate(CASES)]
REDUCE = {"none": lambda x: x, "sum": np.sum, "mean": np.mean}


def leaves(inputs):
    return [jadro.tensor(a, requires_grad=True) if a.dtype.kind == "f" else jadro.tensor(a) for a in inputs]


@pytest.mark.parametrize(("name", "layer", "inputs", "options", "equation"), CASES, ids=IDS)
def test_equation_and_layer(name, layer, inputs, options, equation):
    for reduction, reduce in REDUCE.items():
        given = {**options, "reduction": reduction}
        y = getattr(F, name)(*inputs, **given)
        np.testing.assert_allclose(y.data, reduce(equation(*inputs)), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(getattr(nn, layer)(**given)(*inputs).data, y.data)
    assert f"reduction={reduction!r}" in repr(getattr(nn, layer)(**given))


@pytest.mark.parametrize(("name", "layer", "inputs", "options", "equation"), CASES, ids=IDS)
def test_gradients(name, layer, inputs, options, equation):
    given = [jadro.tensor(a, requires_grad=not (a == a.round()).all()) for a in inputs]
    gradcheck(lambda *a: getattr(F, name)(*a, **options), given)
    if "triplet" not in name:  # norms of other p are differentiated once
        gradgradcheck(lambda *a: getattr(F, name)(*a, **options), given, directions=1)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # PyTorch's, of kl_div
@pytest.mark.parametrize(("name", "layer", "inputs", "options", "equation"), CASES, ids=IDS)
def test_equals_pytorch(name, layer, inputs, options, equation):
    torch = pytest.importorskip("torch")
    theirs_options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    for reduction in REDUCE:
        ours = leaves(inputs)
        theirs = [torch.tensor(a, requires_grad=a.dtype.kind == "f" and a is not SIGNS) for a in inputs]
        y = getattr(nn, layer)(**options, reduction=reduction)(*ours)
        expected = getattr(torch.nn, layer)(**theirs_options, reduction=reduction)(*theirs)
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
        y.sum().backward()
        expected.sum().backward()
        for a, b in zip(ours[:1], theirs[:1], strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_batchmean():
    expected = (Q * (np.log(Q) - np.log(P))).sum() / 5
    for y in (F.kl_div(np.log(P), Q, "batchmean"), nn.KLDivLoss("batchmean")(np.log(P), Q)):
        np.testing.assert_allclose(y.item(), expected, rtol=1e-12)
    x = jadro.tensor(np.log([[0.5, 0.5]]), requires_grad=True)
    y = F.kl_div(x, np.array([[0.0, 1.0]]), "sum")
    y.backward()
    assert y.item() == pytest.approx(math.log(2)) and x.grad.tolist() == [[0.0, -1.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_at_the_ends(dtype):
    x = jadro.tensor(np.array([0, 0, 1, 1, 1e-30], dtype), requires_grad=True)
    y = F.binary_cross_entropy(x, np.array([0, 1, 0, 1, 1], dtype), reduction="none")
    np.testing.assert_allclose(y.data, [0, 100, 100, 0, 30 * math.log(10)], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, [0, -1e12, 1e12, 0, -1e12], rtol=1e-6)
    assert np.isnan(F.binary_cross_entropy(np.array([np.nan], dtype), np.zeros(1, dtype)).item())


BAD = [
    ("huber_loss: delta is 0, expected more than 0", lambda: F.huber_loss(X, Y, delta=0)),
    ("huber_loss: shapes", lambda: F.huber_loss(X, Y[:3])),
    (r"binary_cross_entropy: target has shape \(5,\), expected \(5, 4\)", lambda: F.binary_cross_entropy(P, Q[:, 0])),
    (r"binary_cross_entropy: x has -.*, expected 0\.\.1", lambda: F.binary_cross_entropy(X, Q)),
    ("kl_div: reduction is 'max', expected one of", lambda: F.kl_div(X, Q, "max")),
    ("KLDivLoss: reduction is 'max', expected one of", lambda: nn.KLDivLoss("max")),
    ("margin_ranking_loss: x1, x2 and target have shapes", lambda: F.margin_ranking_loss(X, Y, SIGNS[0])),
    ("triplet_margin_loss: margin is 0, expected more than 0", lambda: F.triplet_margin_loss(X, Y, Z, margin=0)),
    ("triplet_margin_loss: shapes", lambda: F.triplet_margin_loss(X, Y, Z[:3])),
]  # fmt: skip


@pytest.mark.parametrize(("message", "call"), BAD, ids=range(len(BAD)))
def test_bad_input(message, call):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
