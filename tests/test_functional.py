"""`jadro.nn.functional`: values and gradients against PyTorch, second derivatives, padding, what is refused."""

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro.testing import gradcheck, gradgradcheck

rng = np.random.default_rng(0)


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def agree(ours, theirs, *arrays):
    """Outputs and gradients of two functions of float64 arrays."""
    torch = pytest.importorskip("torch")
    xs = [jadro.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = ours(*xs), theirs(*ts)
    assert y.shape == tuple(expected.shape)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    seed = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(seed)
    expected.backward(torch.from_numpy(np.asarray(seed)))
    for x, t in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-10, atol=1e-12)


ACTIVATIONS = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 1.5},
    "gelu": {},
    "silu": {},
    "hardtanh": {"min_val": -0.5, "max_val": 1.0},
    "relu6": {},
    "softplus": {"beta": 2.0, "threshold": 5.0},
    "sigmoid": {},
    "tanh": {},
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    torch = pytest.importorskip("torch")
    x = np.concatenate([rng.standard_normal(60) * 3, [0.0, -0.5, 1.0, 6.0, 60.0, -60.0]])
    theirs = getattr(torch, name, None) or getattr(torch.nn.functional, name)
    if name in ("sigmoid", "tanh", "relu"):
        agree(getattr(F, name), theirs, x)
    else:
        agree(
            lambda x: getattr(F, name)(x, **ACTIVATIONS[name]),
            lambda x: getattr(torch.nn.functional, name)(x, **ACTIVATIONS[name]),
            x,
        )
    gradgradcheck(getattr(F, name), [leaf(20)])


def test_gelu_by_tanh():
    torch = pytest.importorskip("torch")
    agree(
        lambda x: F.gelu(x, "tanh"), lambda x: torch.nn.functional.gelu(x, approximate="tanh"), rng.standard_normal(20)
    )
    with pytest.raises(ValueError, match="approximate is 'erf'"):
        F.gelu(jadro.ones(2), "erf")


def test_gelu_keeps_its_small_tail_in_float32():
    x = np.array([-12.0, -8.0, -5.0, -1e-3, 0.0, 3.0], np.float32)
    exact = F.gelu(x.astype(np.float64)).data
    np.testing.assert_allclose(F.gelu(x).data, exact, rtol=2e-5)
    assert F.gelu(jadro.tensor([-1000.0, 1000.0])).tolist() == [0.0, 1000.0]


CONVOLUTIONS = [
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    {"groups": 2, "padding": 1},
    {"groups": 4},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_convolutions_differentiate_twice(options):
    groups = options.get("groups", 1)
    x, w, b = leaf(2, 4, 6, 5), leaf(4, 4 // groups, 3, 2, seed=1), leaf(4, seed=2)
    gradcheck(lambda *a: F.conv2d(*a, **options), [x, w, b])
    gradgradcheck(lambda *a: F.conv2d(*a, **options), [x, w, b])


@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}, {"padding": "same"}])
def test_conv1d(options):
    torch = pytest.importorskip("torch")
    groups = options.get("groups", 1)
    arrays = [rng.standard_normal(s) for s in ((3, 4, 9), (6, 4 // groups, 3), (6,))]
    agree(lambda *a: F.conv1d(*a, **options), lambda *a: torch.nn.functional.conv1d(*a, **options), *arrays)
    assert F.conv1d(arrays[0][0], arrays[1], **options).ndim == 2


@pytest.mark.parametrize("m", [1, 2, 5, 8])
@pytest.mark.parametrize(("k", "s", "d"), [(1, 1, 1), (2, 1, 1), (3, 2, 1), (2, 3, 2), (5, 2, 1), (1, 4, 1)])
def test_same_padding_gives_ceil_and_puts_the_odd_cell_last_or_first(m, k, s, d):
    x, w = rng.standard_normal((1, 1, m)), rng.standard_normal((1, 1, k))
    total = max((-(-m // s) - 1) * s + d * (k - 1) + 1 - m, 0)
    for name, before in (("same", total // 2), ("same_lower", total - total // 2)):
        y = F.conv1d(x, w, padding=name, stride=s, dilation=d)
        assert y.shape[2] == -(-m // s)
        explicit = F.conv1d(np.pad(x, ((0, 0), (0, 0), (before, total - before))), w, stride=s, dilation=d)
        np.testing.assert_array_equal(y.data, explicit.data)


def test_forms_of_padding():
    x, w = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 3))

    def padded(top, bottom, left, right):
        return F.conv2d(np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))), w).data

    for padding, sides in [
        (1, (1, 1, 1, 1)),
        ((2, 0), (2, 2, 0, 0)),
        (((0, 2), (1, 0)), (0, 2, 1, 0)),
        ([[1, 0], [3, 1]], (1, 0, 3, 1)),
        ("valid", (0, 0, 0, 0)),
    ]:
        np.testing.assert_allclose(F.conv2d(x, w, padding=padding).data, padded(*sides), rtol=1e-12)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode):
    torch = pytest.importorskip("torch")
    x, w = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 3))
    torch_pad = lambda x, pad: torch.nn.functional.pad(x, pad, mode)  # noqa: E731
    agree(
        lambda x, w: F.conv2d(x, w, padding=((2, 1), (1, 3)), padding_mode=mode),
        lambda x, w: torch.nn.functional.conv2d(torch_pad(x, (1, 3, 2, 1)), w),
        x,
        w,
    )
    agree(lambda x: F.pad(x, (2, 1, 3, 4), mode), lambda x: torch_pad(x, (2, 1, 3, 4)), x)
    gradgradcheck(lambda x: F.pad(x, (1, 2), mode) ** 2, [leaf(3, 4)])


def test_constant_padding_and_cropping():
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 4))
    for pad in ((1, 2), (-1, 2, 3, -1), (0, 0, 1, 1, 2, -1)):
        agree(lambda x, p=pad: F.pad(x, p, value=2.5), lambda x, p=pad: torch.nn.functional.pad(x, p, value=2.5), x)


def test_padding_that_cuts_or_is_none():
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 4))
    for pad in ((-4, 5), (1, -3), (-1, -2, 2, -3), (-2, 0)):
        agree(lambda x, p=pad: F.pad(x, p, "replicate"), lambda x, p=pad: torch.nn.functional.pad(x, p, "replicate"), x)
    for mode in ("reflect", "replicate", "circular"):
        assert F.pad(np.zeros((0, 3, 3)), (1, 2), mode).shape == (0, 3, 6)


WINDOWS = [(k, s, p) for k, s, p in [(2, None, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), ((3, 2), (2, 1), (1, 0))]]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_average_pooling(window, ceil_mode):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 8, 7))
    for count in (False, True):
        options = {"ceil_mode": ceil_mode, "count_include_pad": count}
        agree(
            lambda x, o=options: F.avg_pool2d(x, *window, **o),
            lambda x, o=options: torch.nn.functional.avg_pool2d(x, *window, **o),
            x,
        )
    if not isinstance(window[0], tuple):
        agree(
            lambda x: F.avg_pool1d(x, *window, ceil_mode),
            lambda x: torch.nn.functional.avg_pool1d(x, *window, ceil_mode),
            x[0],
        )


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pooling(window, ceil_mode):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 8, 7))
    options = {"ceil_mode": ceil_mode, "return_indices": True}
    agree(
        lambda x: F.max_pool2d(x, *window, ceil_mode=ceil_mode),
        lambda x: torch.nn.functional.max_pool2d(x, *window, ceil_mode=ceil_mode),
        x,
    )
    y, indices = F.max_pool2d(x, *window, **options)
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x), *window, **options)[1]
    assert indices.dtype == np.int64 and y.shape == indices.shape
    np.testing.assert_array_equal(indices.data, expected.numpy())
    if not isinstance(window[0], tuple):
        y, indices = F.max_pool1d(x[0], *window, **options)
        expected = torch.nn.functional.max_pool1d(torch.from_numpy(x[0]), *window, **options)
        np.testing.assert_array_equal(indices.data, expected[1].numpy())
        np.testing.assert_array_equal(y.data, expected[0].numpy())


def test_max_pooling_differentiates_twice():
    gradgradcheck(lambda x: F.max_pool2d(x, 2) ** 2, [leaf(2, 2, 4, 4)])
    gradgradcheck(lambda x: F.avg_pool2d(x, 2) ** 2, [leaf(2, 2, 4, 4)])


@pytest.mark.parametrize("size", [1, 3, (4, 7), (None, 2), (10, 9)])
def test_adaptive_pooling(size):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 8, 7))
    theirs = torch.nn.functional.adaptive_avg_pool2d
    agree(lambda x: F.adaptive_avg_pool2d(x, size), lambda x: theirs(x, size), x)
    agree(lambda x: F.adaptive_avg_pool2d(x, size), lambda x: theirs(x, size), x[0])
    agree(lambda x: F.adaptive_avg_pool1d(x, 3), lambda x: torch.nn.functional.adaptive_avg_pool1d(x, 3), x[0])


def test_linear_of_any_rank():
    torch = pytest.importorskip("torch")
    for shape in ((4,), (3, 4), (2, 3, 4), (0, 4), (2, 0, 4)):
        agree(F.linear, torch.nn.functional.linear, *(rng.standard_normal(s) for s in (shape, (5, 4), (5,))))
    agree(F.linear, torch.nn.functional.linear, rng.standard_normal((3, 4)), rng.standard_normal(4))
    gradgradcheck(F.linear, [leaf(3, 4), leaf(5, 4, seed=1), leaf(5, seed=2)])


def test_embedding():
    torch = pytest.importorskip("torch")
    ids = np.array([[1, 2, 0], [2, 2, 4]])
    theirs = torch.nn.functional.embedding
    for padding in (None, 2, -1):
        agree(
            lambda w, p=padding: F.embedding(ids, w, p),
            lambda w, p=padding: theirs(torch.from_numpy(ids), w, p),
            rng.standard_normal((5, 3)),
        )
    gradgradcheck(lambda w: F.embedding(ids, w, 2) ** 2, [leaf(5, 3)])
    assert F.embedding(np.zeros((0, 2), np.int32), leaf(5, 3)).shape == (0, 2, 3)


def test_one_hot():
    assert F.one_hot(np.array([[0, 2]])).tolist() == [[[1, 0, 0], [0, 0, 1]]]
    assert F.one_hot(jadro.tensor(1), 3).tolist() == [0, 1, 0] and F.one_hot([1]).dtype == np.int64
    for bad, message in (([-1], "x has -1..-1, expected 0..2"), ([3], "num_classes is 3"), ([0.5], "dtype")):
        with pytest.raises((ValueError, TypeError), match=message):
            F.one_hot(bad, 3)


def test_dropout():
    jadro.manual_seed(0)
    x = jadro.ones(10_000, requires_grad=True)
    y = F.dropout(x, 0.3)
    kept = y.data != 0
    assert abs(kept.mean() - 0.7) < 0.02
    np.testing.assert_allclose(y.data[kept], 1 / 0.7, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)
    assert not np.array_equal(F.dropout(x, 0.3).data, y.data)
    jadro.manual_seed(0)
    np.testing.assert_array_equal(F.dropout(x, 0.3).data, y.data)
    assert F.dropout(x, 0.3, training=False) is x
    assert not F.dropout(x, 1.0).data.any()
    with pytest.raises(ValueError, match=r"p is 1[.]5"):
        F.dropout(x, 1.5)


NORMS = {
    "batch_norm": (lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), (4,)),
    "layer_norm": (lambda F, x, w, b: F.layer_norm(x, (5, 6), w, b), (5, 6)),
    "group_norm": (lambda F, x, w, b: F.group_norm(x, 2, w, b), (4,)),
    "instance_norm": (lambda F, x, w, b: F.instance_norm(x, None, None, w, b), (4,)),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalisation(name):
    torch = pytest.importorskip("torch")
    call, shape = NORMS[name]
    arrays = [rng.standard_normal(s) for s in ((3, 4, 5, 6), shape, shape)]
    agree(lambda *a: call(F, *a), lambda *a: call(torch.nn.functional, *a), *arrays)
    leaves = [leaf(2, 4, 5, 6), leaf(*shape, seed=1), leaf(*shape, seed=2)]
    gradgradcheck(lambda *a: call(F, *a), leaves, directions=1)


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
@pytest.mark.parametrize("training", [True, False])
def test_running_moments(name, training):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((3, 4, 5))
    ours = [rng.standard_normal(4), rng.uniform(0.5, 2, 4)]
    theirs = [torch.tensor(a) for a in ours]
    options = {"training" if name == "batch_norm" else "use_input_stats": training, "momentum": 0.3}
    moments = [jadro.as_tensor(a) for a in ours]
    agree(
        lambda x: getattr(F, name)(x, *moments, **options),
        lambda x: getattr(torch.nn.functional, name)(x, *theirs, **options),
        x,
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-13)
    gradgradcheck(lambda x: F.batch_norm(x, *moments, training=False) ** 2, [leaf(3, 4)])


REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (3, 5, 2), (2, 5, 3, 2), (0, 5)])
def test_cross_entropy(shape, weighted, smoothing, reduction):
    torch = pytest.importorskip("torch")
    x, weight = rng.standard_normal(shape), rng.uniform(0.1, 2, 5) if weighted else None
    classes = rng.integers(0, 5, shape[:1] + shape[2:] if len(shape) > 1 else ())
    if classes.size > 2:
        classes.flat[1] = -100
    probabilities = rng.uniform(size=shape)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    theirs = torch.nn.functional.cross_entropy
    for target in (np.asarray(classes), probabilities):
        agree(
            lambda x, t=target: F.cross_entropy(x, t, weight, **options),
            lambda x, t=target: theirs(x, torch.tensor(t), None if weight is None else torch.tensor(weight), **options),
            x,
        )


def test_cross_entropy_differentiates_twice_and_reaches_soft_targets():
    target, weight = np.array([1, 0, -100, 4]), rng.uniform(0.1, 2, 5)
    gradgradcheck(lambda x: F.cross_entropy(x, target, weight, label_smoothing=0.1), [leaf(4, 5)])
    gradcheck(lambda x, t: F.cross_entropy(x, t, weight), [leaf(4, 5), leaf(4, 5, seed=1)])


def test_cross_entropy_of_ignored_targets_only():
    x = jadro.ones(2, 3, requires_grad=True)
    assert np.isnan(F.cross_entropy(x, np.full(2, -100)).item())
    assert F.cross_entropy(x, np.full(2, -100), reduction="sum").item() == 0
    assert F.cross_entropy(x, np.array([1, 7]), ignore_index=7).item() == pytest.approx(np.log(3))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss(reduction):
    torch = pytest.importorskip("torch")
    x, target, weight = rng.standard_normal((3, 5, 4)), rng.integers(0, 5, (3, 4)), rng.uniform(0.1, 2, 5)
    target[0, 0] = -100
    theirs = torch.nn.functional.nll_loss
    agree(
        lambda x: F.nll_loss(x, target, weight, reduction=reduction),
        lambda x: theirs(x, torch.tensor(target), torch.tensor(weight), reduction=reduction),
        x,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_regression_losses(reduction):
    torch = pytest.importorskip("torch")
    T, (x, y) = torch.nn.functional, rng.standard_normal((2, 3, 4))
    agree(lambda x, y: F.mse_loss(x, y, reduction), lambda x, y: T.mse_loss(x, y, reduction=reduction), x, y)
    agree(lambda x, y: F.l1_loss(x, y, reduction), lambda x, y: T.l1_loss(x, y, reduction=reduction), x, y)
    for beta in (0.0, 0.7):
        agree(
            lambda x, y, b=beta: F.smooth_l1_loss(x, y, reduction, b),
            lambda x, y, b=beta: T.smooth_l1_loss(x, y, reduction=reduction, beta=b),
            x,
            y,
        )
    w, p = rng.uniform(0.1, 2, (2, 4))
    theirs = T.binary_cross_entropy_with_logits
    agree(
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, w, reduction, p),
        lambda x, y: theirs(x, y, torch.tensor(w), reduction=reduction, pos_weight=torch.tensor(p)),
        x * 30,
        y,
    )


def test_broadcast_losses_warn():
    with pytest.warns(UserWarning, match="rarely meant"):
        F.mse_loss(jadro.ones(3, 1), jadro.ones(3))
    with pytest.raises(ValueError, match="mse_loss: shapes"):
        F.mse_loss(jadro.ones(2), jadro.ones(3))


def test_strides_are_free():
    x, w = rng.standard_normal((4, 5, 6, 2)), rng.standard_normal((3, 3, 2, 4))
    channels_last, kernel = jadro.as_tensor(x).permute(0, 3, 1, 2), jadro.as_tensor(w).permute(3, 2, 0, 1)
    plain = F.conv2d(channels_last.contiguous(), kernel.contiguous()).data
    np.testing.assert_array_equal(F.conv2d(channels_last, kernel).data, plain)
    np.testing.assert_array_equal(F.max_pool2d(channels_last, 2).data, F.max_pool2d(channels_last.contiguous(), 2).data)
    np.testing.assert_array_equal(F.relu(channels_last).data, np.maximum(channels_last.data, 0))


def test_empty_batches():
    x, w = jadro.zeros(0, 4, 6, 6, requires_grad=True), jadro.ones(2, 4, 3, 3, requires_grad=True)
    y = F.max_pool2d(F.batch_norm(F.relu(F.conv2d(x, w, padding=1)), None, None, training=True), 2)
    y = F.avg_pool2d(F.dropout(y), 3)
    assert y.shape == (0, 2, 1, 1)
    y.sum().backward()
    assert x.grad.shape == x.shape and not w.grad.data.any()
    assert F.layer_norm(jadro.zeros(0, 3), 3).shape == (0, 3) and F.group_norm(jadro.zeros(0, 4), 2).shape == (0, 4)


x4, w4, x3 = jadro.zeros(1, 4, 5, 5), jadro.zeros(8, 4, 3, 3), jadro.zeros(1, 2, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.conv2d(x4, jadro.zeros(8, 3, 3, 3)),
            ValueError,
            r"conv2d: weight has shape \(8, 3, 3, 3\), expected \(8, 4, 3, 3\): x has 4 channels and groups is 1",
        ),
        (lambda: F.conv2d(jadro.zeros(4, 5), w4), ValueError, r"conv2d: x has shape \(4, 5\), expected 4 axes"),
        (lambda: F.conv2d(x4, w4[0]), ValueError, "conv2d: weight has shape"),
        (lambda: F.conv2d(x4, w4, jadro.zeros(7)), ValueError, r"conv2d: bias has shape \(7,\), expected \(8,\)"),
        (lambda: F.conv2d(x4, w4, groups=3), ValueError, "conv2d: groups is 3, expected a divisor"),
        (lambda: F.conv2d(x4, w4, groups=0), ValueError, "conv2d: groups is 0"),
        (lambda: F.conv2d(x4, w4, stride=0), ValueError, "conv2d: stride is 0"),
        (lambda: F.conv2d(x4, w4, stride=(1, 2, 3)), ValueError, "conv2d: stride is"),
        (lambda: F.conv2d(x4, w4, stride=1.5), TypeError, "conv2d: stride is 1.5"),
        (lambda: F.conv2d(x4, w4, dilation=-1), ValueError, "conv2d: dilation is -1"),
        (lambda: F.conv2d(x4, w4, padding=-1), ValueError, "conv2d: padding is -1"),
        (lambda: F.conv2d(x4, w4, padding="full"), ValueError, "conv2d: padding is 'full'"),
        (lambda: F.conv2d(x4, w4, padding=((1, 1),)), ValueError, "expected 2 pairs"),
        (lambda: F.conv2d(x4, w4, dilation=3), ValueError, r"reaches over \(7, 7\) cells, larger than .* \(5, 5\)"),
        (lambda: F.conv2d(x4[:, :, :0], w4), ValueError, "larger than the padded input"),
        (lambda: F.conv2d(x4, w4[:, :, :0]), ValueError, "kernel of at least 1"),
        (lambda: F.conv2d(x4, w4, padding_mode="wrap"), ValueError, "conv2d: padding_mode is 'wrap'"),
        (lambda: F.conv2d(x4, w4, algorithm="fft"), ValueError, "conv2d: algorithm is 'fft'"),
        (lambda: F.conv2d(x4, w4.double()), TypeError, "conv2d: weight has dtype float64, expected float32"),
        (lambda: F.conv2d(x4.long(), w4), TypeError, "conv2d: x has dtype int64"),
        (lambda: F.conv2d(x4, w4, padding=5, padding_mode="reflect"), ValueError, "expected at most 4 for mode"),
        (lambda: F.conv1d(x4, w4), ValueError, "conv1d: x has shape"),
        (lambda: F.max_pool2d(x4, 0), ValueError, "max_pool2d: kernel_size is 0"),
        (lambda: F.max_pool2d(x4, 6), ValueError, "max_pool2d: the kernel reaches"),
        (lambda: F.max_pool2d(x4, 2, padding=2), ValueError, "max_pool2d: padding is"),
        (lambda: F.max_pool2d(x4[0, 0], 2), ValueError, "max_pool2d: x has shape"),
        (lambda: F.max_pool2d(x4.long(), 2), TypeError, "max_pool2d: x has dtype int64"),
        (lambda: F.max_pool1d(x3, 2, stride=0), ValueError, "max_pool1d: stride is 0"),
        (lambda: F.avg_pool2d(x4[:, :0], 2), ValueError, "avg_pool2d: x has shape"),
        (lambda: F.adaptive_avg_pool2d(x4, 0), ValueError, "adaptive_avg_pool2d: output_size is"),
        (lambda: F.adaptive_avg_pool2d(x4, (1, 2, 3)), ValueError, "an integer or 2 of them"),
        (lambda: F.linear(jadro.zeros(2, 3), jadro.zeros(4, 2)), ValueError, r"linear: x has shape \(2, 3\), expected"),
        (lambda: F.linear(jadro.zeros(2, 3), jadro.zeros(4, 3), jadro.zeros(3)), ValueError, "linear: bias has shape"),
        (lambda: F.linear(x4, w4), ValueError, "linear: weight has shape"),
        (lambda: F.embedding([5], jadro.zeros(5, 2)), ValueError, "embedding: x reaches from 5 to 5, expected 0..4"),
        (lambda: F.embedding([-1], jadro.zeros(5, 2)), ValueError, "embedding: x reaches from -1"),
        (lambda: F.embedding([0.5], jadro.zeros(5, 2)), TypeError, "embedding: x has dtype float32"),
        (lambda: F.embedding([0], jadro.zeros(5, 2), 5), ValueError, "padding_idx is 5"),
        (lambda: F.batch_norm(x4[:, :, :1, :1], None, None, training=True), ValueError, "more than one value"),
        (lambda: F.batch_norm(x4, None, None), ValueError, "expected both in evaluation"),
        (lambda: F.batch_norm(x4, np.zeros(3, "f"), np.ones(4, "f")), ValueError, "running_mean has shape"),
        (lambda: F.layer_norm(x4, (4, 5)), ValueError, "expected to end in normalized_shape"),
        (lambda: F.group_norm(x4, 3), ValueError, "num_groups is 3"),
        (lambda: F.instance_norm(x4[:, :, :1, :1]), ValueError, "more than one value"),
        (lambda: F.cross_entropy(x3, np.zeros((1, 5), int) + 2), ValueError, "target holds 2, expected 0..1"),
        (
            lambda: F.cross_entropy(x3, np.zeros((1, 4), int)),
            ValueError,
            r"target has shape \(1, 4\), expected \(1, 5\)",
        ),
        (lambda: F.cross_entropy(x3, jadro.zeros(1, 4)), ValueError, "of class probabilities"),
        (lambda: F.cross_entropy(x3, jadro.zeros(1, 5).bool()), TypeError, "target has dtype bool"),
        (lambda: F.cross_entropy(x3, np.zeros((1, 5), int), np.ones(3, "f")), ValueError, "weight has shape"),
        (lambda: F.cross_entropy(x3, np.zeros((1, 5), int), reduction="avg"), ValueError, "reduction is 'avg'"),
        (lambda: F.cross_entropy(x3, np.zeros((1, 5), int), label_smoothing=2), ValueError, "label_smoothing is 2"),
        (lambda: F.cross_entropy(x3.long(), np.zeros((1, 5), int)), TypeError, "x has dtype int64"),
        (lambda: F.nll_loss(x3, np.full((1, 5), -1)), ValueError, "nll_loss: target holds -1"),
        (lambda: F.binary_cross_entropy_with_logits(x3, x3[0]), ValueError, "target has shape"),
        (lambda: F.smooth_l1_loss(x3, x3, beta=-1), ValueError, "beta is -1"),
        (lambda: F.pad(x3, (1,)), ValueError, "pad: pad is"),
        (lambda: F.pad(x3, (1, 1), "mirror"), ValueError, "pad: mode is 'mirror'"),
        (lambda: F.pad(x3, (-3, -3)), ValueError, "leaves less than nothing"),
        (lambda: F.hardtanh(x3, 1, -1), ValueError, "expected min_val <= max_val"),
        (lambda: F.relu(x3.long()), TypeError, "relu: x has dtype int64"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
