"""Pixels, channels and windows in other orders, and layers that pad: index by index, PyTorch, differences, bad
input."""

import itertools

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn
from jadro.testing import gradcheck, gradgradcheck


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def leaf(*shape):
    return jadro.tensor(normal(*shape), requires_grad=True)


@pytest.mark.parametrize("lead", [(), (2,), (2, 0), (3, 2)])
def test_pixel_shuffle(lead):
    x, r = normal(*lead, 8, 3, 5), 2
    y = F.pixel_shuffle(x, r).data
    assert y.shape == (*lead, 2, 6, 10)
    for c, i, j, k, l in itertools.product(range(2), range(3), range(5), range(r), range(r)):
        np.testing.assert_array_equal(y[..., c, i * r + k, j * r + l], x[..., c * r * r + k * r + l, i, j])
    np.testing.assert_array_equal(F.pixel_unshuffle(y, r).data, x)
    np.testing.assert_array_equal(nn.PixelUnshuffle(r)(nn.PixelShuffle(r)(x)).data, x)


def test_channel_shuffle():
    x = normal(2, 6, 3, 2)
    for groups in (1, 2, 3, 6):
        y = nn.ChannelShuffle(groups)(x).data
        for g, i in itertools.product(range(groups), range(6 // groups)):
            np.testing.assert_array_equal(y[:, i * groups + g], x[:, g * 6 // groups + i])
    assert F.channel_shuffle(x[..., 0], 2).shape == (2, 6, 3)


WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": 2, "padding": 1},
    {"kernel_size": 2, "dilation": (2, 3), "padding": (0, 2)},
    {"kernel_size": 3, "stride": (3, 1), "padding": (2, 0), "dilation": 2},
]


def pairs(options):
    read = {"kernel_size": 1, "dilation": 1, "padding": 0, "stride": 1} | options
    return [v if isinstance(v, tuple) else (v, v) for v in read.values()]


@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_unfold_and_fold(options):
    x = normal(2, 3, 7, 8)
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = pairs(options)
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    oh, ow = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1, (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    columns, sums = np.zeros((2, 3, kh, kw, oh, ow)), np.zeros_like(padded)
    dy = normal(2, 3 * kh * kw, oh * ow)
    for k, l, i, j in itertools.product(range(kh), range(kw), range(oh), range(ow)):
        at = (slice(None), slice(None), i * sh + k * dh, j * sw + l * dw)
        columns[:, :, k, l, i, j] = padded[at]
        sums[at] += dy.reshape(columns.shape)[:, :, k, l, i, j]
    y = F.unfold(x, **options)
    np.testing.assert_array_equal(y.data, columns.reshape(dy.shape))
    folded = F.fold(dy, (7, 8), **options)
    np.testing.assert_allclose(folded.data, sums[:, :, ph : ph + 7, pw : pw + 8], rtol=1e-13)
    np.testing.assert_array_equal(F.unfold(x[0], **options).data, y.data[0])
    np.testing.assert_array_equal(F.fold(dy[0], (7, 8), **options).data, folded.data[0])
    np.testing.assert_array_equal(nn.Unfold(**options)(x).data, y.data)
    np.testing.assert_array_equal(nn.Fold((7, 8), **options)(dy).data, folded.data)
    gradcheck(lambda x: F.unfold(x, **options), leaf(1, 2, 7, 8))
    gradcheck(lambda x: F.fold(x, (7, 8), **options), leaf(1, 2 * kh * kw, oh * ow))
    gradgradcheck(lambda x: F.fold(F.unfold(x, **options) ** 2, (7, 8), **options), leaf(1, 1, 7, 8), directions=1)


def test_unfold_is_what_convolution_multiplies():
    x, w = normal(2, 3, 6, 5), normal(4, 3, 3, 3)
    y = w.reshape(4, -1) @ F.unfold(x, 3, padding=1, stride=2).data
    np.testing.assert_allclose(y.reshape(2, 4, 3, 3), F.conv2d(x, w, stride=2, padding=1).data, rtol=1e-12, atol=1e-12)


def test_gradients():
    gradcheck(lambda x: F.pixel_shuffle(x, 2), leaf(2, 4, 3, 2))
    gradcheck(lambda x: F.pixel_unshuffle(x, 2), leaf(2, 1, 4, 6))
    gradgradcheck(lambda x: F.channel_shuffle(x, 2) ** 2, leaf(2, 4, 3))


def test_unflatten():
    x = normal(2, 12, 3)
    for dim, sizes, shape in [(1, (3, 4), (2, 3, 4, 3)), (-2, (-1, 2), (2, 6, 2, 3)), (0, (2, 1), (2, 1, 12, 3))]:
        np.testing.assert_array_equal(jadro.tensor(x).unflatten(dim, sizes).data, x.reshape(shape))
        np.testing.assert_array_equal(nn.Unflatten(dim, list(sizes))(x).data, x.reshape(shape))
    gradcheck(lambda x: x.unflatten(0, (2, -1)), leaf(4, 3))
    assert repr(nn.Unflatten(1, (3, 4))) == "Unflatten(dim=1, unflattened_size=(3, 4))"


NUMPY = {"ReflectionPad": "reflect", "ReplicationPad": "edge", "CircularPad": "wrap"}


@pytest.mark.parametrize("name", [*NUMPY, "ZeroPad", "ConstantPad"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_padding_layers(name, n):
    make = getattr(nn, f"{name}{n}d")
    value = (2.5,) if name == "ConstantPad" else ()
    x = normal(2, 3, *range(4, 4 + n))
    amounts = tuple(range(1, 2 * n + 1)) if name in ("ZeroPad", "ConstantPad") else (1, 3, 2, 0, 3, 1)[: 2 * n]
    for padding, sides in ((2, (2,) * 2 * n), (amounts, amounts)):
        around = [(0, 0), (0, 0), *(sides[2 * i : 2 * i + 2] for i in reversed(range(n)))]
        options = {"mode": NUMPY[name]} if name in NUMPY else {"constant_values": (*value, 0)[0]}
        layer = make(padding, *value)
        np.testing.assert_array_equal(layer(x).data, np.pad(x, around, **options))
        np.testing.assert_array_equal(layer(x[0]).data, np.pad(x, around, **options)[0])
    assert repr(make(1, *value)).startswith(f"{name}{n}d(padding={(1,) * 2 * n}")


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("PixelShuffle", (2,), (2, 8, 3, 4)),
        ("PixelUnshuffle", (3,), (2, 2, 3, 6)),
        ("ChannelShuffle", (2,), (2, 6, 3, 3)),
        ("Unfold", ((2, 3), 2, 1, 2), (2, 3, 7, 8)),
        ("Fold", ((7, 8), 2, 1, 1, 2), (2, 12, 20)),
        ("Unflatten", (1, (2, 3)), (4, 6)),
        ("ReflectionPad2d", ((1, 2, 0, 3),), (2, 3, 5, 4)),
        ("CircularPad1d", ((2, 1),), (2, 3, 5)),
        ("ReplicationPad3d", (2,), (1, 2, 3, 4, 3)),
        ("ConstantPad2d", ((-1, 1, 2, -2), 0.5), (2, 3, 5, 4)),
    ],
)
def test_equals_pytorch(name, args, shape):
    torch = pytest.importorskip("torch")
    x = normal(*shape)
    ours, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = getattr(nn, name)(*args)(ours), getattr(torch.nn, name)(*args)(theirs)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-13)
    dy = normal(*y.shape)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


X = np.zeros((2, 3, 4, 4))
BAD = [
    (ValueError, r"pixel_shuffle: x has shape \(2, 3, 4, 4\), expected", lambda: F.pixel_shuffle(X, 2)),
    (ValueError, "pixel_shuffle: upscale_factor is 0", lambda: F.pixel_shuffle(X, 0)),
    (TypeError, "pixel_shuffle: upscale_factor is 1.5", lambda: F.pixel_shuffle(X, 1.5)),
    (ValueError, r"pixel_unshuffle: x has shape .*expected \(..., C, H \* 3", lambda: F.pixel_unshuffle(X, 3)),
    (ValueError, r"channel_shuffle: x has shape .*expected \(N, C \* 2", lambda: F.channel_shuffle(X, 2)),
    (ValueError, r"unfold: x has shape \(3, 4\)", lambda: F.unfold(np.zeros((3, 4)), 2)),
    (ValueError, r"unfold: the kernel reaches over \(5, 5\)", lambda: F.unfold(X, 5)),
    (ValueError, "unfold: stride is 0", lambda: F.unfold(X, 2, stride=0)),
    (TypeError, "unfold: x has dtype int64", lambda: F.unfold(X.astype(int), 2)),
    (ValueError, r"fold: x has shape \(2, 8, 3\), expected \[N, C \* 4, 4\]", lambda: F.fold(np.ones((2, 8, 3)), 3, 2)),
    (ValueError, r"fold: x has shape \(2, 9, 4\), expected \[N, C \* 4, 4\]", lambda: F.fold(np.ones((2, 9, 4)), 3, 2)),
    (ValueError, r"unflatten: shape is \(3, 3\), which cannot hold 4", lambda: jadro.tensor(X).unflatten(2, (3, 3))),
    (ValueError, r"ZeroPad2d: padding is \(1, 2\), expected an integer or 4", lambda: nn.ZeroPad2d((1, 2))),
    (ValueError, "ReflectionPad1d: x has shape", lambda: nn.ReflectionPad1d(1)(X)),
    (ValueError, "pad: pad is .*expected at most 3", lambda: nn.ReflectionPad2d(4)(X)),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=range(len(BAD)))
def test_bad_input(error, message, call):
    with pytest.raises(error, match=f"^{message}"):
        call()
