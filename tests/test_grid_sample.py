"""Sampling at the places of a grid: PyTorch, differences, what is not finite, bad input, ONNX."""

import itertools

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro.testing import gradcheck, gradgradcheck

OPTIONS = list(itertools.product(("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)))
SHAPES = {2: ((2, 3, 5, 4), (2, 3, 6, 2)), 3: ((2, 2, 3, 4, 5), (2, 2, 3, 2, 3))}


def data(n, scale=1.6):
    rng = np.random.default_rng(n)
    shape, places = SHAPES[n]
    return rng.standard_normal(shape), rng.uniform(-scale, scale, places)


@pytest.mark.parametrize(("mode", "padding", "align"), OPTIONS)
@pytest.mark.parametrize("n", [2, 3])
def test_against_pytorch(n, mode, padding, align):
    torch = pytest.importorskip("torch")
    x, grid = data(n, 3.5)
    grid.reshape(-1)[: 3 * n] = np.resize([-1, 1, 0, -3, 3, 0.5], 3 * n)  # borders and centres of cells
    a, g = (jadro.tensor(v, requires_grad=True) for v in (x, grid))
    ta, tg = (torch.tensor(v, requires_grad=True) for v in (x, grid))
    options = {"mode": mode, "padding_mode": padding, "align_corners": align}
    y, t = F.grid_sample(a, g, **options), torch.nn.functional.grid_sample(ta, tg, **options)
    np.testing.assert_allclose(y.data, t.detach().numpy(), rtol=1e-12, atol=1e-12)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(dy)
    t.backward(torch.tensor(dy))
    np.testing.assert_allclose(a.grad.data, ta.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(g.grad.data, tg.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("mode", "padding", "align"), OPTIONS)
@pytest.mark.parametrize("n", [2, 3])
def test_gradients(n, mode, padding, align):
    x, grid = (jadro.tensor(v, requires_grad=True) for v in data(n))

    def f(x, grid):
        return F.grid_sample(x, grid, mode, padding, align)

    assert gradcheck(f, (x, grid))
    if padding == "border":
        assert gradgradcheck(f, (x, grid))


def test_the_grid_of_the_cells_gives_them_back():
    x, _ = data(2)
    theta = np.tile(np.eye(2, 3), (2, 1, 1))
    for align in (False, True):
        grid = F.affine_grid(theta, x.shape, align_corners=align)
        np.testing.assert_allclose(F.grid_sample(x, grid, align_corners=align).data, x, atol=1e-12)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_what_is_not_finite(padding):
    torch = pytest.importorskip("torch")
    x, grid = (v.astype(np.float32) for v in data(2))
    grid[0, 0, :2] = np.nan
    if padding != "reflection":
        grid[0, 1, :2] = np.inf
        grid[0, 2, :2] = -1e30
    y = F.grid_sample(x, grid, "bilinear", padding, False)
    t = torch.nn.functional.grid_sample(*map(torch.tensor, (x, grid)), padding_mode=padding, align_corners=False)
    expected = t.numpy()
    if padding == "zeros":  # PyTorch has NaN there, against its own text
        expected[0, :, 1, :2] = 0  # all cells are far
        expected[0, :, 0, :2] = x[0, :, :1, 0] / 4  # the corner, as -1
    np.testing.assert_allclose(y.data, expected, rtol=1e-4, atol=1e-5)
    x[0, 0, 0, 0] = np.nan  # reaches the places next to it alone
    assert np.isnan(F.grid_sample(x, grid, "bilinear", padding, False).data[1]).sum() == 0
    F.grid_sample(x, np.full_like(grid, np.inf), "bilinear", "reflection", False)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.filterwarnings("ignore:Since version 1.3.0")  # of sizes of 1 in PyTorch
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 3, 4, 2), (2, 1, 1, 3)])
def test_affine_grid(size, align):
    torch = pytest.importorskip("torch")
    n = len(size) - 2
    value = np.random.default_rng(0).standard_normal((2, n, n + 1))
    theta = jadro.tensor(value, requires_grad=True)
    y = F.affine_grid(theta, size, align)
    expected = torch.nn.functional.affine_grid(torch.tensor(value), size, align_corners=align)
    np.testing.assert_allclose(y.data, expected.numpy(), rtol=1e-12, atol=1e-12)
    assert gradcheck(lambda theta: F.affine_grid(theta, size, align), theta)


@pytest.mark.parametrize(
    ("x", "grid", "options", "error", "message"),
    [
        ((2, 3, 4), (2, 4, 1), {}, ValueError, r"x has shape \(2, 3, 4\), expected 4 or 5 axes"),
        ((2, 3, 0, 4), (2, 3, 3, 2), {}, ValueError, "none of space or channels empty"),
        ((2, 3, 4, 4), (1, 3, 3, 2), {}, ValueError, r"grid has shape \(1, 3, 3, 2\), expected \(2, size, size, 2\)"),
        ((2, 3, 4, 4), (2, 3, 3, 3), {}, ValueError, "grid has shape"),
        ((2, 3, 4, 4), (2, 3, 3, 2), {"mode": "cubic"}, ValueError, "mode is 'cubic', expected one of"),
        ((2, 3, 4, 4), (2, 3, 3, 2), {"padding_mode": "wrap"}, ValueError, "padding_mode is 'wrap', expected one of"),
    ],
)
def test_bad_input(x, grid, options, error, message):
    with pytest.raises(error, match=message):
        F.grid_sample(np.ones(x), np.ones(grid), **options)


def test_bad_dtypes_and_sizes():
    with pytest.raises(TypeError, match="grid_sample: grid has dtype float32, expected float64"):
        F.grid_sample(np.ones((1, 1, 2, 2)), np.ones((1, 2, 2, 2), np.float32))
    with pytest.raises(TypeError, match="affine_grid: theta has dtype int64"):
        F.affine_grid(np.ones((1, 2, 3), np.int64), (1, 1, 2, 2))
    for theta, size in (((1, 2, 3), (1, 1, 2)), ((1, 2, 3), (1, 1, 0, 2)), ((1, 3, 4), (1, 1, 2, 2))):
        with pytest.raises(ValueError, match="affine_grid: "):
            F.affine_grid(np.ones(theta), size)
