"""What the native loop owes with options: the same bits for any number of threads and any checkpoint, ragged and reset
batches as if cut by hand, masks by position, outputs inside their arrays, and errors before any work."""

import functools
import itertools

import numpy as np
import pytest

import jadro
from jadro import _core, nn
from jadro.ops.rnn import PARAMETERS, parameter_shape, parameters_of

KINDS = {
    "rnn_relu": lambda *sizes, **o: nn.RNN(*sizes, nonlinearity="relu", **o),
    "rnn_tanh": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
# All that goes together, by cell.
EVERYTHING = {"layer_norm": True, "zoneout": 0.2, "cell_clip": 0.9, "gate_clip": 1.5, "recurrent_dropout": 0.3}
LSTM = {**EVERYTHING, "zoneout": (0.2, 0.4), "peephole": True}
SETS = {
    "relu everything": ("rnn_relu", EVERYTHING),
    "tanh clips": ("rnn_tanh", {"gate_clip": 0.8, "cell_clip": 0.5}),
    "lstm plain": ("lstm", {}),
    "lstm everything": ("lstm", {**LSTM, "proj_size": 40}),
    "lstm coupled update": ("lstm", {**LSTM, "coupled": True, "recurrent_dropout_mode": "update"}),
    "lstm projected": ("lstm", {"proj_size": 33}),
    "lstm peepholes": ("lstm", {"peephole": True}),
    "gru plain": ("gru", {}),
    "gru everything": ("gru", {**EVERYTHING, "recurrent_dropout_mode": "update"}),
    "gru before": ("gru", {**EVERYTHING, "reset_after": False}),
    "gru before alone": ("gru", {"reset_after": False}),
}


def draw(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def make(cell, inputs, hidden, dtype="float32", **options):
    jadro.manual_seed(1)
    layer = KINDS[cell](inputs, hidden, dtype=dtype, **options)
    for name, p in layer.named_parameters():
        if "_ln_" in name:  # gains and biases of layer norm start as 1 and 0
            p.data += 0.3 * draw(*p.shape, seed=len(name), dtype=dtype)
    return layer


def tensors(value):
    return list(value) if isinstance(value, tuple) else [value]


def gradients(layer, x, state=None, seed=5, **call):
    """All outputs and the gradients of x, the states and the parameters, as arrays."""
    leaves = [jadro.tensor(a, requires_grad=True) for a in (x, *(state or ()))]
    jadro.manual_seed(3)
    start = None if state is None else (tuple(leaves[1:]) if isinstance(layer, nn.LSTM) else leaves[1])
    y, end, *cells = layer(leaves[0], start, **call)
    outs = [y, *tensors(end), *cells]
    seeds = [draw(*o.shape, seed=seed + i, dtype=x.dtype) for i, o in enumerate(outs)]
    found = jadro.grad(outs, [*leaves, *layer.parameters()], seeds)
    return [o.numpy() for o in outs] + [g.numpy() for g in found]


def assert_equal(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def ragged(steps, batch, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, steps + 1, batch)
    lengths[:2] = 0, steps
    return {"lengths": rng.permutation(lengths), "reset": rng.random((steps, batch)) < 0.2}


# Rows for every thread, units for every thread, and too little for two.
SHAPES = [(6, 41, 9, 50), (5, 3, 7, 150), (4, 2, 3, 44)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("name", SETS)
def test_bits_do_not_depend_on_the_threads(name, shape, threads):
    (cell, options), (steps, batch, inputs, hidden) = SETS[name], shape
    layer, x = make(cell, inputs, hidden, num_layers=2, bidirectional=True, **options), draw(steps, batch, inputs)
    found = []
    for n in (1, 2, 3, 7):
        threads(n)
        found.append(gradients(layer, x, **ragged(steps, batch)) + gradients(layer, x))
    for other in found[1:]:
        assert_equal(other, found[0])


@pytest.mark.parametrize("whole", [False, True], ids=["ragged", "whole"])
@pytest.mark.parametrize("name", SETS)
def test_checkpoints_change_no_bit(name, whole, dtype):
    cell, options = SETS[name]
    x, call = draw(7, 5, 4, dtype=dtype), {} if whole else ragged(7, 5)
    if cell == "lstm":
        call["return_cells"] = True
    layer = make(cell, 4, 41, dtype, num_layers=2, bidirectional=True, dropout=0.2, **options)
    expected = gradients(layer, x, **call)
    for k in (1, 2, 3, 6, 7, 100):
        layer.checkpoint = k
        assert_equal(gradients(layer, x, **call), expected)


def test_checkpoints_keep_less():
    def size(checkpoint):
        return _core.rnn_options_reserve_size(
            "lstm", 100, 8, 16, 32, 32, 800, False, _core.RnnOptions(checkpoint=checkpoint)
        )

    cell = 800 * 32
    assert size(0) == 5 * cell and size(1) == cell and size(10) == 9 * 8 * 32


def same_bits(steps, options):
    """How a piece of so many steps agrees with the whole: one step of a plain cell adds up in another order."""
    if steps > 1 or options:
        return np.testing.assert_array_equal
    return functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", SETS)
def test_lengths_are_rows_cut_by_hand(name):
    """Each row alone, as long as it is: outputs, states and gradients. Masks are drawn by place, so not here."""
    cell, options = SETS[name]
    steps, batch = 6, 5
    layer = make(cell, 4, 44, "float64", num_layers=2, bidirectional=True, **options).eval()
    lengths, x = np.array([3, 6, 0, 1, 6]), draw(steps, batch, 4, dtype="float64")
    x[lengths[None] <= np.arange(steps)[:, None]] = np.nan  # what stands past the ends does not matter
    widths = [layer.proj_size or 44, 44][: 1 + (cell == "lstm")]
    state = [draw(4, batch, n, seed=i, dtype="float64") for i, n in enumerate(widths)]
    found = gradients(layer, x, state, lengths=lengths)
    count = 1 + len(state)  # y and the states
    total = None
    for b, n in enumerate(lengths):
        mine = [s[:, b : b + 1] for s in state]
        if n == 0:
            assert not found[0][:, b].any() and not found[count][:, b].any()
            assert_equal([f[:, b : b + 1] for f in found[1:count]], mine)
            continue
        leaves = [jadro.tensor(a, requires_grad=True) for a in (x[:n, b : b + 1], *mine)]
        y, end = layer(leaves[0], tuple(leaves[1:]) if cell == "lstm" else leaves[1])
        outs = [y, *tensors(end)]
        whole = [draw(*f.shape, seed=5 + i, dtype="float64") for i, f in enumerate(found[:count])]
        seeds = [whole[0][:n, b : b + 1], *(d[:, b : b + 1] for d in whole[1:])]
        grads = [g.numpy() for g in jadro.grad(outs, [*leaves, *layer.parameters()], seeds)]
        assert_bits = same_bits(n, options)
        assert_bits(found[0][:n, b], y.numpy()[:, 0])
        assert not found[0][n:, b].any() and not found[count][n:, b].any()
        for f, e in zip(found[1:count], outs[1:], strict=True):
            assert_bits(f[:, b], e.numpy()[:, 0])
        np.testing.assert_allclose(found[count][:n, b], grads[0][:, 0], rtol=1e-11, atol=1e-13)
        total = grads[count:] if total is None else [a + g for a, g in zip(total, grads[count:], strict=True)]
    for a, g in zip(found[2 * count :], total, strict=True):
        np.testing.assert_allclose(a, g, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both ways"])
@pytest.mark.parametrize("name", SETS)
def test_resets_are_pieces_run_one_by_one(name, bidirectional):
    """Cuts of all rows at once: the pieces of one layer, each from the reset state."""
    cell, options = SETS[name]
    layer = make(cell, 4, 36 if not options.get("proj_size") else 60, "float64", bidirectional=bidirectional, **options)
    layer.eval()
    steps, batch, lead = 8, 3, 2 if bidirectional else 1
    x, cuts = draw(steps, batch, 4, dtype="float64"), [0, 3, 4, 8]
    reset = np.zeros((steps, batch), bool)
    reset[cuts[:-1]] = True
    widths = [layer._out, layer.hidden_size][: 1 + (cell == "lstm")]
    again = [jadro.tensor(draw(lead, n, seed=i, dtype="float64"), requires_grad=True) for i, n in enumerate(widths)]
    pack = tuple if cell == "lstm" else lambda states: states[0]

    # The reverse direction begins with the state that was handed in, here the same one.
    def handed():
        return pack([a.unsqueeze(1).expand(lead, batch, a.shape[-1]) for a in again])

    y, end = layer(x, handed(), reset=reset, reset_state=pack(again))
    pieces = [layer(x[a:b], handed()) for a, b in itertools.pairwise(cuts)]
    whole = jadro.cat([p[0] for p in pieces], 0)
    for a, b in itertools.pairwise(cuts):
        same_bits(b - a, options)(y.numpy()[a:b], whole.numpy()[a:b])
    for ours, last, first in zip(tensors(end), tensors(pieces[-1][1]), tensors(pieces[0][1]), strict=True):
        np.testing.assert_array_equal(ours.numpy()[0], last.numpy()[0])
        if bidirectional:
            np.testing.assert_array_equal(ours.numpy()[1], first.numpy()[1])
    dy, parameters = draw(*y.shape, seed=9, dtype="float64"), [*again, *layer.parameters()]
    for a, b in zip(jadro.grad(y, parameters, dy), jadro.grad(whole, parameters, dy), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-11)


def test_reset_discards_the_state_and_stops_gradients():
    layer, x = make("lstm", 3, 5, "float64"), draw(4, 2, 3, dtype="float64")
    state = [jadro.tensor(np.full((1, 2, 5), np.nan), requires_grad=True) for _ in range(2)]
    reset = np.zeros((4, 2), bool)
    reset[0] = True
    y, _ = layer(x, tuple(state), reset=reset)
    np.testing.assert_array_equal(y.numpy(), layer(x)[0].numpy())
    for g in jadro.grad(y.sum(), state):
        assert not g.numpy().any()


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_zoneout_keeps_old_units_as_often_as_it_says(cell):
    layer, x = make(cell, 3, 64, zoneout=0.3), draw(50, 20, 3)
    jadro.manual_seed(4)
    y = layer(x)[0].numpy()
    kept = y == np.concatenate([np.zeros_like(y[:1]), y[:-1]])
    assert abs(kept.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / y.size)
    jadro.manual_seed(4)
    np.testing.assert_array_equal(layer(x)[0].numpy(), y)
    assert (layer(x)[0].numpy() != y).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())


@pytest.mark.parametrize("mode", ["sequence", "update"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_dropout_drops_as_often_as_it_says(cell, mode):
    """With all weights but the bias of g or n zero, what a step writes is a constant times its factor; with U = 1 / H
    and everything else shut, the masked h."""
    p, hidden = 0.4, 300
    layer = make(cell, 1, hidden, recurrent_dropout=p, recurrent_dropout_mode=mode)
    for parameter in layer.parameters():
        parameter.data[...] = 0
    rows = slice(2 * hidden, 3 * hidden)
    layer.bias_ih_l0.data[rows] = 1
    y, *_ = layer(np.zeros((1, 50, 1), np.float32))
    values = y.numpy()
    if mode == "sequence":  # h0 is zero: nothing enters U
        assert np.ptp(values) == 0
        h0 = np.ones((1, 50, hidden), np.float32)
        layer.bias_ih_l0.data[...] = 0
        layer.weight_hh_l0.data[rows] = np.eye(hidden)
        state = (h0, 0 * h0) if cell == "lstm" else h0
        values = layer(np.zeros((1, 50, 1), np.float32), state)[0].numpy() - (0.5 if cell == "gru" else 0)
        n = np.tanh((1 if cell == "lstm" else 0.5) / (1 - p))
    else:
        n = np.tanh(1) / (1 - p)
    dropped = abs(values) < 1e-6
    assert abs(dropped.mean() - p) < 4 * np.sqrt(p * (1 - p) / values.size)
    expected = 0.5 * np.tanh(0.5 * n) if cell == "lstm" else 0.5 * n
    np.testing.assert_allclose(values[~dropped], expected, rtol=1e-5)


def test_masks_go_by_place_not_by_the_batch():
    """A row keeps its masks whatever the lengths of the others: the same bits where it is alive."""
    layer, x = make("gru", 3, 40, **{**EVERYTHING, "recurrent_dropout_mode": "update"}), draw(6, 4, 3)
    jadro.manual_seed(2)
    y = layer(x)[0].numpy()
    for lengths in ([6, 1, 3, 0], [1, 2, 6, 6]):
        jadro.manual_seed(2)
        ours = layer(x, lengths=lengths)[0].numpy()
        for b, n in enumerate(lengths):
            np.testing.assert_array_equal(ours[:n, b], y[:n, b])


def test_a_gate_clip_bounds_the_hidden_state():
    layer = make("rnn_tanh", 3, 8, gate_clip=0.5)
    assert abs(layer(10 * draw(5, 2, 3))[0].numpy()).max() <= np.tanh(np.float32(0.5)) * (1 + 1e-6)
    layer = make("lstm", 3, 8, cell_clip=0.25)
    _, _, cells = layer(10 * draw(5, 2, 3), return_cells=True)
    assert abs(cells.numpy()).max() == 0.25


@pytest.mark.parametrize("name", SETS)
def test_the_stepper_has_the_options(name, backend, dtype):
    cell, options = SETS[name]
    for batch, hidden in ((1, 41), (17, 50)):
        layer, x = make(cell, 5, hidden, dtype, num_layers=2, **options).eval(), draw(3, batch, 5, dtype=dtype)
        with jadro.no_grad():
            y, state = layer(x)
        stepper = layer.stepper(batch)
        for x_t, y_t in zip(x, y.numpy(), strict=True):
            np.testing.assert_array_equal(stepper(x_t), y_t, strict=True)
        for mine, whole in zip(tensors(stepper.state), tensors(state), strict=True):
            np.testing.assert_array_equal(mine, whole.numpy())


class Guarded:
    """Arrays between canary bytes."""

    def __init__(self, dtype):
        self.dtype, self.buffers = np.dtype(dtype), []

    def __call__(self, *shape):
        size = int(np.prod(shape)) * self.dtype.itemsize
        buffer = np.full(size + 128, 0xA5, np.uint8)
        buffer[64 : 64 + size] = 0xFF
        self.buffers.append(buffer)
        return buffer[64 : 64 + size].view(self.dtype).reshape(shape)

    def check(self):
        for buffer in self.buffers:
            assert (buffer[:64] == 0xA5).all() and (buffer[-64:] == 0xA5).all()
            assert np.isfinite(buffer[64:-64].view(self.dtype)).all()  # 0xFF is NaN: all was written


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm", "lstm_coupled", "gru", "gru_reset_before"])
def test_outputs_stay_inside_their_arrays(cell, backend, dtype):
    is_lstm = cell.startswith("lstm")
    steps, batch, inputs, hidden, layers, directions = 5, 4, 3, 19, 2, 2
    out = 17 if is_lstm else hidden
    options = _core.RnnOptions(
        layers=layers, directions=directions, dropout=0.3, layer_norm=True, peephole=is_lstm, cell_clip=1.0,
        zoneout_h=0.2, zoneout_c=0.2, recurrent_dropout=0.2, training=True, checkpoint=2,
    )  # fmt: skip
    names = parameters_of(cell, True, is_lstm, is_lstm, True)
    assert set(names) <= set(PARAMETERS)
    shapes = [
        parameter_shape(n, cell, width, hidden, out)
        for width in (inputs, directions * out)
        for _ in range(directions)
        for n in names
    ]
    empty, weights = Guarded(dtype), [draw(*s, seed=i, dtype=dtype) / 4 for i, s in enumerate(shapes)]
    states = [(layers * directions, batch, n) for n in (out, hidden)[: 1 + is_lstm]]
    given = [draw(*s, seed=i, dtype=dtype) for i, s in enumerate(states * 2)]
    h0, c0 = (*given[: len(states)], None)[:2]
    again = (*given[len(states) :], None)[:2]
    rows, x = ragged(steps, batch), draw(steps, batch, inputs, dtype=dtype)
    y, ends = empty(steps, batch, directions * out), [empty(*s) for s in states]
    cells = empty(steps, batch, directions * hidden) if is_lstm else None
    size = _core.rnn_options_reserve_size(
        cell, steps, batch, inputs, hidden, out, int(rows["lengths"].sum()), True, options
    )
    reserve = Guarded(dtype)(size)
    last = (*ends[1:], None)[:1][0]
    common = (cell, x, h0, c0, weights, rows["lengths"], rows["reset"], *again)
    _core.rnn_options_forward(*common, y, ends[0], last, cells, reserve, options)
    results = [empty(*a.shape) for a in (x, *given)]
    dx, dh0, *rest = results
    dc0, dreset_h, dreset_c = rest if is_lstm else (None, rest[0], None)
    dweights = [empty(*s) for s in shapes]
    _core.rnn_options_backward(
        *common, y, reserve, y, ends[0], last, cells, dx, dh0, dc0, dreset_h, dreset_c, dweights, options
    )
    empty.check()


def test_empty_batches_and_rows():
    layer = make("lstm", 3, 5, layer_norm=True)
    y, (h, c) = layer(np.zeros((4, 0, 3), np.float32), lengths=np.zeros(0, int))
    assert y.shape == (4, 0, 5) and h.shape == c.shape == (1, 0, 5)
    found = gradients(layer, draw(4, 2, 3), lengths=[0, 0])
    assert not any(a.any() for a in found)


def test_without_a_batch_and_batch_first():
    layer, x, reset = make("gru", 3, 5, zoneout=0.1).eval(), draw(6, 2, 3), np.zeros((6, 2), bool)
    reset[2, 0] = reset[4, 1] = True
    whole, state = layer(x, reset=reset, lengths=[6, 5])
    alone, end = layer(x[:, 0], reset=reset[:, 0])
    np.testing.assert_array_equal(alone.numpy(), whole.numpy()[:, 0])
    np.testing.assert_array_equal(end.numpy(), state.numpy()[:, 0])
    layer.batch_first = True
    turned, end = layer(np.ascontiguousarray(x.transpose(1, 0, 2)), reset=reset.T, lengths=[6, 5])
    np.testing.assert_array_equal(turned.numpy().transpose(1, 0, 2), whole.numpy())
    np.testing.assert_array_equal(end.numpy(), state.numpy())


def test_repr_and_names():
    layer = nn.LSTM(3, 4, layer_norm=True, peephole=True, proj_size=2, zoneout=(0.1, 0.2), cell_clip=2)
    assert repr(layer) == ("LSTM(3, 4, proj_size=2, layer_norm=True, zoneout=(0.1, 0.2), cell_clip=2.0, peephole=True)")
    assert [n.removesuffix("_l0") for n in layer.state_dict()] == list(PARAMETERS)
    coupled = nn.LSTM(3, 4, coupled=True, peephole=True).state_dict()
    assert coupled["weight_ih_l0"].shape == (12, 3) and "weight_pf_l0" not in coupled
    assert repr(nn.GRU(3, 4, reset_after=False)) == "GRU(3, 4, reset_after=False)"


X, R = draw(4, 2, 3), np.zeros((4, 2), bool)
STATE = np.zeros((1, 2, 5), np.float32)
BAD = [
    (ValueError, "zoneout is 1", lambda: nn.GRU(3, 5, zoneout=1)),
    (ValueError, "zoneout is .*expected one number", lambda: nn.GRU(3, 5, zoneout=(0.1, 0.1))),
    (ValueError, r"zoneout is .*pair \(h, c\)", lambda: nn.LSTM(3, 5, zoneout=(0.1, 0.1, 0.1))),
    (TypeError, "zoneout is 'a'", lambda: nn.LSTM(3, 5, zoneout="a")),
    (ValueError, "recurrent_dropout is -0.1", lambda: nn.LSTM(3, 5, recurrent_dropout=-0.1)),
    (ValueError, "recurrent_dropout_mode is 'x'", lambda: nn.RNN(3, 5, recurrent_dropout_mode="x")),
    (ValueError, "cell_clip is 0", lambda: nn.RNN(3, 5, cell_clip=0)),
    (ValueError, "gate_clip is nan", lambda: nn.RNN(3, 5, gate_clip=float("nan"))),
    (ValueError, "checkpoint is 0", lambda: nn.RNN(3, 5, checkpoint=0)),
    (TypeError, "checkpoint is 1.5", lambda: nn.RNN(3, 5, checkpoint=1.5)),
    (ValueError, "proj_size is 5, expected 0 <= proj_size < 5", lambda: nn.LSTM(3, 5, proj_size=5)),
    (TypeError, "coupled", lambda: nn.GRU(3, 5, coupled=True)),
    (TypeError, "layernorm", lambda: nn.GRU(3, 5, layernorm=True)),
    (ValueError, r"LSTM: lengths has values 1..5, expected 0..4", lambda: nn.LSTM(3, 5)(X, lengths=[1, 5])),
    (ValueError, "lengths has values -1", lambda: nn.LSTM(3, 5)(X, lengths=[-1, 2])),
    (ValueError, r"lengths has shape \(3,\), expected \(2,\)", lambda: nn.LSTM(3, 5)(X, lengths=[1, 2, 3])),
    (TypeError, "lengths has dtype float64", lambda: nn.LSTM(3, 5)(X, lengths=[1.0, 2.0])),
    (ValueError, "lengths were given for x", lambda: nn.LSTM(3, 5)(X[:, 0], lengths=[1])),
    (ValueError, r"GRU: reset has shape \(2, 4\), expected \(4, 2\)", lambda: nn.GRU(3, 5)(X, reset=R.T)),
    (TypeError, "reset has dtype float64", lambda: nn.GRU(3, 5)(X, reset=R * 1.0)),
    (ValueError, "reset_state was given without reset", lambda: nn.GRU(3, 5)(X, reset_state=STATE)),
    (ValueError, "reset_state h has shape", lambda: nn.GRU(3, 5)(X, reset=R, reset_state=STATE[..., :4])),
    (TypeError, "reset_state is a ndarray", lambda: nn.LSTM(3, 5)(X, reset=R, reset_state=STATE)),
    (TypeError, "reset_state h has dtype", lambda: nn.GRU(3, 5)(X, reset=R, reset_state=STATE.astype("f8"))),
    (ValueError, r"state h .*expected \(1, 2, 3\)", lambda: nn.LSTM(3, 5, proj_size=3)(X, (STATE, STATE))),
    (ValueError, "RnnOptions: directions is 3", lambda: _core.RnnOptions(directions=3)),
    (ValueError, "RnnOptions: zoneout_h is", lambda: _core.RnnOptions(zoneout_h=float("nan"))),
    (ValueError, "RnnOptions: cell_clip is", lambda: _core.RnnOptions(cell_clip=-1.0)),
    (ValueError, "peephole is true", lambda: _core.rnn_options_reserve_size(
        "gru", 2, 2, 2, 2, 2, 4, False, _core.RnnOptions(peephole=True))),
    (ValueError, "tokens is 5", lambda: _core.rnn_options_reserve_size(
        "gru", 2, 2, 2, 2, 2, 5, True, _core.RnnOptions())),
    (ValueError, "fit in memory", lambda: _core.rnn_options_reserve_size(
        "gru", 2**40, 2**40, 2, 2, 2, 5, True, _core.RnnOptions())),
    (ValueError, "y has 3 units", lambda: native(y=(4, 2, 3))),
    (ValueError, r"lengths\[1\] is 9, expected 0..4", lambda: native(lengths=np.array([0, 9]))),
    (TypeError, "lengths has dtype int32", lambda: native(lengths=np.zeros(2, np.int32))),
    (TypeError, "reset has dtype uint8", lambda: native(reset=R.astype(np.uint8))),
    (ValueError, "weights has 3 arrays, expected 4", lambda: native(drop=1)),
    (ValueError, "reserve has shape", lambda: native(reserve=np.zeros(1, np.float32))),
    (ValueError, "c0 or reset_c was given", lambda: native(c0=STATE)),
]  # fmt: skip


def native(y=(4, 2, 5), lengths=None, reset=None, drop=0, reserve=None, c0=None):
    weights = [draw(15, 3), draw(15, 5), draw(15), draw(15)]
    _core.rnn_options_forward(
        "gru", X, None, c0, weights[: 4 - drop], lengths, reset, None, None, np.zeros(y, np.float32), STATE.copy(),
        None, None, reserve, _core.RnnOptions(),
    )  # fmt: skip


@pytest.mark.parametrize(("error", "words", "call"), BAD, ids=[f"{b[1][:24]}{i}" for i, b in enumerate(BAD)])
def test_bad_input(error, words, call):
    with pytest.raises(error, match=words):
        call()
