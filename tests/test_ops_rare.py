"""The rarer tensor operations: values against NumPy, gradients against differences."""

import math

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.nn import functional as F
from jadro.testing import gradcheck


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


INDEX = np.array([[[0], [2], [1], [1]]])
CASES = {
    "take_along_dim": (
        lambda x: x.take_along_dim(INDEX, 0), lambda a: np.take_along_axis(a, np.broadcast_to(INDEX, (1, 4, 5)), 0)
    ),
    "take_along_dim of all": (lambda x: x.take_along_dim(INDEX), lambda a: a.ravel()[INDEX.ravel()]),
    "tensor_split": (lambda x: x.tensor_split(3, 2)[0], lambda a: np.array_split(a, 3, 2)[0]),
    "tensor_split by indices": (lambda x: jadro.tensor_split(x, (1, 3), 1)[2], lambda a: a[:, 3:]),
    "kthvalue": (lambda x: x.kthvalue(2, 1).values, lambda a: np.sort(a, 1)[:, 1]),
    "kthvalue, kept": (lambda x: x.kthvalue(5, keepdim=True)[0], lambda a: np.sort(a)[..., 4:]),
    "diagonal": (lambda x: x.diagonal(), lambda a: a.diagonal()),
    "diagonal of others": (lambda x: x.diagonal(-1, 2, 1), lambda a: a.diagonal(-1, 2, 1)),
    "diag of a matrix": (lambda x: x[0].diag(1), lambda a: np.diag(a[0], 1)),
    "diag of a vector": (lambda x: jadro.diag(x[0, 0], -2), lambda a: np.diag(a[0, 0], -2)),
    "atan2": (lambda x: x[0].atan2(x[1]), lambda a: np.arctan2(a[0], a[1])),
    "fmod": (lambda x: jadro.fmod(4 * x[0], x[1] * x[1] + 3), lambda a: np.fmod(4 * a[0], a[1] ** 2 + 3)),
    "index_add": (
        lambda x: x.index_add(1, jadro.tensor([2, 2]), x[:, :2], alpha=0.5),
        lambda a: np.stack([a[:, 0], a[:, 1], a[:, 2] + 0.5 * (a[:, 0] + a[:, 1]), a[:, 3]], 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    ours, numpy = CASES[name]
    x = leaf(3, 4, 5, seed=4)
    np.testing.assert_allclose(ours(x).data, numpy(x.data), rtol=1e-13, atol=1e-13)
    gradcheck(ours, [x])


def test_nan_to_num():
    x = jadro.tensor([math.nan, math.inf, -math.inf, 1.5], requires_grad=True)
    largest = np.finfo(np.float32).max
    assert x.nan_to_num(2.0).tolist() == [2, largest, -largest, 1.5]
    y = jadro.nan_to_num(x, posinf=7, neginf=-7)
    assert y.tolist() == [0, 7, -7, 1.5] and jadro.tensor([1, 2]).nan_to_num().tolist() == [1, 2]
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 1]


def test_unique():
    x = jadro.tensor([[3, 1, 0], [3, 0, 7]])
    values, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    assert (values.tolist(), counts.tolist()) == ([0, 1, 3, 7], [2, 1, 2, 1])
    assert values[inverse].tolist() == x.tolist()
    assert jadro.unique(jadro.tensor([[1, 2], [1, 2]]), dim=0).tolist() == [[1, 2]]


def test_bincount():
    assert jadro.bincount(jadro.tensor([1, 1, 3]), minlength=5).tolist() == [0, 2, 0, 1, 0]
    y = jadro.bincount(jadro.tensor([1, 1]), jadro.tensor([0.5, 0.25]))
    assert y.tolist() == [0, 0.75] and y.dtype == np.float32
    with pytest.raises(ValueError):
        jadro.bincount(jadro.tensor([-1]))


def test_bilinear():
    layer = nn.Bilinear(3, 4, 2, dtype="float64")
    x, y = leaf(2, 5, 3), leaf(2, 5, 4, seed=1)
    wanted = np.einsum("...i,oij,...j->...o", x.data, layer.weight.data, y.data) + layer.bias.data
    np.testing.assert_allclose(layer(x, y).data, wanted, rtol=1e-12)
    assert np.abs(layer.weight.data).max() <= 3**-0.5
    gradcheck(F.bilinear, [x, y, leaf(2, 3, 4, seed=2), leaf(2, seed=3)])
    with pytest.raises(ValueError, match=r"bilinear: x1, x2 and weight have shapes"):
        layer(y, x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x[None].diag(), r"diag: x has shape \(1, 2, 3\)"),
        (lambda x: x.kthvalue(0), r"kthvalue: k is 0, expected 1\.\.3"),
        (lambda x: x.index_add(0, jadro.tensor([0]), x), r"index_add: source has shape \(2, 3\), expected \(1, 3\)"),
        (lambda x: x.tensor_split(0), "sections must be larger than 0"),
        (lambda x: x.take_along_dim(jadro.tensor([[7]]), 1), r"gather: index reaches 7\.\.7"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call(jadro.zeros(2, 3))
