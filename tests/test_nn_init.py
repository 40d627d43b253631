"""Initial values: their statistics, PyTorch's bounds, and the same numbers from the same seed."""

import math

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.nn import init

N = 400 * 500


def drawn(function, shape=(400, 500), **options):
    jadro.manual_seed(1)
    t = jadro.zeros(shape, dtype=np.float64)
    assert function(t, **options) is t
    return t.numpy()


def assert_uniform(values, bound):
    """U(-bound, bound): within the bounds, reaching close to them, mean and deviation within five standard errors."""
    assert -bound <= values.min() < -0.999 * bound
    assert 0.999 * bound < values.max() <= bound
    std = bound / math.sqrt(3)
    assert abs(values.mean()) < 5 * std / math.sqrt(values.size)
    assert abs(values.std() - std) < 5 * std / math.sqrt(values.size)


def assert_normal(values, std):
    """N(0, std^2): mean, deviation and the share beyond one and two deviations within five standard errors."""
    n = values.size
    assert abs(values.mean()) < 5 * std / math.sqrt(n)
    assert abs(values.std() - std) < 5 * std / math.sqrt(2 * n)
    for k, share in ((1, 0.31731), (2, 0.04550)):
        assert abs((np.abs(values) > k * std).mean() - share) < 5 * math.sqrt(share / n)


def test_uniform_and_normal():
    assert_uniform(drawn(init.uniform_, a=-2, b=2), 2.0)
    assert_normal(drawn(init.normal_, std=3.0), 3.0)
    assert abs(drawn(init.normal_, mean=5.0).mean() - 5) < 0.02


@pytest.mark.parametrize(("shape", "fans"), [((400, 500), (500, 400)), ((40, 50, 10, 10), (5000, 4000))])
def test_xavier_and_kaiming(shape, fans):
    fan_in, fan_out = fans
    assert_uniform(drawn(init.xavier_uniform_, shape, gain=2.0), 2 * math.sqrt(6 / (fan_in + fan_out)))
    assert_normal(drawn(init.xavier_normal_, shape), math.sqrt(2 / (fan_in + fan_out)))
    assert_uniform(drawn(init.kaiming_uniform_, shape), math.sqrt(6 / fan_in))
    assert_uniform(drawn(init.kaiming_uniform_, shape, a=2.0, mode="fan_out"), math.sqrt(6 / 5 / fan_out))
    assert_normal(drawn(init.kaiming_normal_, shape, nonlinearity="linear"), math.sqrt(1 / fan_in))
    assert_normal(drawn(init.kaiming_normal_, shape, nonlinearity="relu"), math.sqrt(2 / fan_in))


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 3, 2)])
def test_orthogonal(shape):
    m = drawn(init.orthogonal_, shape, gain=2.0).reshape(shape[0], -1)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-14)


@pytest.mark.parametrize(("mean", "std", "a", "b"), [(0, 1, -2, 2), (1, 0.02, -2, 2), (0, 1, 3, 9), (2, 5, 1.9, 2)])
def test_truncated_normal(mean, std, a, b):
    values = drawn(init.trunc_normal_, mean=mean, std=std, a=a, b=b)
    assert a <= values.min() < values.max() <= b
    x = np.linspace(max(a, mean - 9 * std), min(b, mean + 9 * std), 100001)
    density = np.exp(-(((x - mean) / std) ** 2) / 2)
    density /= density.sum()
    expected = (x * density).sum()
    deviation = math.sqrt(((x - expected) ** 2 * density).sum())
    assert abs(values.mean() - expected) < 5 * deviation / math.sqrt(N)
    assert values.std() == pytest.approx(deviation, rel=0.02)


def test_sparse():
    values = drawn(init.sparse_, sparsity=0.25, std=2.0)
    assert ((values == 0).sum(0) == 100).all()
    assert values[values != 0].std() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(("shape", "groups"), [((4, 6, 3), 1), ((6, 2, 3, 4), 2), ((6, 4, 1, 2, 3), 3)])
def test_dirac_equals_pytorch(shape, groups):
    torch = pytest.importorskip("torch")
    wanted = torch.nn.init.dirac_(torch.empty(shape), groups)
    np.testing.assert_array_equal(drawn(init.dirac_, shape, groups=groups), wanted.numpy())


def test_constants():
    np.testing.assert_array_equal(drawn(init.eye_, (2, 3)), np.eye(2, 3))
    assert (drawn(init.ones_) == 1).all()
    assert (drawn(init.zeros_) == 0).all()
    assert (drawn(init.constant_, val=0.3) == 0.3).all()


@pytest.mark.parametrize(
    "name", ["linear", "conv1d", "conv2d", "conv3d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"]
)
def test_gains_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


def test_a_parameter_is_written_and_stays_a_leaf():
    p = nn.Parameter(np.zeros((3, 3), np.float32))
    assert init.uniform_(p) is p
    assert p.is_leaf
    assert p.requires_grad
    assert (p.numpy() != 0).any()
    assert p.dtype == np.float32


def test_the_same_seed_gives_the_same_layers():
    def layer():
        jadro.manual_seed(3)
        return nn.Linear(7, 5).weight.numpy()

    np.testing.assert_array_equal(layer(), layer())


LAYERS = [
    ("Linear", (300, 200)),
    ("Conv1d", (50, 40, 9)),
    ("Conv2d", (30, 40, 5)),
    ("RNN", (100, 150)),
    ("LSTM", (100, 150, 2)),
    ("GRU", (100, 150)),
    ("LSTMCell", (100, 150)),
    ("Embedding", (300, 200)),
]


@pytest.mark.parametrize(("name", "args"), LAYERS)
def test_defaults_are_those_of_pytorch(name, args):
    """The bounds (or for the embedding the deviation) of every parameter agree with PyTorch's layer."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    jadro.manual_seed(0)
    theirs = dict(getattr(torch.nn, name)(*args).named_parameters())
    for key, p in getattr(nn, name)(*args).named_parameters():
        q = theirs.pop(key).detach().numpy()
        assert p.shape == q.shape
        deviation = q.std()
        # the deviation of a sample deviates by less than 1 / sqrt(2 n): five of both samples
        assert abs(p.numpy().std() - deviation) < 2 * 5 * deviation / math.sqrt(2 * q.size)
        if name != "Embedding":
            assert np.abs(p.numpy()).max() <= deviation * math.sqrt(3) * (1 + 10 / math.sqrt(2 * q.size))
    assert not theirs


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(3), nn.GroupNorm(1, 3, bias=False), nn.RMSNorm(3), nn.BatchNorm1d(3), nn.PReLU(3, 0.5)]
)
def test_layers_are_as_new_again(layer):
    new = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    for value in layer.state_dict().values():
        value.fill_(7)
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), new[name])


@pytest.mark.parametrize(
    "call",
    [
        lambda: init.xavier_uniform_(jadro.zeros(3)),
        lambda: init.kaiming_normal_(jadro.zeros(3)),
        lambda: init.kaiming_uniform_(jadro.zeros(3, 3), mode="fan"),
        lambda: init.kaiming_uniform_(jadro.zeros(3, 3), nonlinearity="cosine"),
        lambda: init.orthogonal_(jadro.zeros(3)),
        lambda: init.eye_(jadro.zeros(3)),
        lambda: init.uniform_(jadro.zeros(3), 1, 0),
        lambda: init.normal_(jadro.zeros(3), std=-1),
        lambda: init.trunc_normal_(jadro.zeros(3), a=1, b=1),
        lambda: init.dirac_(jadro.zeros(3, 3)),
        lambda: init.dirac_(jadro.zeros(3, 3, 3), groups=2),
        lambda: init.sparse_(jadro.zeros(3, 3), 2),
    ],
)
def test_bad_values(call):
    with pytest.raises(ValueError, match=r"_: |calculate_gain: "):
        call()
