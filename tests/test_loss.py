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


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cosine(a, b):
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def distance(a, b, p=2.0, eps=1e-6):
    return (abs(a - b + eps) ** p).sum(-1) ** (1 / p)


def cross(x, t):
    return -t * np.log(x) - (1 - t) * np.log(1 - x)


def multi_margin(x, t, p=1, margin=1.0, weight=None):
    found = []
    for row, own in zip(x, t, strict=True):
        terms = [max(0, margin - row[own] + row[i]) ** p for i in range(len(row)) if i != own]
        found.append(sum(terms) / len(row) * (1 if weight is None else weight[own]))
    return np.array(found)


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
        "gaussian_nll_loss", "GaussianNLLLoss", (X, Y, P), {},
        lambda x, y, v: 0.5 * (np.log(v) + (x - y) ** 2 / v),
    ),
    (
        "gaussian_nll_loss", "GaussianNLLLoss", (X, Y, P[:, 0]), {"full": True, "eps": 1e-3},
        lambda x, y, v: 0.5 * (np.log(v[:, None]) + (x - y) ** 2 / v[:, None] + math.log(2 * math.pi)),
    ),
    (
        "gaussian_nll_loss", "GaussianNLLLoss", (X, Y, P[:, :1]), {},
        lambda x, y, v: 0.5 * (np.log(v) + (x - y) ** 2 / v),
    ),
    (
        "gaussian_nll_loss", "GaussianNLLLoss", (X, Y, P[:1]), {},
        lambda x, y, v: 0.5 * (np.log(v) + (x - y) ** 2 / v),
    ),
    ("poisson_nll_loss", "PoissonNLLLoss", (X, Q), {}, lambda x, t: np.exp(x) - t * x),
    ("poisson_nll_loss", "PoissonNLLLoss", (P, Q), {"log_input": False}, lambda x, t: x - t * np.log(x + 1e-8)),
    (
        "poisson_nll_loss", "PoissonNLLLoss", (X, 3 * Q), {"full": True},
        lambda x, t: np.exp(x) - t * x + np.where(t > 1, t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t), 0),
    ),
    ("soft_margin_loss", "SoftMarginLoss", (X, SIGNS), {}, lambda x, t: np.log1p(np.exp(-t * x))),
    (
        "hinge_embedding_loss", "HingeEmbeddingLoss", (X, SIGNS), {"margin": 0.7},
        lambda x, t: np.where(t == 1, x, np.maximum(0, 0.7 - x)),
    ),
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
    (
        "cosine_embedding_loss", "CosineEmbeddingLoss", (X, Y, SIGNS[:, 0]), {"margin": 0.1},
        lambda x, y, t: np.where(t == 1, 1 - cosine(x, y), np.maximum(0, cosine(x, y) - 0.1)),
    ),
    (
        "cosine_embedding_loss", "CosineEmbeddingLoss", (X[0], Y[0], np.array(1)), {},
        lambda x, y, t: 1 - cosine(x, y),
    ),
    ("multi_margin_loss", "MultiMarginLoss", (X, CLASSES), {}, multi_margin),
    (
        "multi_margin_loss", "MultiMarginLoss", (X, CLASSES), {"p": 2, "margin": 0.6, "weight": WEIGHT},
        lambda x, t: multi_margin(x, t, 2, 0.6, WEIGHT),
    ),
    ("multi_margin_loss", "MultiMarginLoss", (X[0], np.array(2)), {}, lambda x, t: multi_margin(x[None], [t])[0]),
    (
        "multilabel_soft_margin_loss", "MultiLabelSoftMarginLoss", (X, Q), {"weight": WEIGHT},
        lambda x, t: (cross(sigmoid(x), t) * WEIGHT).mean(-1),
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


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weights_equal_pytorch(name):
    torch = pytest.importorskip("torch")
    weight = RNG.uniform(0, 2, X.shape)
    for reduction in REDUCE:
        x, t = jadro.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
        y = getattr(F, name)(x, Y, reduction, weight=weight)
        expected = getattr(torch.nn.functional, name)(
            t, torch.tensor(Y), reduction=reduction, weight=torch.tensor(weight)
        )
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
        y.sum().backward()
        expected.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12)
    with pytest.raises(ValueError, match=rf"{name}: weight has shape \(4,\), expected \(5, 4\), that of x"):
        getattr(F, name)(X, Y, weight=WEIGHT)


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


def test_far_out():
    x = jadro.tensor(np.array([-1e4, 1e4], np.float32), requires_grad=True)
    y = F.soft_margin_loss(x, np.array([1, 1], np.float32), reduction="none")
    y.sum().backward()
    assert y.tolist() == [1e4, 0] and x.grad.tolist() == [-1, 0]
    y = F.multilabel_soft_margin_loss(x.detach().reshape(1, 2), np.zeros((1, 2), np.float32))
    assert y.item() == 5e3


def test_the_least_variance_lets_the_gradient_pass():
    v = jadro.tensor(np.array([0.0, 1e-9, 2.0]), requires_grad=True)
    x, t = np.ones(3), np.zeros(3)
    y = F.gaussian_nll_loss(x, t, v, eps=0.5, reduction="none")
    np.testing.assert_allclose(y.data, [0.5 * (math.log(c) + 1 / c) for c in (0.5, 0.5, 2)], rtol=1e-12)
    y.sum().backward()
    np.testing.assert_allclose(v.grad.data, [0.5 * (1 / c - 1 / c**2) for c in (0.5, 0.5, 2)], rtol=1e-12)
    np.testing.assert_allclose(F.gaussian_nll_loss(x, t, 2.0).item(), 0.5 * (math.log(2) + 0.5), rtol=1e-12)


BAD = [
    ("huber_loss: delta is 0, expected more than 0", lambda: F.huber_loss(X, Y, delta=0)),
    ("huber_loss: shapes", lambda: F.huber_loss(X, Y[:3])),
    (r"binary_cross_entropy: target has shape \(5,\), expected \(5, 4\)", lambda: F.binary_cross_entropy(P, Q[:, 0])),
    (r"binary_cross_entropy: x has -.*, expected 0\.\.1", lambda: F.binary_cross_entropy(X, Q)),
    ("kl_div: reduction is 'max', expected one of", lambda: F.kl_div(X, Q, "max")),
    ("KLDivLoss: reduction is 'max', expected one of", lambda: nn.KLDivLoss("max")),
    ("gaussian_nll_loss: eps is 0", lambda: F.gaussian_nll_loss(X, Y, P, eps=0)),
    ("gaussian_nll_loss: var has -", lambda: F.gaussian_nll_loss(X, Y, -P)),
    (r"gaussian_nll_loss: var has shape \(4,\)", lambda: F.gaussian_nll_loss(X, Y, P[0])),
    ("soft_margin_loss: target has shape", lambda: F.soft_margin_loss(X, SIGNS[0])),
    ("margin_ranking_loss: x1, x2 and target have shapes", lambda: F.margin_ranking_loss(X, Y, SIGNS[0])),
    ("triplet_margin_loss: margin is 0, expected more than 0", lambda: F.triplet_margin_loss(X, Y, Z, margin=0)),
    ("triplet_margin_loss: shapes", lambda: F.triplet_margin_loss(X, Y, Z[:3])),
    ("cosine_embedding_loss: x1, x2 and target have shapes", lambda: F.cosine_embedding_loss(X, Y, SIGNS)),
    ("multi_margin_loss: p is 3, expected 1 or 2", lambda: F.multi_margin_loss(X, CLASSES, 3)),
    (r"multi_margin_loss: target holds 4, expected 0\.\.3", lambda: F.multi_margin_loss(X, np.arange(5))),
    (r"multi_margin_loss: x has shape \(5, 4\) and target \(4,\)", lambda: F.multi_margin_loss(X, CLASSES[:4])),
    ("multilabel_soft_margin_loss: target has shape", lambda: F.multilabel_soft_margin_loss(X, Q[:, :3])),
]  # fmt: skip


@pytest.mark.parametrize(("message", "call"), BAD, ids=range(len(BAD)))
def test_bad_input(message, call):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_classes_are_integers():
    with pytest.raises(TypeError, match="multi_margin_loss: target has dtype float64, expected integers"):
        F.multi_margin_loss(X, SIGNS[:, 0])
