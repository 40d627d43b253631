"""The norms of dL/dh_t: against PyTorch's graph, against a case known by hand, and drawn."""

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn
from jadro.text import gradient_flow, plot_gradient_flow, stream_batches

KINDS = ["RNN", "LSTM", "GRU"]
T, B, I, H = 7, 3, 4, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def square(output, target):
    return ((output - target) ** 2).sum()


def torch_norms(torch, theirs, x, target, last):
    """dL/dh_t of every layer, by PyTorch's cells, layer by layer and step by step."""
    lstm, graph = isinstance(theirs, torch.nn.LSTM), []
    inputs = list(torch.tensor(x))
    for layer in range(theirs.num_layers):
        cell = {"RNN": torch.nn.RNNCell, "LSTM": torch.nn.LSTMCell, "GRU": torch.nn.GRUCell}[type(theirs).__name__]
        one = cell(inputs[0].shape[-1], H).double()
        one.load_state_dict({k: getattr(theirs, f"{k}_l{layer}") for k in one.state_dict()})
        h, c, outputs = torch.zeros(B, H).double(), torch.zeros(B, H).double(), []
        for x_t in inputs:
            h, c = one(x_t, (h, c)) if lstm else (one(x_t, h), c)
            outputs.append(h)
        inputs = outputs
        graph.append(outputs)
    pairs = list(zip(inputs, torch.tensor(target), strict=True))[-1 if last else 0 :]
    loss = sum(((y - z) ** 2).sum() for y, z in pairs)
    return [[g.norm().item() for g in torch.autograd.grad(loss, hs, retain_graph=True)] for hs in graph]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_those_of_pytorchs_graph(kind, last):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(I, H, 2).double()
    ours = getattr(nn, kind)(I, H, 2, dtype="float64", dropout=0.5)  # which evaluation leaves out
    ours.load_state_dict(theirs.state_dict())
    x, target = draw(T, B, I), draw(T, B, H, seed=1)
    flows = gradient_flow(ours, (x, target), square, last=last)
    assert list(flows) == ["l0", "l1"] and ours.training
    for norms, expected in zip(flows.values(), torch_norms(torch, theirs, x, target, last), strict=True):
        np.testing.assert_allclose(norms, expected, rtol=1e-10)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_a_linear_loop_vanishes_or_explodes_as_its_power(scale):
    """ReLU of positive numbers and U = scale * 1: dL/dh_t = scale^(T-1-t) dL/dh_(T-1)."""
    model = nn.RNN(1, H, nonlinearity="relu", dtype="float64")
    for name, p in model.named_parameters():
        p.data[...] = scale * np.eye(H) if name == "weight_hh_l0" else 1.0
    flow = gradient_flow(model, (np.ones((T, B, 1)), np.zeros((T, B, H))), lambda y, _: y.sum(), last=True)["l0"]
    np.testing.assert_allclose(flow, np.sqrt(B * H) * scale ** np.arange(T - 1, -1, -1.0), rtol=1e-12)


class Tagger(nn.Module):
    """Two recurrent layers, the second one used twice."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, I)
        self.below = nn.GRU(I, H, bidirectional=True)
        self.above = nn.LSTM(2 * H, 2 * H)
        self.scores = nn.Linear(2 * H, 6)

    def forward(self, ids):
        y = self.above(self.below(self.embedding(ids))[0])[0]
        return self.scores(self.above(y)[0]), None


def test_layers_have_their_names_and_the_loss_is_cross_entropy():
    jadro.manual_seed(0)
    model, ids = Tagger(), np.random.default_rng(0).integers(0, 6, (T, B))
    with jadro.no_grad():
        flows = gradient_flow(model, (ids, ids))
        last = gradient_flow(model, (ids, ids), last=True)
    assert list(flows) == ["below.l0", "below.l0_reverse", "above.l0", "above.l0#2"]
    assert all(norms.shape == (T,) and norms.dtype == np.float64 and (norms > 0).all() for norms in flows.values())
    # the last step's loss does not see the reverse direction's steps by way of later ones
    assert last["above.l0#2"][-1] == pytest.approx(flows["above.l0#2"][-1] * T, rel=1e-5)
    assert all(p.grad is None for p in model.parameters())
    assert not model.below._forward_hooks and not model.above._forward_hooks


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.scores = nn.LSTM(6, H, 2), nn.Linear(H, 6)

    def forward(self, ids, state=None, **options):
        y, state = self.rnn(F.one_hot(ids, 6).float(), state, **options)
        return self.scores(y), state


def test_gradients_stop_where_a_document_begins():
    """The loss of the last step sees its own document alone."""
    jadro.manual_seed(0)
    ids, start = np.random.default_rng(0).integers(0, 6, 12), 4
    (batch,) = stream_batches(ids, 1, 11, documents=np.arange(12) // start)
    flows = gradient_flow(Reader(), batch, last=True)
    assert list(flows) == ["rnn.l0", "rnn.l1"]
    for norms in flows.values():
        assert not norms[: 2 * start].any() and (norms[2 * start :] > 0).all()


def test_burn_in_warms_the_state_and_is_not_drawn():
    jadro.manual_seed(0)
    model, ids = Reader(), np.random.default_rng(0).integers(0, 6, 25)
    batches = stream_batches(ids, 2, 7, documents=np.arange(25) // 5, burn_in=3)
    x, target, reset = next(iter(batches))
    flows = gradient_flow(model, (x, target, reset), burn_in=batches.burn_in)
    with jadro.no_grad():
        _, state = model(x[:3], reset=reset[:3])

    class Warm(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, reset):
            return model(ids, state, reset=reset)

    expected = gradient_flow(Warm(), (x[3:], target, reset[3:]))
    for name, norms in flows.items():
        np.testing.assert_array_equal(norms, expected["model." + name])
        assert norms.shape == (7,)


def test_bad_models():
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match="gradient_flow: the model runs no recurrent layer"):
        gradient_flow(nn.Linear(I, H), (x, np.zeros((T, B), np.int64)))
    frozen = nn.GRU(I, H)
    for p in frozen.parameters():
        p.requires_grad = False
    with pytest.raises(ValueError, match="gradient_flow: a hidden state has no gradient"):
        gradient_flow(frozen, (x, x), lambda y, _: y.sum())


def test_the_plot_holds_the_norms(tmp_path):
    pytest.importorskip("matplotlib")
    flows = {"falls": 0.5 ** np.arange(20.0)[::-1], "ends": np.array([0.0, 1.0, 2.0])}
    figure = plot_gradient_flow(flows, tmp_path / "flow.png", title="flow")
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log" and [t.get_text() for t in axes.get_legend().get_texts()] == list(flows)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), flows["falls"])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [np.nan, 1.0, 2.0])
    again = plot_gradient_flow(flows, axes=axes)
    assert again is figure and len(axes.lines) == 4
