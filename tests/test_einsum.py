"""Einstein's sums against NumPy and PyTorch, their gradients of every order, and equations that do not fit."""

import numpy as np
import pytest

import jadro
from jadro.testing import gradcheck, gradgradcheck

CASES = [
    ("ij,jk->ik", (3, 4), (4, 2)),
    ("ij,jk", (3, 4), (4, 2)),
    ("ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ij->j", (3, 4)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("...ij,jk", (2, 3, 4), (4, 2)),
    ("i...->...", (3, 2, 4)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iji->ji", (3, 2, 3)),
    ("...ii->...i", (2, 3, 3)),
    ("i,j->ij", (3,), (4,)),
    ("i,i->", (3,), (3,)),
    ("ij,k->i", (3, 4), (2,)),
    ("ij,jk,kl,l->i", (2, 3), (3, 4), (4, 2), (2,)),
    ("ij,ij,ij->ij", (2, 3), (2, 3), (1, 3)),
    ("bn,anm,bm->ba", (2, 5), (3, 5, 4), (2, 4)),
    ("bA,Ac->bc", (2, 3), (3, 2)),
    ("bA,Ac", (2, 3), (3, 2)),
    (",i->i", (), (3,)),
    ("i->i", (0,)),
    (" i j , j k -> i k ", (2, 3), (3, 2)),
]


def operands(shapes):
    rng = np.random.default_rng(0)
    return [jadro.tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(("equation", "shapes"), [(c[0], c[1:]) for c in CASES])
def test_values_and_gradients(equation, shapes):
    xs = operands(shapes)
    y = jadro.einsum(equation, *xs)
    np.testing.assert_allclose(y.data, np.einsum(equation, *(x.data for x in xs)), rtol=1e-12, atol=1e-12)
    if y.numel():
        assert gradcheck(lambda *xs: jadro.einsum(equation, *xs), xs)
        assert gradgradcheck(lambda *xs: jadro.einsum(equation, *xs), xs)


@pytest.mark.parametrize(("equation", "shapes"), [(c[0], c[1:]) for c in CASES] + [("...i->i", ((2, 3),))])
def test_against_pytorch(equation, shapes):
    torch = pytest.importorskip("torch")
    xs = operands(shapes)
    ts = [torch.tensor(x.data, requires_grad=True) for x in xs]
    y, t = jadro.einsum(equation, *xs), torch.einsum(equation, *ts)
    np.testing.assert_allclose(y.data, t.detach().numpy(), rtol=1e-12, atol=1e-12)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    t.backward(torch.tensor(dy))
    y.backward(dy)
    for x, other in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.data, other.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_third_derivatives_and_one_operand_twice():
    x = jadro.tensor(np.arange(1.0, 5.0), requires_grad=True)
    y = jadro.einsum("i,i,i,i->", x, x, x, x)
    for factor, power in ((4, 3), (12, 2), (24, 1)):
        (y,) = jadro.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.data, factor * x.data**power)


def test_lists_of_operands_and_of_indices():
    x, y = operands([(2, 3), (3, 4)])
    expected = x.data @ y.data
    for z in (
        jadro.einsum("ij,jk->ik", [x, y]),
        jadro.einsum(x, [0, 1], y, [1, 2], [0, 2]),
        jadro.einsum(x, [0, 1], y, [1, 2]),
        jadro.einsum(x, [..., 1], y, [1, 2], [..., 2]),
    ):
        np.testing.assert_allclose(z.data, expected)


def test_the_result_has_memory_of_its_own_and_a_common_dtype():
    x = jadro.tensor(np.ones((2, 3), np.float32))
    y = jadro.einsum("ij->ji", x)
    assert not np.shares_memory(y.data, x.data) and y.is_contiguous()
    assert jadro.einsum("ij,j->i", x, np.ones(3, np.float64)).dtype == np.float64
    assert jadro.einsum("ij,j->i", x, [1, 2, 3]).dtype == np.float32
    assert jadro.einsum("i,i->", [1, 2, 3], [4, 5, 6]).item() == 32


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij,jk->ik", [(2, 3)], "'ij,jk->ik' with 2 terms, expected 1"),
        ("ij,jk->ik", [(2, 3), (4, 2)], r"operand 1 has shape \(4, 2\), expected size 3 or 1 for its axis 'j'"),
        ("ii", [(2, 3)], r"operand 0 has shape \(2, 3\), expected size 2"),
        ("ij->k", [(2, 3)], "expected indices of the operands in the result, each once"),
        ("ij->ii", [(2, 3)], "each once"),
        ("ij", [(2, 3, 4)], "expected 3 indices for operand 0"),
        ("ijk...", [(2, 3)], "expected 2 indices for operand 0"),
        ("i1", [(2, 3)], "expected letters"),
        ("i->j->k", [(2,)], "expected letters"),
        ("......", [(2,)], "expected letters"),
        ("", [], "no operands"),
    ],
)
def test_equations_that_do_not_fit(equation, shapes, message):
    with pytest.raises(ValueError, match=message):
        jadro.einsum(equation, *operands(shapes))


def test_arguments_that_are_none():
    with pytest.raises(TypeError, match="expected a list of integers"):
        jadro.einsum(jadro.ones(2), "i")
    with pytest.raises(TypeError, match="expected a list of integers"):
        jadro.einsum(jadro.ones(2), [100])
