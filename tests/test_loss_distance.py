"""Lengths and distances: equations, PyTorch, differences, vectors of zeros, bad input."""

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn
from jadro.testing import gradcheck, gradgradcheck

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3, 4, 5))


def leaf(a):
    return jadro.tensor(a, requires_grad=True)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, np.inf])
def test_normalize(dim, p):
    length = np.linalg.norm(X, p, dim, keepdims=True)
    np.testing.assert_allclose(F.normalize(X, p, dim).data, X / length, rtol=1e-12)
    np.testing.assert_allclose(F.normalize(X, p, dim, eps=10.0).data, X / np.maximum(length, 10), rtol=1e-12)
    gradcheck(lambda x: F.normalize(x, p, dim), leaf(X))


def test_normalize_of_several_axes_and_of_zeros():
    np.testing.assert_allclose(
        F.normalize(X, dim=(1, 2)).data, X / np.sqrt((X * X).sum((1, 2), keepdims=True)), rtol=1e-12
    )
    x = leaf(np.zeros((2, 3)))
    y = F.normalize(x)
    y.sum().backward()
    assert not y.data.any() and np.isfinite(x.grad.data).all()


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_cosine_similarity(dim):
    expected = (X * Y).sum(dim) / np.sqrt((X * X).sum(dim) * (Y * Y).sum(dim))
    np.testing.assert_allclose(F.cosine_similarity(X, Y, dim).data, expected, rtol=1e-12)
    np.testing.assert_allclose(nn.CosineSimilarity(dim)(X, Y).data, expected, rtol=1e-12)
    gradgradcheck(lambda x, y: F.cosine_similarity(x, y, dim), [leaf(X), leaf(Y)], directions=1)


def test_cosine_similarity_broadcasts():
    one = Y[0, :, :1]
    for a, b, dim in ((X, Y[0], 1), (X, Y[0], 2), (Y[0], X, -1), (X, one, 1), (X, one, 2), (X, Y[0, 0], 0)):
        wide = [np.broadcast_to(v, np.broadcast_shapes(a.shape, b.shape)) for v in (a, b)]
        expected = (wide[0] * wide[1]).sum(dim) / np.prod([np.sqrt((v * v).sum(dim)) for v in wide], axis=0)
        np.testing.assert_allclose(F.cosine_similarity(a, b, dim).data, expected, rtol=1e-12)
    assert F.cosine_similarity(np.zeros((2, 3)), np.ones((2, 3))).tolist() == [0, 0]


@pytest.mark.parametrize("p", [2.0, 1.0, 3.5, np.inf])
def test_pairwise_distance(p):
    expected = np.linalg.norm(X - Y + 1e-3, p, -1)
    np.testing.assert_allclose(F.pairwise_distance(X, Y, p, 1e-3).data, expected, rtol=1e-12)
    layer = nn.PairwiseDistance(p, 1e-3, keepdim=True)
    np.testing.assert_allclose(layer(X, Y[0]).data[0], expected[0][:, None], rtol=1e-12)
    gradcheck(lambda x, y: F.pairwise_distance(x, y, p), [leaf(X), leaf(Y)])
    assert np.isfinite(F.pairwise_distance(X, X, p).data).all()


def test_equals_pytorch():
    torch = pytest.importorskip("torch")
    T = torch.nn.functional
    for ours, theirs in (
        (lambda x, y: F.normalize(x, 3.0, 2), lambda x, y: T.normalize(x, 3.0, 2)),
        (lambda x, y: F.cosine_similarity(x, y), lambda x, y: T.cosine_similarity(x, y)),
        (lambda x, y: F.cosine_similarity(x, y[0], 2), lambda x, y: T.cosine_similarity(x, y[0], 2)),
        (lambda x, y: F.pairwise_distance(x, y, 3.0), lambda x, y: T.pairwise_distance(x, y, 3.0)),
    ):
        a, b = [leaf(X), leaf(Y)], [torch.tensor(v, requires_grad=True) for v in (X, Y)]
        y, expected = ours(*a), theirs(*b)
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
        y.square().sum().backward()
        expected.square().sum().backward()
        np.testing.assert_allclose(a[0].grad.numpy(), b[0].grad.numpy(), rtol=1e-9, atol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match=r"^cosine_similarity: shapes \(3, 4, 5\) and \(3,\)"):
        F.cosine_similarity(X, Y[:, 0, 0])
    with pytest.raises(ValueError, match=r"^cosine_similarity: dim is 3, expected -3..2"):
        F.cosine_similarity(X, Y, 3)
    with pytest.raises(ValueError, match=r"^pairwise_distance: shapes"):
        F.pairwise_distance(X, Y[:2])
    with pytest.raises(ValueError, match=r"^norm: dim is 3"):
        F.normalize(X, dim=3)
