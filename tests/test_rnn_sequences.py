"""Rows of different lengths and rows that are cut by resets: against PyTorch's packed sequences, against cutting the
rows by hand, against the loop over single steps."""

import itertools

import numpy as np
import pytest
from rnn_problems import CELLS, Problem, options_of

import jadro
from jadro import nn

LENGTHS = [3, 7, 1, 5, 7]
KINDS = ["RNN", "LSTM", "GRU"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def states_of(state):
    return state if isinstance(state, tuple) else (state,)


# --- PyTorch ---------------------------------------------------------------------------------------------------------

TORCH = {
    "plain": {},
    "projection": {"proj_size": 3},
    "stacked": {"num_layers": 2, "bidirectional": True},
    "everything": {"num_layers": 3, "bidirectional": True, "batch_first": True, "bias": False, "proj_size": 4},
}


def same_as_torch(kind, options, lengths):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(4, 6, **options).double()
    ours = getattr(nn, kind)(4, 6, dtype="float64", **options)
    ours.load_state_dict(theirs.state_dict())
    rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    widths = [options.get("proj_size") or 6, 6][: 1 + (kind == "LSTM")]
    arrays = [normal(7, 5, 4), *(normal(rows, 5, w, seed=1 + i) for i, w in enumerate(widths))]
    if options.get("batch_first"):
        arrays[0] = arrays[0].swapaxes(0, 1)
    mine, twins = (
        [jadro.tensor(a, requires_grad=True) for a in arrays],
        [torch.tensor(a, requires_grad=True) for a in arrays],
    )
    packing = {"batch_first": options.get("batch_first", False)}

    def pair(states):
        return tuple(states) if kind == "LSTM" else states[0]

    y, state = ours(mine[0], pair(mine[1:]), **({} if lengths is None else {"lengths": lengths}))
    if lengths is None:
        z, last = theirs(twins[0], pair(twins[1:]))
    else:
        pack, unpack = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
        packed, last = theirs(pack(twins[0], lengths, enforce_sorted=False, **packing), pair(twins[1:]))
        z = unpack(packed, **packing)[0]
    results, expected = [y, *states_of(state)], [z, *states_of(last)]
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)
    weights = [normal(*a.shape, seed=9) for a in results]
    sum((a * jadro.tensor(w)).sum() for a, w in zip(results, weights, strict=True)).backward()
    sum((b * torch.tensor(w)).sum() for b, w in zip(expected, weights, strict=True)).backward()
    for a, b in zip([*mine, *ours.parameters()], [*twins, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    "lengths", [None, LENGTHS, [7] * 5, [2, 2, 2, 2, 7]], ids=["whole", "ragged", "full", "one long"]
)
@pytest.mark.parametrize("options", TORCH)
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_and_projections_equal_pytorch(kind, options, lengths):
    chosen = dict(TORCH[options])
    if kind != "LSTM":
        chosen.pop("proj_size", None)
    same_as_torch(kind, chosen, lengths)


# --- by hand ---------------------------------------------------------------------------------------------------------


def everything(cell, *gone, **sizes):
    """All options that evaluation knows; masks are another matter, they go by row and step."""
    gone = {"zoneout", "sequence", "dropout", "lengths", "reset", "reset_state", *gone}
    gone = gone if cell == "lstm" else gone - {"zoneout"}
    return Problem(cell, tuple(n for n in options_of(cell) if n not in gone), **sizes, training=False)


def run(layer, problem, x, states, **options):
    """[y, last states]"""
    state = tuple(states) if problem.is_lstm else states[0]
    y, last, *_ = layer(x, state, **options)
    return [y.numpy(), *(s.numpy() for s in states_of(last))]


@pytest.mark.parametrize("cell", CELLS)
def test_each_row_is_that_row_alone(cell):
    """Up to its own end; an empty row keeps its state. The bits are the same, too."""
    problem = everything(cell, steps=7, batch=6)
    layer, _ = problem.layer(problem.weights())
    arrays, lengths = problem.arrays(), [3, 0, 7, 1, 5, 3]
    states = [arrays[f"{n}0"] for n in problem.state_shapes]
    found = run(layer, problem, arrays["x"], states, lengths=np.array(lengths))
    for row, length in enumerate(lengths):
        mine = [s[:, row : row + 1] for s in states]
        assert not found[0][length:, row].any()
        if not length:
            alone = [None, *mine]
        else:
            alone = run(layer, problem, arrays["x"][:length, row : row + 1], mine)
            np.testing.assert_allclose(found[0][:length, row], alone[0][:, 0], rtol=1e-12, atol=1e-14)
        for a, b in zip(found[1:], alone[1:], strict=True):
            np.testing.assert_allclose(a[:, row], b[:, 0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "reset_state"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_is_its_pieces_one_by_one(cell, with_state):
    """Between the cuts; a piece starts, in either direction, from what stands in for the state at its cut."""
    problem = everything(cell, steps=9, batch=5)
    layer, _ = problem.layer(problem.weights())
    arrays = problem.arrays()
    rng = np.random.default_rng(3)
    lengths, reset = np.array([9, 4, 0, 7, 9]), rng.random((9, 5)) < 0.3
    reset[0] = [True, False, True, True, False]
    states = [arrays[f"{n}0"] for n in problem.state_shapes]
    again = [rng.standard_normal(s.shape) * with_state for s in states]
    options = {"lengths": lengths, "reset": reset}
    if with_state:
        options["reset_state"] = tuple(again) if problem.is_lstm else again[0]
    found = run(layer, problem, arrays["x"], states, **options)
    reverse = np.arange(len(states[0])) % 2 == 1 if problem.directions == 2 else np.zeros(len(states[0]), bool)
    for row, length in enumerate(lengths):
        cuts = [0, *(t for t in range(1, length) if reset[t, row]), length]
        for start, stop in itertools.pairwise(cuts):
            given = (start == 0 and not reset[0, row], stop == length)  # whether a direction starts from its own state
            fresh = [
                np.where(np.where(reverse, given[1], given[0])[:, None, None], s, a)
                for s, a in zip(states, again, strict=True)
            ]
            if not length:
                continue
            piece = run(layer, problem, arrays["x"][start:stop, row : row + 1], [s[:, row : row + 1] for s in fresh])
            np.testing.assert_allclose(found[0][start:stop, row], piece[0][:, 0], rtol=1e-12, atol=1e-14)
            for a, b in zip(found[1:], piece[1:], strict=True):
                for k, backwards in enumerate(reverse):
                    if (start == 0) if backwards else (stop == length):
                        np.testing.assert_allclose(a[k, row], b[k, 0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_a_run_is_its_steps_one_by_one(cell):
    problem = everything(cell, "bidirectional", steps=6, batch=4)
    layer, _ = problem.layer(problem.weights())
    arrays = problem.arrays()
    states = first = [arrays[f"{n}0"] for n in problem.state_shapes]
    outputs = []
    for t in range(6):
        y, *states = run(layer, problem, arrays["x"][t : t + 1], states)
        outputs.append(y[0])
    whole = run(layer, problem, arrays["x"], first)
    for a, b in zip(whole, [np.stack(outputs), *states], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_resets_are_cells_whose_state_is_multiplied_away(kind):
    """The step-by-step loop of a recurrent policy, outputs and gradients."""
    layer, cell = getattr(nn, kind)(4, 6, dtype="float64"), getattr(nn, kind + "Cell")(4, 6, dtype="float64")
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, name, getattr(layer, name + "_l0"))
    x, done = jadro.tensor(normal(8, 5, 4), requires_grad=True), np.random.default_rng(1).random((8, 5)) < 0.3
    start = [jadro.tensor(normal(5, 6, seed=i), requires_grad=True) for i in range(1 + (kind == "LSTM"))]
    state, outputs = start, []
    for t in range(8):
        state = [s * jadro.tensor(1.0 - done[t, :, None]) for s in state]
        state = states_of(cell(x[t], tuple(state) if kind == "LSTM" else state[0]))
        outputs.append(state[0])
    given = [s.unsqueeze(0) for s in start]
    y, last = layer(x, tuple(given) if kind == "LSTM" else given[0], reset=done)
    expected = jadro.stack(outputs)
    inputs, seed = [x, *start, *layer.parameters()], normal(8, 5, 6, seed=7)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-11, atol=1e-13)
    for a, b in zip(states_of(last), state, strict=True):
        np.testing.assert_allclose(a[0].numpy(), b.numpy(), rtol=1e-11, atol=1e-13)
    for a, b in zip(jadro.grad(y, inputs, seed), jadro.grad(expected, inputs, seed), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_batch_first_turns_the_resets_too(cell):
    names = ("bidirectional", "layers", "lengths", "reset_state")
    one, other = Problem(cell, names), Problem(cell, names, changed={"batch_first": True})
    weights, arrays = one.weights(), one.arrays()
    tensors = {n: jadro.tensor(a) for n, a in arrays.items()}
    found = one.call(one.layer(weights)[0], tensors)
    turned = tensors | {"x": tensors["x"].transpose(0, 1)}
    again = other.call(other.layer(weights)[0], turned, turn=True)
    np.testing.assert_array_equal(found["y"].numpy(), again["y"].numpy().swapaxes(0, 1))
    for name in one.state_shapes:
        np.testing.assert_array_equal(found[f"{name}n"].numpy(), again[f"{name}n"].numpy())


@pytest.mark.parametrize("cell", CELLS)
def test_a_reset_state_may_come_without_its_batch_axis(cell):
    """Every row then starts from it, and its gradient is the sum over the rows."""
    problem = Problem(cell, ("layers", "reset_state", "lengths"))
    layer, _ = problem.layer(problem.weights())
    arrays = problem.arrays()
    names = [f"reset_{n}" for n in problem.state_shapes]
    small = {n: jadro.tensor(arrays[n][:, 0], requires_grad=True) for n in names}
    wide = {n: jadro.tensor(np.repeat(arrays[n][:, :1], problem.batch, 1), requires_grad=True) for n in names}
    found = []
    for again in (small, wide):
        y = problem.call(layer, {n: jadro.tensor(a) for n, a in arrays.items()} | again)["y"]
        found.append((y.numpy(), *(g.numpy() for g in jadro.grad(y, list(again.values()), arrays["dy"]))))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        np.testing.assert_allclose(a, b.sum(1), rtol=1e-12, atol=1e-14)


def test_no_gradient_crosses_a_cut():
    layer = nn.GRU(3, 5, bidirectional=True, dtype="float64")
    x, reset = jadro.tensor(normal(6, 2, 3), requires_grad=True), np.zeros((6, 2), bool)
    reset[4] = True
    y, _ = layer(x, reset=reset)
    (dx,) = jadro.grad(y[4:].sum(), [x])
    assert not dx.numpy()[:4].any() and dx.numpy()[4:].all()
    (dx,) = jadro.grad(layer(x, reset=reset)[0][:4].sum(), [x])
    assert dx.numpy()[:4].all() and not dx.numpy()[4:].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [6, 64])
def test_large_ragged_batches_have_the_same_bits_on_any_number_of_threads(kind, batch, threads):
    """Shares of few long rows and of many short ones: the fewer rows, the more steps of the input's projection at a
    time."""
    steps, inputs, hidden = 48, 8, 320
    rng = np.random.default_rng(3)
    layer = getattr(nn, kind)(inputs, hidden)
    x = jadro.tensor(rng.standard_normal((steps, batch, inputs)).astype(np.float32), requires_grad=True)
    lengths = np.minimum(rng.geometric(1 / 8, batch), steps)
    lengths[0] = steps

    def run(count):
        threads(count)
        layer.zero_grad()
        x.grad = None
        y, _ = layer(x, lengths=lengths)
        y.sum().backward()
        return [y.numpy().tobytes(), x.grad.numpy().tobytes(), *(p.grad.numpy().tobytes() for p in layer.parameters())]

    alone = run(1)
    assert all(run(count) == alone for count in (2, 3, 7) for _ in range(3))
