import numpy as np
import pytest

from jadro.testing.cases import rnn

CELLS = list(rnn.GATES)


class Call:
    """The kernels of one case with whatever is optional left out."""

    def __init__(self, backend, case, dtype):
        self.backend, self.case = backend, case
        self.forward, self.backward = (backend.kernel(name) for name in case.kernels)
        self.inputs = {k: backend.xp.asarray(a) for k, a in case.make_inputs(dtype).items()}
        self.names = list(case.state_shapes)
        self.weights = [self.inputs[name] for name in case.weight_shapes]
        options = (case.layers, case.directions, case.bias, case.dropout, case.seed, case.offset)
        self.options = (case.cell.split("_")[1], *options) if case.prefix == "rnn" else options
        x = self.inputs["x"]
        size = backend.core.rnn_reserve_size(
            case.cell, *x.shape, case.hidden, case.layers, case.directions, case.dropout
        )
        self.reserve = self.empty((size,))

    def empty(self, shape):
        return self.backend.xp.full(shape, np.nan, self.inputs["x"].dtype)

    def run_forward(self, reserve):
        y, *last = (self.empty(shape) for shape in self.case.outputs().values())
        first = [self.inputs.get(name + "0") for name in self.names]
        self.forward(self.inputs["x"], *first, self.weights, y, *last, reserve, *self.options)
        return [y, *last]

    def run_backward(self, y, wanted=(), dy=None, last=None):
        """The gradients in `wanted` ("x", "h0", "c0", "weights"), with those of y and of the last states, None for
        zero.
        """
        shapes = self.case.gradients()
        results = {name: self.empty(shapes["d" + name]) for name in wanted if name != "weights"}
        weights = [self.empty(w.shape) for w in self.weights] if "weights" in wanted else None
        self.backward(
            self.inputs["x"],
            *(self.inputs.get(name + "0") for name in self.names),
            self.weights,
            y,
            self.reserve,
            dy,
            *(last or [None] * len(self.names)),
            results.get("x"),
            *(results.get(name + "0") for name in self.names),
            weights,
            *self.options,
        )
        host = {name: self.backend.host(a) for name, a in results.items()}
        return {**host, "weights": [self.backend.host(w) for w in weights or []]}


@pytest.mark.parametrize("case", rnn.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


OPTIONAL = [
    case
    for case in rnn.CASES
    if case.name in ("three_layers_bidirectional", "dropout_bidirectional", "bidirectional_without_bias_or_state")
]


@pytest.mark.parametrize("case", OPTIONAL, ids=str)
def test_outputs_are_the_same_without_reserve(case, backend, dtype):
    call = Call(backend, case, dtype)
    for with_reserve, without in zip(call.run_forward(call.reserve), call.run_forward(None), strict=True):
        np.testing.assert_array_equal(backend.host(with_reserve), backend.host(without))


@pytest.mark.parametrize("case", OPTIONAL, ids=str)
def test_each_gradient_can_be_had_alone(case, backend, dtype):
    call = Call(backend, case, dtype)
    y = call.run_forward(call.reserve)[0]
    dy, last = call.inputs["dy"], [call.inputs[f"d{name}n"] for name in call.names]
    states = [name + "0" for name in call.names] if case.state else []
    everything = call.run_backward(y, ["x", *states, "weights"], dy, last)
    for name in ["x", *states, "weights"]:
        alone = call.run_backward(y, [name], dy, last)
        np.testing.assert_equal(alone[name], everything[name])


@pytest.mark.parametrize("case", OPTIONAL, ids=str)
def test_missing_output_gradients_are_zero(case, backend, dtype):
    call = Call(backend, case, dtype)
    y = call.run_forward(call.reserve)[0]
    dy, last = call.inputs["dy"], [call.inputs[f"d{name}n"] for name in call.names]
    zeros = [0 * d for d in last]
    wanted = ["x", "weights"]
    np.testing.assert_equal(call.run_backward(y, wanted, dy), call.run_backward(y, wanted, dy, zeros))
    np.testing.assert_equal(call.run_backward(y, wanted, None, last), call.run_backward(y, wanted, 0 * dy, last))


@pytest.mark.parametrize("cell", CELLS)
def test_a_run_can_be_cut_anywhere(cell, backend, dtype):
    """Two halves with the state handed over are the whole, bit for bit."""
    case = rnn.RnnCase("cut", cell, 7, 3, 5, 6, layers=2)
    whole = Call(backend, case, dtype)
    y, *last = whole.run_forward(None)
    call = Call(backend, case, dtype)
    pieces, x = [], whole.inputs["x"]
    for start, stop in ((0, 3), (3, 7)):
        call.case = rnn.RnnCase("cut", cell, stop - start, 3, 5, 6, layers=2)
        call.inputs["x"] = backend.xp.ascontiguousarray(x[start:stop])
        piece, *states = call.run_forward(None)
        call.inputs.update(zip((name + "0" for name in call.names), states, strict=True))
        pieces.append(backend.host(piece))
    np.testing.assert_array_equal(np.concatenate(pieces), backend.host(y))
    for a, b in zip(states, last, strict=True):
        np.testing.assert_array_equal(backend.host(a), backend.host(b))


@pytest.mark.parametrize("cell", CELLS)
def test_rows_do_not_know_each_other(cell, backend, dtype):
    """Each row alone gives what it gives in the batch, bit for bit, NaN in another row included."""
    case = rnn.RnnCase("rows", cell, 4, 17, 5, 9, layers=2, directions=2)
    batch = Call(backend, case, dtype)
    batch.inputs["x"][:, 3] = np.nan
    y = backend.host(batch.run_forward(None)[0])
    assert np.isnan(y[:, 3]).all()
    alone = Call(backend, rnn.RnnCase("rows", cell, 4, 1, 5, 9, layers=2, directions=2), dtype)
    alone.weights = batch.weights
    for row in (0, 2, 4, 16):
        for name in ("x", *(name + "0" for name in batch.names)):
            alone.inputs[name] = backend.xp.ascontiguousarray(batch.inputs[name][:, row : row + 1])
        np.testing.assert_array_equal(backend.host(alone.run_forward(None)[0])[:, 0], y[:, row])


def test_saturated_gates_are_exact(backend, dtype):
    """i = 0, f = 1, o = 1 by biases of +-1000: the cell carries c0 unchanged and h = tanh(c0)."""
    xp = backend.xp
    steps, hidden = 50, 9
    c0 = np.linspace(-2, 2, hidden, dtype=dtype).reshape(1, 1, hidden)
    bias = np.repeat(np.array([-1000, 1000, 0, 1000], dtype), hidden)
    weights = [
        xp.zeros((4 * hidden, 3), dtype),
        xp.zeros((4 * hidden, hidden), dtype),
        xp.asarray(bias),
        xp.zeros(4 * hidden, dtype),
    ]
    y, hn, cn = (xp.empty((n, 1, hidden), dtype) for n in (steps, 1, 1))
    h0 = xp.zeros((1, 1, hidden), dtype)
    forward = backend.kernel("lstm_forward")
    forward(xp.ones((steps, 1, 3), dtype), h0, xp.asarray(c0), weights, y, hn, cn, None, 1, 1, True, 0.0, 0, 0)
    np.testing.assert_array_equal(backend.host(cn), c0)
    np.testing.assert_allclose(backend.host(y), np.broadcast_to(np.tanh(c0), y.shape), rtol=4 * np.finfo(dtype).eps)


def test_reserve_size_of_impossible_sizes_is_an_error():
    from jadro import _core

    for sizes in ((-1, 2, 3, 4, 1, 1), (2**31, 2**31, 3, 2**31, 1, 1), (2, 2, 3, 4, 0, 1), (2, 2, 3, 4, 1, 3)):
        with pytest.raises((ValueError, OverflowError)):
            _core.rnn_reserve_size("lstm", *sizes, 0.0)
    with pytest.raises(ValueError, match="cell"):
        _core.rnn_reserve_size("lstm2", 2, 2, 3, 4, 1, 1, 0.0)


@pytest.mark.parametrize("cell", CELLS)
def test_few_rows_give_the_bits_of_a_batch(cell, backend, dtype):
    """Few rows are read in place; backward, two tokens do not pack the weights."""
    whole = Call(backend, rnn.RnnCase("whole", cell, 2, 20, 19, 37, directions=2), dtype)
    y, *last = whole.run_forward(whole.reserve)
    dy, states = whole.inputs["dy"], [name + "0" for name in whole.names]
    gradients = whole.run_backward(y, states, dy)
    for rows in (slice(3, 4), slice(7, 9)):
        few = Call(backend, rnn.RnnCase("few", cell, 2, rows.stop - rows.start, 19, 37, directions=2), dtype)
        few.weights = whole.weights
        for name in ("x", *states):
            few.inputs[name] = backend.xp.ascontiguousarray(whole.inputs[name][:, rows])
        results = few.run_forward(few.reserve)
        for mine, all_rows in zip(results, (y, *last), strict=True):
            np.testing.assert_array_equal(backend.host(mine), backend.host(all_rows)[:, rows])
        if backend.is_cuda:  # promised for the forward pass alone
            continue
        found = few.run_backward(results[0], states, backend.xp.ascontiguousarray(dy[:, rows]))
        for name in states:
            np.testing.assert_array_equal(found[name], gradients[name][:, rows])
