"""Recurrent layers and cells: PyTorch's outputs and gradients from PyTorch's state, shapes, states, dropout, bad
input."""

import itertools
import warnings

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.testing import gradgradcheck

KINDS = ["RNN", "LSTM", "GRU"]
T, B, I, H = 5, 3, 4, 6


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def flat(result):
    """(output, h) or (output, (h, c)) as one list."""
    output, state = result
    return [output, *state] if isinstance(state, tuple) else [output, state]


def pack(kind, states):
    """What a layer takes for a state: h, or for an LSTM (h, c)."""
    return None if states is None else (tuple(states) if kind.startswith("LSTM") else states[0])


def assert_same(ours, theirs, kind, x, states):
    torch = pytest.importorskip("torch")
    theirs = theirs.double()
    ours.double().load_state_dict(theirs.state_dict())
    leaves = [jadro.tensor(a, requires_grad=True) for a in (x, *(states or ()))]
    twins = [torch.tensor(a, requires_grad=True) for a in (x, *(states or ()))]
    results = flat(ours(leaves[0], pack(kind, leaves[1:] or None)))
    expected = flat(theirs(twins[0], pack(kind, twins[1:] or None)))
    weights = [normal(*y.shape, seed=i) for i, y in enumerate(results)]
    for y, z in zip(results, expected, strict=True):
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
    sum((y * jadro.tensor(w)).sum() for y, w in zip(results, weights, strict=True)).backward()
    sum((z * torch.tensor(w)).sum() for z, w in zip(expected, weights, strict=True)).backward()
    for a, b in zip([*leaves, *ours.parameters()], [*twins, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-11)


OPTIONS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "batch_first": True},
    {"bidirectional": True, "batch_first": True, "bias": False},
]


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "two ways", "batch first", "no bias"])
@pytest.mark.parametrize("kind", KINDS)
def test_layer_equals_pytorch(kind, options, with_state):
    torch = pytest.importorskip("torch")
    rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    states = [normal(rows, B, H, seed=i) for i in (1, 2)[: 1 + (kind == "LSTM")]] if with_state else None
    x = normal(B, T, I) if options.get("batch_first") else normal(T, B, I)
    assert_same(getattr(nn, kind)(I, H, **options), getattr(torch.nn, kind)(I, H, **options), kind, x, states)


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "two ways", "batch first", "no bias"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_batch_equals_pytorch(kind, options):
    torch = pytest.importorskip("torch")
    rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    states = [normal(rows, H, seed=i) for i in (1, 2)[: 1 + (kind == "LSTM")]]
    ours, theirs = getattr(nn, kind)(I, H, **options), getattr(torch.nn, kind)(I, H, **options)
    assert_same(ours, theirs, kind, normal(T, I), states)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_batch_of_nobody(kind):
    layer, x = getattr(nn, kind)(3, 4, num_layers=2), jadro.zeros(5, 0, 3).requires_grad_()
    h = jadro.zeros(2, 0, 4)
    y, state = layer(x, (h, h) if kind == "LSTM" else h)
    assert y.shape == (5, 0, 4)
    assert (state[0] if kind == "LSTM" else state).shape == (2, 0, 4)
    (dx,) = jadro.grad(layer(x)[0].sum(), [x], create_graph=True)
    assert dx.shape == x.shape
    with pytest.raises(ValueError, match=r"state h has shape \(2, 1, 4\), expected \(2, 0, 4\)"):
        layer(x, [jadro.zeros(2, 1, 4)] * 2 if kind == "LSTM" else jadro.zeros(2, 1, 4))


def test_relu_equals_pytorch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.RNN(I, H, 2, "relu")
    assert_same(nn.RNN(I, H, 2, "relu"), theirs, "RNN", normal(T, B, I), None)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_cell_equals_pytorch(kind, with_state, bias, batched):
    torch = pytest.importorskip("torch")
    lead = (B,) if batched else ()
    ours, theirs = getattr(nn, kind + "Cell")(I, H, bias), getattr(torch.nn, kind + "Cell")(I, H, bias).double()
    ours.double().load_state_dict(theirs.state_dict())
    x, states = normal(*lead, I), [normal(*lead, H, seed=i) for i in (1, 2)[: 1 + (kind == "LSTM")]]
    y = ours(jadro.tensor(x), pack(kind, [jadro.tensor(s) for s in states]) if with_state else None)
    z = theirs(torch.tensor(x), pack(kind, [torch.tensor(s) for s in states]) if with_state else None)
    y, z = (r if kind == "LSTM" else (r,) for r in (y, z))
    for a, b in zip(y, z, strict=True):
        assert a.shape == (*lead, H)
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-11)
    sum((a * a).sum() for a in y).backward()
    sum((b * b).sum() for b in z).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-11)


def test_relu_cell_equals_pytorch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.RNNCell(I, H, nonlinearity="relu").double()
    ours = nn.RNNCell(I, H, nonlinearity="relu").double()
    ours.load_state_dict(theirs.state_dict())
    x = normal(B, I)
    np.testing.assert_allclose(ours(x).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_cell_step_by_step(kind):
    layer, cell = getattr(nn, kind)(I, H).double(), getattr(nn, kind + "Cell")(I, H).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x = normal(T, B, I)
    state = None
    for t, expected in enumerate(layer(x)[0].numpy()):
        state = cell(x[t], state)
        h = state[0] if kind == "LSTM" else state
        np.testing.assert_allclose(h.numpy(), expected, rtol=1e-12, atol=1e-14)


def cell_and_inputs(kind):
    """A cell that has been called before, so that it has a plan; x and the states, which require gradients."""
    cell = getattr(nn, kind + "Cell")(I, H).double()
    states = [jadro.tensor(normal(B, H, seed=i), requires_grad=True) for i in (1, 2)[: 1 + (kind == "LSTM")]]
    x = jadro.tensor(normal(B, I), requires_grad=True)
    cell(x)
    return cell, x, states


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_called_again_is_its_layer_over_one_step(kind):
    cell, x, states = cell_and_inputs(kind)
    layer = getattr(nn, kind)(I, H).double()
    layer.load_state_dict({name + "_l0": value for name, value in cell.state_dict().items()})
    ends = cell(x, pack(kind, states))
    ends = ends if kind == "LSTM" else (ends,)
    _, *expected = flat(layer(x.unsqueeze(0), pack(kind, [s.unsqueeze(0) for s in states])))
    mine = jadro.grad(sum((e * e).sum() for e in ends), [x, *states, *cell.parameters()])
    theirs = jadro.grad(sum((e * e).sum() for e in expected), [x, *states, *layer.parameters()])
    for a, b in zip((*ends, *mine), (*(e[0] for e in expected), *theirs), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), strict=True)


@pytest.mark.parametrize("kind", [*KINDS, *(kind + "Cell" for kind in KINDS)])
def test_a_class_derived_from_a_layer_or_cell_has_any_name(kind):
    base = getattr(nn, kind)
    derived = type("Mine", (base,), {})(I, H)
    twin = base(I, H)
    twin.load_state_dict(derived.state_dict())
    x = normal(*(() if kind.endswith("Cell") else (T,)), B, I).astype(np.float32)
    np.testing.assert_array_equal(flat((None, derived(x)))[1].numpy(), flat((None, twin(x)))[1].numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_has_second_derivatives(kind):
    cell, x, states = cell_and_inputs(kind)
    gradgradcheck(lambda x, *states: cell(x, pack(kind, states)), [x, *states])
    weight = next(cell.parameters())
    h = flat((None, cell(x)))[1]
    (slope,) = jadro.grad(h.square().sum(), [weight], create_graph=True)
    assert np.any(jadro.grad(slope.square().sum(), [weight])[0].numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_called_again_checks_as_before(kind):
    cell, x, states = cell_and_inputs(kind)
    y = cell(x, pack(kind, states))
    for wrong in (states[0].detach().numpy().astype(np.float32), np.zeros((B, H), int)):
        with pytest.raises(TypeError, match="h0 has dtype"):
            cell(x, pack(kind, [wrong, *states[1:]]))
    with pytest.raises(TypeError, match="expected float32 as x has"):
        cell(x.detach().numpy().astype(np.float32))
    with pytest.raises(ValueError, match="state h has shape"):
        cell(x, pack(kind, [states[0][:1], *states[1:]]))
    with jadro.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="modified in place"):
        flat((None, y))[1].sum().backward()
    cell.float()
    assert flat((None, cell(normal(B, I).astype(np.float32))))[1].dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_a_carried_state_goes_on_as_one_run(kind):
    layer = getattr(nn, kind)(I, H, 2).double()
    x = normal(T + 4, B, I)
    whole, last = flat(layer(x))[0], flat(layer(x))[1:]
    first, state = layer(x[:T])
    second, state = layer(x[T:], state)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole.numpy())
    for a, b in zip(state if kind == "LSTM" else (state,), last, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_names_and_shapes():
    shapes = {name: t.shape for name, t in nn.LSTM(I, H, 2, bidirectional=True).state_dict().items()}
    kinds = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    names = [f"{k}_l{n}{d}" for n, d, k in itertools.product((0, 1), ("", "_reverse"), kinds)]
    assert list(shapes) == names
    assert shapes["weight_ih_l0"] == (4 * H, I)
    assert shapes["weight_ih_l1_reverse"] == (4 * H, 2 * H)
    assert shapes["weight_hh_l1"] == (4 * H, H)
    assert shapes["bias_hh_l0_reverse"] == (4 * H,)
    assert nn.LSTM(I, H).flatten_parameters() is None


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_between_layers_in_training_only(kind):
    layer = getattr(nn, kind)(I, H, 2, dropout=0.5)
    x = jadro.randn(T, B, I)
    jadro.manual_seed(1)
    first = layer(x)[0].numpy()
    assert (layer(x)[0].numpy() != first).any()
    jadro.manual_seed(1)
    np.testing.assert_array_equal(layer(x)[0].numpy(), first)
    plain = getattr(nn, kind)(I, H, 2)
    plain.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer.eval()(x)[0].numpy(), plain(x)[0].numpy())


def test_dropout_of_one_layer_is_warned_of():
    with pytest.warns(UserWarning, match="LSTM: dropout is 0.5"):
        nn.LSTM(I, H, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LSTM(I, H, 2, dropout=0.5)


def test_an_assigned_parameter_is_used():
    layer = nn.RNN(I, H)
    layer.weight_ih_l0 = nn.Parameter(np.zeros((H, I), np.float32))
    x = jadro.randn(1, B, I)
    expected = np.tanh(layer.bias_ih_l0.numpy() + layer.bias_hh_l0.numpy())
    np.testing.assert_allclose(layer(x)[0].numpy()[0], np.tile(expected, (B, 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.LSTM(3, 4), "LSTM(3, 4)"),
        (nn.GRU(3, 4, 2, bias=False, dropout=0.1), "GRU(3, 4, num_layers=2, bias=False, dropout=0.1)"),
        (nn.RNN(3, 4, batch_first=True, bidirectional=True), "RNN(3, 4, batch_first=True, bidirectional=True)"),
        (nn.GRUCell(3, 4, bias=False), "GRUCell(3, 4, bias=False)"),
    ],
)
def test_repr(layer, text):
    assert repr(layer) == text


X, STATE = normal(T, B, I).astype(np.float32), np.zeros((1, B, H), np.float32)
BAD = [
    (ValueError, "input_size is 0", lambda: nn.LSTM(0, H)),
    (ValueError, "hidden_size is -1", lambda: nn.GRU(I, -1)),
    (TypeError, "hidden_size is 2.5", lambda: nn.RNN(I, 2.5)),
    (ValueError, "num_layers is 0", lambda: nn.LSTM(I, H, 0)),
    (ValueError, "dropout is 1.5", lambda: nn.LSTM(I, H, 2, dropout=1.5)),
    (ValueError, "nonlinearity is 'sine'", lambda: nn.RNN(I, H, nonlinearity="sine")),
    (ValueError, "nonlinearity is 'sine'", lambda: nn.RNNCell(I, H, nonlinearity="sine")),
    (TypeError, "proj_size", lambda: nn.GRU(I, H, proj_size=2)),
    (TypeError, "peephole", lambda: nn.GRU(I, H, peephole=True)),
    (TypeError, "return_cells", lambda: nn.RNN(I, H)(X, return_cells=True)),
    (ValueError, "x has shape", lambda: nn.LSTM(I, H)(X[0, 0])),
    (ValueError, "x has shape", lambda: nn.LSTM(I, H)(X[None])),
    (ValueError, "expected 5 features", lambda: nn.LSTM(I + 1, H)(X)),
    (ValueError, "x has shape", lambda: nn.LSTM(I, H)(X[:0])),
    (TypeError, "expected float64 as x has", lambda: nn.LSTM(I, H)(X.astype(np.float64))),
    (TypeError, "x has dtype int64", lambda: nn.LSTM(I, H)(np.zeros((T, B, I), np.int64))),
    (TypeError, "expected a pair", lambda: nn.LSTM(I, H)(X, STATE)),
    (TypeError, "3 tensors, expected a pair", lambda: nn.LSTM(I, H)(X, (STATE, STATE, STATE))),
    (TypeError, "state h is a tuple", lambda: nn.GRU(I, H)(X, (STATE, STATE))),
    (ValueError, "state h has shape", lambda: nn.GRU(I, H)(X, STATE[0])),
    (ValueError, "state c has shape", lambda: nn.LSTM(I, H)(X, (STATE, STATE[:, :2]))),
    (ValueError, "state h has shape", lambda: nn.RNN(I, H, 2)(X, STATE)),
    (ValueError, r"state h .*expected \(1, 6\)", lambda: nn.GRU(I, H)(X[:, 0], STATE)),
    (ValueError, "x has shape", lambda: nn.GRUCell(I, H)(X)),
    (ValueError, "x has shape", lambda: nn.LSTMCell(I + 1, H)(X[0])),
    (ValueError, "state h has shape", lambda: nn.RNNCell(I, H)(X[0], STATE)),
    (TypeError, "expected a pair", lambda: nn.LSTMCell(I, H)(X[0], STATE[0])),
]


@pytest.mark.parametrize(("error", "words", "call"), BAD, ids=[f"{b[1]}{i}" for i, b in enumerate(BAD)])
def test_bad_input(error, words, call):
    with pytest.raises(error, match=words):
        call()


def test_a_layer_that_was_called_before_sees_what_has_changed_since():
    """Calls of one shape share a plan: attributes, parameters and the arrays in them may change between two."""
    layer, x = nn.RNN(I, H, num_layers=2, dropout=0.5).eval(), normal(T, B, I).astype(np.float32)
    y = layer(x)[0].numpy()
    np.testing.assert_array_equal(layer(x)[0].numpy(), y)
    layer.train()
    assert not np.array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())
    layer.eval()
    layer.weight_hh_l0.data *= 0.5
    halved = layer(x)[0].numpy()
    assert not np.array_equal(halved, y)
    layer.weight_hh_l0.data = np.asfortranarray(layer.weight_hh_l0.data)
    np.testing.assert_array_equal(layer(x)[0].numpy(), halved)
    layer.nonlinearity = "relu"
    assert (layer(x)[0].numpy() >= 0).all()
    with pytest.raises(TypeError, match=r"RNN: weights\[0\] has dtype float32, expected float64 as x has"):
        layer(x.astype(np.float64))
    layer.double()
    assert layer(x.astype(np.float64))[0].dtype == np.float64
    layer.weight_hh_l1 = nn.Parameter(np.zeros((H, H + 1)))
    with pytest.raises(ValueError, match=r"RNN: weights\[5\] has shape \(6, 7\), expected \(6, 6\)"):
        layer(x.astype(np.float64))
