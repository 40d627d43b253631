"""Bad input through the public functions and layers: the error names the call and the argument, and nothing has
changed."""

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.nn import functional as F

X = np.random.default_rng(0).standard_normal((2, 4, 6, 7)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((8, 4, 3, 3)).astype(np.float32)
HUGE = 2**62


def x(*shape, dtype=np.float32):
    return jadro.tensor(np.ones(shape, dtype))


BAD = {
    # convolution
    "conv2d channels": (lambda: F.conv2d(X, W[:, :3]), ValueError, r"conv2d: weight has shape \(8, 3, 3, 3\)"),
    "conv2d rank of x": (lambda: F.conv2d(X[0, 0], W), ValueError, r"conv2d: x has shape \(6, 7\)"),
    "conv2d rank of weight": (lambda: F.conv2d(X, W[0]), ValueError, "conv2d: weight"),
    "conv2d bias": (lambda: F.conv2d(X, W, np.ones(7, np.float32)), ValueError, r"conv2d: bias has shape \(7,\)"),
    "conv2d dtypes": (lambda: F.conv2d(X, W.astype(np.float64)), TypeError, "conv2d: weight.*float64"),
    "conv2d integers": (lambda: F.conv2d(X.astype(np.int64), W.astype(np.int64)), TypeError, "conv2d: .*int64"),
    "threads text": (lambda: jadro.set_num_threads("4"), TypeError, "set_num_threads: n is '4', expected an integer"),
    "threads 2.5": (lambda: jadro.set_num_threads(2.5), TypeError, "set_num_threads: n is 2.5"),
    "threads 10^12": (
        lambda: jadro.set_num_threads(10**12),
        ValueError,
        "set_num_threads: n is 10+, expected 1..65535",
    ),
    "seed text": (lambda: jadro.manual_seed("a"), TypeError, "manual_seed: seed is 'a', expected an integer"),
    "seed 1.9": (lambda: jadro.manual_seed(1.9), TypeError, "manual_seed: seed is 1.9"),
    "eye -1": (lambda: jadro.eye(-1), ValueError, "eye: shape"),
    "randperm -1": (lambda: jadro.randperm(-1), ValueError, "randperm: n is -1, expected at least 0"),
    "linspace -1": (lambda: jadro.linspace(0, 1, -1), ValueError, "linspace: steps is -1, expected at least 0"),
    "to gpu": (lambda: jadro.ones(1).to("gpu"), TypeError, "to: target is 'gpu', expected a device or a dtype"),
    "conv2d complex": (lambda: F.conv2d(X.astype(np.complex64), W), TypeError, "complex64"),
    "conv2d half on the CPU": (lambda: F.conv2d(X.astype(np.float16), W.astype(np.float16)), TypeError, "float16"),
    "conv2d stride 0": (lambda: F.conv2d(X, W, stride=0), ValueError, "conv2d: stride"),
    "conv2d stride -1": (lambda: F.conv2d(X, W, stride=(1, -1)), ValueError, "conv2d: stride"),
    "conv2d stride 1.5": (lambda: F.conv2d(X, W, stride=1.5), TypeError, "conv2d: stride"),
    "conv2d three strides": (lambda: F.conv2d(X, W, stride=(1, 1, 1)), ValueError, "conv2d: stride"),
    "conv2d padding -1": (lambda: F.conv2d(X, W, padding=-1), ValueError, "conv2d: padding"),
    "conv2d padding name": (lambda: F.conv2d(X, W, padding="sane"), ValueError, "conv2d: padding.*sane"),
    "conv2d padding huge": (lambda: F.conv2d(X, W, padding=HUGE), ValueError, "conv2d"),
    "conv2d output of 2^60 pixels": (lambda: F.conv2d(X, W, padding=2**28), (ValueError, MemoryError), "."),
    "conv2d dilation 0": (lambda: F.conv2d(X, W, dilation=0), ValueError, "conv2d: dilation"),
    "conv2d dilation huge": (lambda: F.conv2d(X, W, dilation=HUGE), ValueError, "conv2d"),
    "conv2d groups 0": (lambda: F.conv2d(X, W, groups=0), ValueError, "conv2d: groups"),
    "conv2d groups 3": (lambda: F.conv2d(X, W, groups=3), ValueError, "conv2d: .*groups"),
    "conv2d groups of filters": (lambda: F.conv2d(X, W[:7, :1], groups=4), ValueError, "conv2d: .*groups"),
    "conv2d kernel too large": (lambda: F.conv2d(X[:, :, :2], W), ValueError, "conv2d: .*kernel"),
    "conv2d kernel of nothing": (lambda: F.conv2d(X, W[:, :, :0]), ValueError, "conv2d: .*kernel"),
    "conv2d algorithm": (lambda: F.conv2d(X, W, algorithm="fft"), ValueError, "conv2d: algorithm.*fft"),
    "conv2d padding_mode": (lambda: F.conv2d(X, W, padding_mode="mirror"), ValueError, "conv2d: padding_mode.*mirror"),
    "conv2d x is text": (lambda: F.conv2d("image", W), TypeError, "."),
    "conv2d x is None": (lambda: F.conv2d(None, W), TypeError, "."),
    "conv1d rank": (lambda: F.conv1d(X, W), ValueError, "conv1d"),
    "Conv2d groups": (lambda: nn.Conv2d(4, 8, 3, groups=3), ValueError, "Conv2d.*groups"),
    "Conv2d no channels": (lambda: nn.Conv2d(-4, 8, 3), ValueError, "Conv2d.*in_channels"),
    "Conv2d kernel": (lambda: nn.Conv2d(4, 8, 0), ValueError, "Conv2d.*kernel_size"),
    # pooling
    "max_pool2d kernel 0": (lambda: F.max_pool2d(X, 0), ValueError, "max_pool2d: kernel_size"),
    "max_pool2d kernel too large": (lambda: F.max_pool2d(X, 9), ValueError, "max_pool2d"),
    "max_pool2d stride 0": (lambda: F.max_pool2d(X, 2, stride=0), ValueError, "max_pool2d: stride"),
    "max_pool2d padding": (lambda: F.max_pool2d(X, 2, padding=2), ValueError, "max_pool2d: padding"),
    "max_pool2d dilation huge": (lambda: F.max_pool2d(X, 2, dilation=HUGE), ValueError, "max_pool2d"),
    "max_pool2d rank": (lambda: F.max_pool2d(X[0, 0], 2), ValueError, "max_pool2d: x has shape"),
    "max_pool2d integers": (lambda: F.max_pool2d(X.astype(np.int32), 2), TypeError, "max_pool2d: .*int32"),
    # linear, look-up, dropout
    "linear sizes": (lambda: F.linear(x(2, 5), x(3, 4)), ValueError, r"linear: .*\(3, 4\)"),
    "linear bias": (lambda: F.linear(x(2, 4), x(3, 4), x(4)), ValueError, r"linear: bias has shape \(4,\)"),
    "linear dtypes": (lambda: F.linear(x(2, 4), x(3, 4, dtype=np.float64)), TypeError, "linear: weight"),
    "embedding id": (lambda: F.embedding(np.array([0, 9]), x(9, 2)), ValueError, "embedding: .*9"),
    "embedding negative id": (lambda: F.embedding(np.array([0, -1]), x(9, 2)), ValueError, "embedding: .*-1"),
    "embedding float ids": (lambda: F.embedding(np.array([0.0]), x(9, 2)), TypeError, "embedding: .*float64"),
    "embedding rank": (lambda: F.embedding(np.array([0]), x(9)), ValueError, "embedding: weight"),
    "dropout p": (lambda: F.dropout(X, 1.5), ValueError, "dropout: p is 1.5"),
    "dropout nan": (lambda: F.dropout(X, float("nan")), ValueError, "dropout: p is nan"),
    "Dropout p": (lambda: nn.Dropout(-0.1), ValueError, "Dropout: p is -0.1"),
    # losses
    "cross_entropy target": (lambda: F.cross_entropy(x(3, 5), np.array([0, 5, 1])), ValueError, "cross_entropy: .*5"),
    "cross_entropy negative": (
        lambda: F.cross_entropy(x(3, 5), np.array([0, -7, 1])),
        ValueError,
        "cross_entropy: .*-7",
    ),
    "cross_entropy rows": (lambda: F.cross_entropy(x(3, 5), np.array([0, 1])), ValueError, "cross_entropy: target"),
    "cross_entropy dtype": (lambda: F.cross_entropy(x(3, 5), np.ones(3, bool)), TypeError, "cross_entropy: target"),
    "cross_entropy weight": (
        lambda: F.cross_entropy(x(3, 5), np.array([0, 1, 2]), x(4)),
        ValueError,
        r"cross_entropy: weight has shape \(4,\)",
    ),
    "cross_entropy smoothing": (
        lambda: F.cross_entropy(x(3, 5), np.array([0, 1, 2]), label_smoothing=1.5),
        ValueError,
        "cross_entropy: label_smoothing",
    ),
    "cross_entropy reduction": (
        lambda: F.cross_entropy(x(3, 5), np.array([0, 1, 2]), reduction="average"),
        ValueError,
        "cross_entropy: reduction",
    ),
    # batch norm
    "batch_norm one value": (
        lambda: F.batch_norm(x(1, 3), x(3), x(3), training=True),
        ValueError,
        r"batch_norm: x has shape \(1, 3\)",
    ),
    "batch_norm channels": (lambda: F.batch_norm(X, x(3), x(4)), ValueError, r"batch_norm: running_mean"),
    "batch_norm no statistics": (lambda: F.batch_norm(X, None, None), ValueError, "batch_norm"),
    "BatchNorm2d rank": (lambda: nn.BatchNorm2d(4)(x(2, 4, 3)), ValueError, "BatchNorm2d|batch_norm"),
    # recurrent layers
    "LSTM input size": (lambda: nn.LSTM(5, 3)(x(4, 2, 6)), ValueError, r"LSTM: .*\(4, 2, 6\)"),
    "LSTM rank": (lambda: nn.LSTM(5, 3)(x(5)), ValueError, "LSTM: "),
    "LSTM no steps": (lambda: nn.LSTM(5, 3)(x(0, 2, 5)), ValueError, "(?i)lstm: "),
    "LSTM state": (lambda: nn.LSTM(5, 3)(x(4, 2, 5), (x(1, 3, 3), x(1, 2, 3))), ValueError, r"LSTM: .*\(1, 3, 3\)"),
    "LSTM one state": (lambda: nn.LSTM(5, 3)(x(4, 2, 5), x(1, 2, 3)), (TypeError, ValueError), "LSTM: "),
    "LSTM dtype": (lambda: nn.LSTM(5, 3)(x(4, 2, 5, dtype=np.float64)), TypeError, "(?i)lstm: .*float64"),
    "LSTM hidden size": (lambda: nn.LSTM(5, 0), ValueError, "LSTM: hidden_size"),
    "LSTM layers": (lambda: nn.LSTM(5, 3, num_layers=0), ValueError, "LSTM: num_layers"),
    "LSTM dropout": (lambda: nn.LSTM(5, 3, num_layers=2, dropout=2.0), ValueError, "LSTM: dropout"),
    "GRU state": (lambda: nn.GRU(5, 3)(x(4, 2, 5), x(1, 2, 4)), ValueError, r"GRU: .*\(1, 2, 4\)"),
    "RNN nonlinearity": (lambda: nn.RNN(5, 3, nonlinearity="sine"), ValueError, "RNN: nonlinearity.*sine"),
    "LSTMCell input": (lambda: nn.LSTMCell(5, 3)(x(2, 6)), ValueError, "LSTMCell: "),
}


@pytest.mark.parametrize("name", BAD)
def test_error_names_the_call(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_bad_target_leaves_gradients_alone():
    scores = jadro.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    with pytest.raises(ValueError):
        F.cross_entropy(scores, np.array([0, 3]))
    assert scores.grad is None


def test_bad_batch_leaves_running_statistics_alone():
    layer = nn.BatchNorm2d(4)
    before = {name: np.array(value) for name, value in layer.state_dict().items()}
    with pytest.raises((ValueError, TypeError)):
        layer(x(2, 5, 3, 3))
    with pytest.raises((ValueError, TypeError)):
        layer(jadro.tensor(np.ones((2, 4, 3, 3), np.int64)))
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(np.asarray(value), before[name])


ODD = {
    "reversed": X[::-1, :, ::-1][::-1, :, ::-1],
    "every other": np.repeat(X, 2, axis=3)[..., ::2],
    "Fortran order": np.asfortranarray(X),
    "channels last": np.ascontiguousarray(X.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "byte-swapped": X.astype(X.dtype.newbyteorder()),
    "misaligned": np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape),
}


@pytest.mark.parametrize("name", [*ODD, "read-only", "masked subclass"])
def test_odd_layouts_give_the_same_numbers(name):
    """Any strides, alignment and byte order come in; forward and gradient are those of the plain array, the input
    untouched."""
    if name == "read-only":
        odd = X.copy()
        odd.flags.writeable = False
    elif name == "masked subclass":
        odd = X.view(np.recarray)
    else:
        odd = ODD[name]
    np.testing.assert_array_equal(odd, X)

    def run(array):
        leaf = jadro.tensor(array, requires_grad=True)
        weight = jadro.tensor(W, requires_grad=True)
        y = F.max_pool2d(F.relu(F.conv2d(leaf, weight, padding=1)), 2)
        y.sum().backward()
        with jadro.no_grad():
            direct = F.max_pool2d(F.conv2d(jadro.as_tensor(array), W, padding=1), 2)
        return y.detach().numpy(), leaf.grad.numpy(), weight.grad.numpy(), direct.numpy()

    for got, expected in zip(run(odd), run(X.copy()), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(odd, X)


def test_empty_batches_run_and_train():
    model = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 5))
    y = model(x(0, 4, 6, 7)[:, :, :, :6])
    assert y.shape == (0, 5)
    y.sum().backward()
    assert all((p.grad.numpy() == 0).all() for p in model.parameters())
    for kind in (nn.RNN, nn.GRU, nn.LSTM):
        layer = kind(4, 3)
        y, _ = layer(x(5, 0, 4))
        assert y.shape == (5, 0, 3)
        y.sum().backward()
        assert all((p.grad.numpy() == 0).all() for p in layer.parameters())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_pass(value):
    odd = X.copy()
    odd[1, 2, 3, 4] = value
    y = F.conv2d(odd, W, padding=1).numpy()
    assert np.isfinite(y[0]).all() and not np.isfinite(y[1, :, 2:5, 3:6]).any()
    pooled = F.max_pool2d(odd, 2).numpy()[1, 2, 1, 2]
    plain = np.max(odd[1, 2, 2:4, 4:6])  # NumPy's maximum also keeps NaN
    np.testing.assert_equal(pooled, plain)
    h, _ = nn.LSTM(7, 3)(odd[1])
    assert np.isfinite(h.numpy()[:, :3]).all()
