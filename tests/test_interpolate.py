"""Resizing: against the equations cell by cell, PyTorch, differences; what is not finite; bad input; ONNX."""

import itertools
import math

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn
from jadro.testing import gradcheck, gradgradcheck


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def keys(d, a):
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def weights(size, out, step, mode, align):
    """[out, size] by the docstring's equations, one tap at a time."""
    matrix = np.zeros((out, size))
    for o in range(out):
        if mode == "nearest":
            matrix[o, min(int(step * o), size - 1)] = 1
            continue
        if mode == "nearest-exact":
            matrix[o, min(int(step * (o + 0.5)), size - 1)] = 1
            continue
        if mode == "area":
            bins = range(o * size // out, -(-(o + 1) * size // out))
            for i in bins:
                matrix[o, i] = 1 / len(bins)
            continue
        at = ((size - 1) / (out - 1) if out > 1 else 0) * o if align else step * (o + 0.5) - 0.5
        for i in range(math.floor(at) - 1, math.floor(at) + 3):
            w = keys(at - i, -0.75) if mode == "bicubic" else max(1 - abs(at - i), 0)
            matrix[o, min(max(i, 0), size - 1)] += w
    return matrix


def reference(x, sizes, steps, mode, align=False):
    for axis, (out, step) in enumerate(zip(sizes, steps, strict=True), 2):
        matrix = weights(x.shape[axis], out, step, mode, align)
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


MODES = {
    1: ["nearest", "nearest-exact", "linear", "area"],
    2: ["nearest", "nearest-exact", "bilinear", "bicubic", "area"],
    3: ["nearest", "nearest-exact", "trilinear", "area"],
}
SIZES = {
    1: [(7, 7), (5, 10), (4, 12), (7, 3), (6, 4), (1, 5), (5, 1), (3, 8)],
    2: [((4, 6), (8, 12)), ((4, 6), (4, 9)), ((5, 3), (2, 7)), ((3, 4), (9, 4)), ((6, 7), (3, 3)), ((1, 4), (3, 1))],
    3: [((2, 3, 4), (4, 6, 8)), ((3, 4, 2), (2, 5, 2))],
}
CASES = [(n, mode, case) for n in (1, 2, 3) for mode in MODES[n] for case in SIZES[n]]


@pytest.mark.parametrize(("n", "mode", "case"), CASES)
def test_sizes(n, mode, case):
    space, sizes = ((case[0],), (case[1],)) if n == 1 else case
    x = normal(2, 3, *space)
    steps = [m / o for m, o in zip(space, sizes, strict=True)]
    for align in (False, True) if "linear" in mode or mode == "bicubic" else (None,):
        y = F.interpolate(x, sizes, mode=mode, align_corners=align)
        np.testing.assert_allclose(y.data, reference(x, sizes, steps, mode, align), rtol=1e-12, atol=1e-13)
        leaf = jadro.tensor(x, requires_grad=True)
        gradcheck(lambda x, a=align: F.interpolate(x, sizes, mode=mode, align_corners=a), leaf, directions=1)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("scale", [2, (3, 2), 0.5, (1.5, 0.6), 2.3])
def test_scales(mode, scale):
    x = normal(2, 2, 5, 4)
    factors = scale if isinstance(scale, tuple) else (scale, scale)
    sizes = [math.floor(m * s) for m, s in zip(x.shape[2:], factors, strict=True)]
    ratios = [m / o for m, o in zip(x.shape[2:], sizes, strict=True)]
    for recompute in (None, False, True):
        steps = ratios if recompute or mode == "area" else [1 / s for s in factors]
        y = F.interpolate(x, scale_factor=scale, mode=mode, recompute_scale_factor=recompute)
        np.testing.assert_allclose(y.data, reference(x, sizes, steps, mode), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [(3, 4), (12, 5), (9, 7), (1, 20)])
def test_antialias(mode, sizes):
    """Weights over their sum: the kernel, stretched to the cells of an output."""
    x, a = normal(1, 2, 9, 7), -0.5
    expected = x
    for axis, out in enumerate(sizes, 2):
        size = x.shape[axis]
        wide = max(size / out, 1)
        reach = wide * (2 if mode == "bicubic" else 1)
        matrix = np.zeros((out, size))
        for o, i in itertools.product(range(out), range(size)):
            d = i + 0.5 - size / out * (o + 0.5)
            if abs(d) < reach:
                matrix[o, i] = keys(d / wide, a) if mode == "bicubic" else 1 - abs(d / wide)
        matrix /= matrix.sum(1, keepdims=True)
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    y = F.interpolate(x, sizes, mode=mode, antialias=True)
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("antialias", [False, True])
def test_equals_pytorch(dtype, antialias):
    torch = pytest.importorskip("torch")
    x = normal(2, 3, 8, 6).astype(dtype)
    sizes = [{"size": s} for s in ((16, 12), (3, 9), 7)] + [{"scale_factor": s} for s in (2, (2, 3), (1.7, 0.4))]
    for mode, given in itertools.product(["bilinear", "bicubic"] if antialias else MODES[2], sizes):
        for align in (None, True) if mode[:2] == "bi" else (None,):
            options = {**given, "mode": mode, "align_corners": align, "antialias": antialias}
            ours, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
            y, expected = F.interpolate(ours, **options), torch.nn.functional.interpolate(theirs, **options)
            bound = 64 * np.finfo(dtype).eps
            np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=bound, atol=bound)
            dy = normal(*y.shape, seed=1).astype(dtype)
            y.backward(dy)
            expected.backward(torch.tensor(dy))
            np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=bound, atol=4 * bound)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_second_derivatives(mode):
    for sizes in ((6, 8), (2, 5)):
        x = jadro.tensor(normal(1, 2, 3, 4), requires_grad=True)
        gradgradcheck(lambda x, s=sizes: F.interpolate(x, s, mode=mode) ** 2, x, directions=1)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [(16, 16), (13, 11), (5, 6)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is(mode, sizes, bad):
    """A cell reaches the outputs whose taps it is one of, and a gradient the cells that are its taps."""
    x = normal(1, 1, 8, 8)
    touched = np.zeros(sizes, bool)
    for o in itertools.product(*map(range, sizes)):
        near = [abs(8 / n * (i + 0.5) - 0.5 - 4) <= 2 for n, i in zip(sizes, o, strict=True)]
        touched[o] = all(near)
    spoiled = x.copy()
    spoiled[0, 0, 4, 4] = bad
    leaf = jadro.tensor(x, requires_grad=True)
    clean = F.interpolate(leaf, sizes, mode=mode)
    y = F.interpolate(spoiled, sizes, mode=mode).data[0, 0]
    np.testing.assert_array_equal(y[~touched], clean.data[0, 0][~touched])
    assert not np.isfinite(y[touched]).all()
    o = tuple(n // 2 for n in sizes)
    dy = np.zeros(clean.shape)
    dy[(0, 0, *o)] = bad
    clean.backward(dy)
    reached = ~np.isfinite(leaf.grad.data[0, 0])
    at = [8 / n * (i + 0.5) - 0.5 for n, i in zip(sizes, o, strict=True)]
    far = np.add.outer(abs(np.arange(8) - at[0]) > 2.01, abs(np.arange(8) - at[1]) > 2.01)
    assert reached.any() and not (reached & far).any()


def test_what_stays_as_it_is():
    x = jadro.tensor(normal(2, 3, 4, 5))
    for mode in MODES[2]:
        np.testing.assert_array_equal(F.interpolate(x, (4, 5), mode=mode).data, x.data)
    assert F.interpolate(jadro.zeros(0, 3, 4, 4), scale_factor=2, mode="bilinear").shape == (0, 3, 8, 8)
    assert F.interpolate(jadro.zeros(0, 3, 4, 4), scale_factor=2).shape == (0, 3, 8, 8)
    turned = np.moveaxis(normal(2, 5, 4, 3), 3, 1)
    np.testing.assert_array_equal(
        F.interpolate(turned, (7, 9), mode="bilinear").data, F.interpolate(turned.copy(), (7, 9), mode="bilinear").data
    )


def test_layers():
    x = normal(2, 3, 4, 5)
    for layer, options in (
        (nn.Upsample(scale_factor=2), {"scale_factor": 2}),
        (nn.Upsample((3, 9), mode="bicubic"), {"size": (3, 9), "mode": "bicubic"}),
        (nn.UpsamplingNearest2d(scale_factor=3), {"scale_factor": 3}),
        (nn.UpsamplingBilinear2d(7), {"size": 7, "mode": "bilinear", "align_corners": True}),
    ):
        np.testing.assert_array_equal(layer(x).data, F.interpolate(x, **options).data)
        assert not layer.state_dict()
    assert (
        repr(nn.Upsample(scale_factor=2)) == "Upsample(size=None, scale_factor=2, mode='nearest', align_corners=None)"
    )


IMAGE = np.zeros((1, 2, 4, 4))
BAD = [
    (ValueError, "mode is 'cubic', expected one of", (IMAGE, 2), {"mode": "cubic"}),
    (ValueError, r"x has shape \(1, 2, 4, 4\), expected 3 axes", (IMAGE, 2), {"mode": "linear"}),
    (ValueError, r"x has shape \(1, 2, 4\), expected 4 axes", (IMAGE[0:1, :, 0], 2), {"mode": "bicubic"}),
    (ValueError, "expected 3 or 4 or 5 axes", (IMAGE[0, 0], 2), {}),
    (ValueError, "size is None and scale_factor is None", (IMAGE,), {}),
    (ValueError, "size is 2 and scale_factor is 2", (IMAGE, 2, 2), {}),
    (ValueError, r"size is \(2, 2, 2\), expected an integer from 1 to .*, or 2", (IMAGE, (2, 2, 2)), {}),
    (ValueError, "scale_factor is 0.1, expected 2 that leave something of", (IMAGE, None, 0.1), {}),
    (ValueError, "scale_factor is -1, expected 2 that leave", (IMAGE, None, -1), {}),
    (ValueError, "scale_factor is nan, expected 2 that leave", (IMAGE, None, math.nan), {}),
    (ValueError, "size is 0, expected an integer from 1", (IMAGE, 0), {}),
    (TypeError, "size is 2.5, expected an integer or 2", (IMAGE, 2.5), {}),
    (ValueError, "align_corners is False, expected None for mode 'nearest'", (IMAGE, 2), {"align_corners": False}),
    (ValueError, "antialias is True", (IMAGE, 2), {"antialias": True}),
    (ValueError, "recompute_scale_factor is True", (IMAGE, 2), {"recompute_scale_factor": True}),
    (ValueError, "none empty", (IMAGE[:, :, :0], 2), {}),
    (TypeError, "x has dtype int64", (IMAGE.astype(int), 2), {}),
]


@pytest.mark.parametrize(("error", "message", "args", "options"), BAD)
def test_bad_input(error, message, args, options):
    with pytest.raises(error, match=f"^interpolate: .*{message}"):
        F.interpolate(*args, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"scale_factor": 2},
        {"size": (7, 3)},
        {"size": (7, 3), "mode": "nearest-exact"},
        {"scale_factor": (1.5, 2.0), "mode": "bilinear"},
        {"size": (9, 3), "mode": "bilinear", "align_corners": True},
        {"size": (9, 3), "mode": "bicubic"},
        {"size": (3, 3), "mode": "bilinear", "antialias": True},
    ],
    ids=str,
)
def test_onnx(options, tmp_path):
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    class Resized(nn.Module):
        def forward(self, x):
            return F.interpolate(x, **options)

    x, path = normal(2, 3, 4, 6).astype(np.float32), str(tmp_path / "resize.onnx")
    jadro.onnx.export(Resized(), (jadro.tensor(x),), path)
    (found,) = ReferenceEvaluator(path).run(None, {"x": x})
    np.testing.assert_allclose(found, F.interpolate(x, **options).data, rtol=1e-4, atol=1e-5)
