"""The textbook's cases, through the public interface: sizes, filter banks, residual blocks, recurrent nets and their
gradients."""

import math

import numpy as np
import pytest

import jadro
from jadro import nn, optim
from jadro.nn import functional as F

SIZES = [(m, p, k, s) for m in range(1, 10) for p in range(4) for k in range(1, 6) for s in range(1, 5)]
CELLS = ["RNN", "LSTM", "GRU"]
EPS = float(np.finfo(np.float64).eps)


def randn(*shape, seed=0, requires_grad=False):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=requires_grad)


def agree(a, b, ulps=200):
    """Two orders of the same float64 computation: equal to rounding, by the norm of the difference."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.linalg.norm(a - b) <= ulps * EPS * max(np.linalg.norm(a), np.linalg.norm(b))


def apart(a, b):
    """Different by far more than rounding."""
    return np.linalg.norm(np.asarray(a) - np.asarray(b)) > 1e-3 * np.linalg.norm(np.asarray(a))


# --- convolution and pooling ----------------------------------------------------------------------------------------
def test_output_size_of_convolutions():
    """floor((M + 2P - K)/S) + 1, and an error where the filter does not fit."""
    for m, p, k, s in SIZES:
        x, w = jadro.ones((1, 1, m, 3)), jadro.ones((1, 1, k, 1))
        if m + 2 * p < k:
            with pytest.raises(ValueError, match="conv2d"):
                F.conv2d(x, w, stride=(s, 1), padding=(p, 0))
            continue
        size = math.floor((m + 2 * p - k) / s) + 1
        assert F.conv2d(x, w, stride=(s, 1), padding=(p, 0)).shape == (1, 1, size, 3)
        assert F.conv1d(jadro.ones((1, 1, m)), jadro.ones((1, 1, k)), stride=s, padding=p).shape == (1, 1, size)


def test_output_size_of_pooling():
    """The same formula; padding as wide as the window would make windows of nothing."""
    for m, p, k, s in SIZES:
        if p >= k or m + 2 * p < k:
            with pytest.raises(ValueError, match="max_pool2d"):
                F.max_pool2d(jadro.ones((1, 1, m, 3)), (k, 1), stride=(s, 1), padding=(p, 0))
            continue
        size = math.floor((m + 2 * p - k) / s) + 1
        y = F.max_pool2d(jadro.ones((1, 1, m, 3)), (k, 1), stride=(s, 1), padding=(p, 0))
        assert y.shape == (1, 1, size, 3)
        assert (y.numpy() == 1).all()


def test_pooling_halves_an_image_and_has_no_parameters():
    pool = nn.MaxPool2d(2)
    x = randn(1, 3, 32, 32)
    y = pool(x)
    assert y.shape == (1, 3, 16, 16)
    assert list(pool.parameters()) == [] and len(pool.state_dict()) == 0
    blocks = x.numpy().reshape(1, 3, 16, 2, 16, 2)
    np.testing.assert_array_equal(y.numpy(), blocks.max(axis=(3, 5)))


@pytest.mark.parametrize(("kh", "kw", "c", "f"), [(3, 3, 3, 16), (5, 3, 4, 7), (1, 1, 64, 10), (7, 7, 1, 96)])
def test_filter_bank(kh, kw, c, f):
    """F filters of K x K' x C with F biases: (K K' C + 1) F numbers; each filter makes one map."""
    bank = nn.Conv2d(c, f, (kh, kw))
    assert bank.weight.shape == (f, c, kh, kw) and bank.bias.shape == (f,)
    assert sum(p.numel() for p in bank.parameters()) == (kh * kw * c + 1) * f
    assert bank(jadro.ones((2, c, 9, 8))).shape == (2, f, 9 - kh + 1, 8 - kw + 1)


def test_each_filter_is_a_dot_product_with_the_patch_and_its_bias():
    bank = nn.Conv2d(3, 5, 3).double()
    x = randn(1, 3, 6, 6)
    patch = x.numpy()[0, :, 2:5, 1:4]
    expected = [np.sum(w * patch) + b for w, b in zip(bank.weight.numpy(), bank.bias.numpy(), strict=True)]
    agree(bank(x).numpy()[0, :, 2, 1], expected)


def test_a_residual_block_with_a_zero_body_is_the_identity():
    body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    for p in body.parameters():
        p.data[...] = 0
    x = jadro.tensor(np.random.default_rng(0).standard_normal((2, 4, 5, 6), dtype=np.float32), requires_grad=True)
    y = nn.Residual(body)(x)
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    dy = np.random.default_rng(1).standard_normal(y.shape, dtype=np.float32)
    y.backward(jadro.tensor(dy))
    np.testing.assert_array_equal(x.grad.numpy(), dy)


def test_a_residual_block_adds_body_and_shortcut():
    body, shortcut = nn.Conv2d(3, 5, 3, padding=1).double(), nn.Conv2d(3, 5, 1).double()
    x = randn(2, 3, 4, 4)
    agree(nn.Residual(body, shortcut)(x).numpy(), body(x).numpy() + shortcut(x).numpy())


# --- recurrent nets: equations ---------------------------------------------------------------------------------------
class Hello(nn.Module):
    """h_t = tanh(W^xh x_t + W^hh h_{t-1} + b), s_t = W^hs h_t + b^s."""

    def __init__(self, hidden=8):
        super().__init__()
        self.rnn = nn.RNN(4, hidden)
        self.scores = nn.Linear(hidden, 4)

    def forward(self, x, state=None):
        h, state = self.rnn(x, state)
        return self.scores(h), state


def one_hot(text):
    return jadro.tensor(np.eye(4, dtype=np.float32)[["helo".index(c) for c in text]][:, None])


@pytest.mark.parametrize("seed", range(3))
def test_the_hello_network_learns_its_word(seed):
    """h -> e -> l -> l -> o: the second l needs the state, for its input is that of the first."""
    jadro.manual_seed(seed)
    model = Hello()
    optimizer = optim.Adam(model.parameters(), lr=0.03)
    x, target = one_hot("hell"), jadro.tensor(["helo".index(c) for c in "ello"])
    losses = []
    for _ in range(150):
        scores, _ = model(x)
        loss = F.cross_entropy(scores.reshape(4, 4), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9 and losses[-1] < 0.1
    with jadro.no_grad():  # fed its own letters, it spells the word
        letter, state, word = "h", None, "h"
        for _ in range(4):
            scores, state = model(one_hot(letter), state)
            letter = "helo"[int(np.argmax(scores.numpy()))]
            word += letter
    assert word == "hello"


def test_scores_are_linear_in_each_state():
    """s_t = W^hs h_t + b^s at every step."""
    model = Hello().double()
    x = randn(6, 2, 4)
    h, _ = model.rnn(x)
    w, b = model.scores.weight.numpy(), model.scores.bias.numpy()
    for s_t, h_t in zip(model(x)[0].numpy(), h.numpy(), strict=True):
        agree(s_t, h_t @ w.T + b)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights_of(layer, suffix="_l0"):
    return (getattr(layer, name + suffix).numpy() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def written_step(kind, layer, x, h, c):
    """One step as the equations are written, gate by gate."""
    w, u, b, b2 = weights_of(layer)
    a, r = (np.split(v, {"RNN": 1, "LSTM": 4, "GRU": 3}[kind], axis=1) for v in (x @ w.T + b, h @ u.T + b2))
    if kind == "RNN":
        return np.tanh(a[0] + r[0]), c
    if kind == "GRU":
        reset, update = sigmoid(a[0] + r[0]), sigmoid(a[1] + r[1])
        new = np.tanh(a[2] + reset * r[2])
        return (1 - update) * new + update * h, c
    i, f, g, o = sigmoid(a[0] + r[0]), sigmoid(a[1] + r[1]), np.tanh(a[2] + r[2]), sigmoid(a[3] + r[3])
    c = f * c + i * g
    return o * np.tanh(c), c


@pytest.mark.parametrize("kind", CELLS)
def test_gates_follow_their_equations(kind):
    layer = getattr(nn, kind)(3, 5).double()
    x, h, c = randn(7, 2, 3), randn(1, 2, 5, seed=1), randn(1, 2, 5, seed=2)
    y, state = layer(x, (h, c) if kind == "LSTM" else h)
    h_t, c_t = h.numpy()[0], c.numpy()[0]
    for x_t, y_t in zip(x.numpy(), y.numpy(), strict=True):
        h_t, c_t = written_step(kind, layer, x_t, h_t, c_t)
        agree(y_t, h_t)
    last = state if kind == "LSTM" else (state,)
    for got, expected in zip(last, (h_t, c_t), strict=False):
        agree(got.numpy()[0], expected)


# --- recurrent nets: gradients through time -------------------------------------------------------------------------
def cell_of(kind, layer):
    """A single-step cell with the layer's own parameters."""
    cell = getattr(nn, kind + "Cell")(layer.input_size, layer.hidden_size).double()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, name).data[...] = getattr(layer, name + "_l0").numpy()
    return cell


def detached(state):
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def run_layer(layer, x, state, chunk):
    """Outputs of all steps, the graph cut every `chunk` steps."""
    outputs = []
    for t in range(0, len(x), chunk):
        y, state = layer(x[t : t + chunk], state)
        outputs.append(y)
        state = detached(state)
    return jadro.cat(outputs)


def run_cell(cell, x, state, chunk):
    """The same as a graph of single steps."""
    outputs = []
    for t in range(len(x)):
        if t and t % chunk == 0:
            state = detached(state)
        state = cell(x[t], state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return jadro.stack(outputs)


def gradients(run, module, kind, chunk):
    """Gradients of the parameters, the input and the first state, for a fixed weighting of all outputs."""
    x = randn(12, 3, 4, requires_grad=True)
    h, c = randn(3, 5, seed=1, requires_grad=True), randn(3, 5, seed=2, requires_grad=True)
    lift = (lambda s: s.unsqueeze(0)) if run is run_layer else (lambda s: s)
    state = (lift(h), lift(c)) if kind == "LSTM" else lift(h)
    y = run(module, x, state, chunk)
    (y * randn(*y.shape, seed=3)).sum().backward()
    states = [h.grad, c.grad] if kind == "LSTM" else [h.grad]
    return [p.grad.numpy() for p in module.parameters()] + [g.numpy() for g in (x.grad, *states)]


@pytest.mark.parametrize("chunk", [12, 4, 1, 5])
@pytest.mark.parametrize("kind", CELLS)
def test_bptt_is_that_of_the_unrolled_graph(kind, chunk):
    """One native call a chunk against a graph of single steps cut at the same places; chunk 12 is the whole
    sequence."""
    layer = getattr(nn, kind)(4, 5).double()
    fused = gradients(run_layer, layer, kind, chunk)
    unrolled = gradients(run_cell, cell_of(kind, layer), kind, chunk)
    for a, b in zip(fused, unrolled, strict=True):
        agree(a, b)


@pytest.mark.parametrize("kind", CELLS)
def test_truncation_changes_the_gradient_and_not_the_outputs(kind):
    layer = getattr(nn, kind)(4, 5).double()
    x = randn(12, 3, 4)
    start = (randn(1, 3, 5), randn(1, 3, 5, seed=1)) if kind == "LSTM" else randn(1, 3, 5)
    whole, pieces = run_layer(layer, x, start, 12), run_layer(layer, x, start, 4)
    np.testing.assert_array_equal(whole.numpy(), pieces.numpy())
    full = gradients(run_layer, layer, kind, 12)
    layer.zero_grad()
    cut = gradients(run_layer, layer, kind, 4)
    assert all(apart(a, b) for a, b in zip(full[:4], cut[:4], strict=True))


def test_a_forget_gate_of_one_carries_the_cell_unchanged_over_1000_steps():
    layer = nn.LSTM(3, 6)
    for p in layer.parameters():
        p.data[...] = 0
    i, f, _, o = np.split(layer.bias_ih_l0.data, 4)
    i[...], f[...], o[...] = -1000, 1000, 1000
    c = jadro.tensor(np.linspace(-3, 3, 12, dtype=np.float32).reshape(1, 2, 6), requires_grad=True)
    x, h = (
        jadro.tensor(np.random.default_rng(0).standard_normal((1000, 2, 3), dtype=np.float32)),
        jadro.zeros((1, 2, 6)),
    )
    _, (_, last) = layer(x, (h, c))
    np.testing.assert_array_equal(last.numpy(), c.numpy())
    last.sum().backward()  # and its gradient comes back unchanged
    np.testing.assert_array_equal(c.grad.numpy(), np.ones((1, 2, 6)))


STEPS = 100


def growth(layer, state):
    """|d last / d first| over |d last| for the carried state, at the fixed point h = 0 of a net without input."""
    x = jadro.zeros((STEPS, 1, 1), dtype=np.float64)
    _, last = layer(x, state)
    first, last = (s[1] if isinstance(s, tuple) else s for s in (state, last))
    direction = np.random.default_rng(5).standard_normal(last.shape)
    last.backward(jadro.tensor(direction))
    return np.linalg.norm(first.grad.numpy()) / np.linalg.norm(direction)


def rotation(size):
    return np.linalg.qr(np.random.default_rng(3).standard_normal((size, size)))[0]


def quiet(kind, hidden):
    """A layer whose weights and biases are all zero, in float64."""
    layer = getattr(nn, kind)(1, hidden).double()
    for p in layer.parameters():
        p.data[...] = 0
    return layer


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_gradients_vanish_and_explode_in_the_plain_rnn(scale):
    """With U = scale * rotation, the gradient through T steps is U^T to the power T: scale^T times as long."""
    layer = quiet("RNN", 8)
    layer.weight_hh_l0.data[...] = scale * rotation(8)
    h = jadro.zeros((1, 1, 8), dtype=np.float64, requires_grad=True)
    np.testing.assert_allclose(growth(layer, h), scale**STEPS, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_gradients_neither_vanish_nor_explode_in_the_lstm(scale):
    """The same recurrent matrix in all gates; forget gates open (bias 5) and input gates nearly closed (bias -5) keep
    the cell."""
    layer = quiet("LSTM", 8)
    layer.weight_hh_l0.data[...] = np.tile(scale * rotation(8), (4, 1))
    i, f, _, _ = np.split(layer.bias_ih_l0.data, 4)
    i[...], f[...] = -5, 5
    state = tuple(jadro.zeros((1, 1, 8), dtype=np.float64, requires_grad=True) for _ in "hc")
    assert 0.25 < growth(layer, state) < 1


def test_clipping_to_five():
    p = nn.Parameter(jadro.zeros(6))
    p.grad = jadro.tensor(np.array([-7, -5, -1, 0.5, 5, 1e30], np.float32))
    nn.utils.clip_grad_value_([p], 5.0)
    np.testing.assert_array_equal(p.grad.numpy(), np.array([-5, -5, -1, 0.5, 5, 5], np.float32))


def test_clipping_tames_an_exploding_gradient():
    layer = quiet("RNN", 8)
    layer.weight_hh_l0.data[...] = 1.5 * rotation(8)
    layer(randn(STEPS, 1, 1) * 1e-20)[0].sum().backward()
    assert max(np.abs(p.grad.numpy()).max() for p in layer.parameters()) > 1e6
    nn.utils.clip_grad_value_(layer.parameters(), 5.0)
    assert max(np.abs(p.grad.numpy()).max() for p in layer.parameters()) == 5
