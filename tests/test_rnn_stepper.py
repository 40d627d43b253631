"""The stepper: the numbers of the whole layer, one step at a time, without allocating."""

import tracemalloc

import numpy as np
import pytest

import jadro
from jadro import _core, nn

CELLS = {
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
# (I, H, batch, options): around the tile, several layers, wide enough for threads by rows and by units.
SHAPES = [
    (3, 5, 1, {}),
    (5, 33, 2, {"bias": False}),
    (7, 16, 15, {"num_layers": 3, "dropout": 0.4}),
    (1, 4, 3, {}),
    (64, 96, 40, {"num_layers": 2}),
    (20, 300, 1, {}),
]


def draw(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def layer_of(cell, inputs, hidden, dtype="float32", **options):
    jadro.manual_seed(1)
    return CELLS[cell](inputs, hidden, dtype=dtype, **options)


def states_of(state):
    return [np.asarray(s) for s in (state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s[:3])))
@pytest.mark.parametrize("cell", CELLS)
def test_steps_are_those_of_the_layer_bit_for_bit(cell, shape, backend, dtype):
    inputs, hidden, batch, options = shape
    layer = layer_of(cell, inputs, hidden, dtype, **options).eval()
    x = draw(4, batch, inputs, dtype=dtype)
    with jadro.no_grad():
        y, state = layer(x)
    stepper = layer.stepper(batch)
    for x_t, y_t in zip(x, y.numpy(), strict=True):
        np.testing.assert_array_equal(stepper(x_t), y_t, strict=True)
    for mine, whole in zip(states_of(stepper.state), states_of(state), strict=True):
        np.testing.assert_array_equal(mine, whole, strict=True)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_bits_do_not_depend_on_the_threads(cell, threads):
    for batch, hidden in ((1, 300), (40, 64), (3, 200)):
        layer, x = layer_of(cell, 30, hidden, num_layers=2), draw(3, batch, 30)
        found = []
        for n in (1, 2, 3, 7):
            threads(n)
            stepper = layer.stepper(batch)
            threads(8 - n)  # the number may change after the stepper was made
            found.append([stepper(x_t).copy() for x_t in x])
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_can_be_read_set_and_reset(cell):
    layer, x = layer_of(cell, 4, 6, num_layers=2), draw(6, 3, 4)
    stepper, fresh = layer.stepper(3), layer.stepper(3)
    for x_t in x[:3]:
        stepper(x_t)
    kept = stepper.state
    after = [stepper(x_t).copy() for x_t in x[3:]]
    stepper.state = kept
    np.testing.assert_array_equal([stepper(x_t).copy() for x_t in x[3:]], after)
    fresh.state = tuple(map(jadro.tensor, kept)) if cell == "lstm" else jadro.tensor(kept)
    np.testing.assert_array_equal([fresh(x_t).copy() for x_t in x[3:]], after)

    for rows, expected in ((1, [1]), ([0, 2], [0, 2]), (np.array([True, False, False]), [0]), (None, [0, 1, 2])):
        stepper.state = kept
        stepper.reset(rows)
        for mine, before in zip(states_of(stepper.state), states_of(kept), strict=True):
            others = [b for b in range(3) if b not in expected]
            assert not mine[:, expected].any()
            np.testing.assert_array_equal(mine[:, others], before[:, others])
    stepper.state = None
    np.testing.assert_array_equal(stepper(x[0]), layer(x[:2])[0].numpy()[0])


def test_what_is_handed_out_is_a_copy_of_the_state_and_the_buffer_of_y():
    stepper, x = layer_of("gru", 4, 6).stepper(2), draw(2, 2, 4)
    y = stepper(x[0])
    before = y.copy()
    h = stepper.state
    h[...] = np.nan
    y[...] = np.nan  # does not reach the state
    again = stepper(x[1])
    assert again is y and np.isfinite(again).all() and not np.array_equal(again, before)


def test_refresh_takes_over_the_layers_weights():
    layer, x = layer_of("lstm", 4, 6), draw(1, 2, 4)
    stepper = layer.stepper(2)
    old = stepper(x[0]).copy()
    for p in layer.parameters():
        p.data *= 2
    stepper.reset()
    np.testing.assert_array_equal(stepper(x[0]), old)
    stepper.reset()
    stepper.refresh()
    np.testing.assert_allclose(stepper(x[0]), layer(x)[0].numpy()[0], rtol=1e-6, atol=1e-7)
    assert not np.array_equal(stepper(x[0]), old)


def test_an_input_may_have_any_strides():
    layer, x = layer_of("gru", 4, 6), draw(2, 5, 8)
    whole = layer(np.ascontiguousarray(x[:, :, ::2].transpose(1, 0, 2)))[0].numpy()
    stepper = layer.stepper(2)
    for t in range(5):
        np.testing.assert_array_equal(stepper(x[:, t, ::2]), whole[t])


def test_a_step_allocates_nothing():
    stepper, x = layer_of("lstm", 16, 16, num_layers=2).stepper(3), draw(3, 16)
    y = stepper(x)
    native = _core.kept_memory()
    tracemalloc.start()
    try:
        for _ in range(100):
            stepper(x)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stepper(x) is y and peak < 1000 and held < 1000
    assert _core.kept_memory() == native


def test_a_stepper_keeps_its_instruction_set():
    before, x = _core.isa(), draw(2, 3, 4)
    try:
        for made in _core.available_isas():
            _core.set_isa(made)
            stepper = layer_of("gru", 4, 21).stepper(3)
            whole = layer_of("gru", 4, 21)(x)[0].numpy()
            for later in _core.available_isas():
                _core.set_isa(later)
                stepper.reset()
                np.testing.assert_array_equal([stepper(x_t).copy() for x_t in x], whole)
    finally:
        _core.set_isa(before)


def test_bad_input():
    stepper = layer_of("lstm", 4, 6).stepper(2)
    h = np.zeros((1, 2, 6), np.float32)
    for call, error, message in [
        (lambda: layer_of("gru", 4, 6, bidirectional=True).stepper(2), ValueError, "GRU.stepper: .*bidirectional"),
        (lambda: layer_of("gru", 4, 6).stepper(0), ValueError, "GRU.stepper: batch_size is 0"),
        (lambda: layer_of("gru", 4, 6).stepper("2"), TypeError, "batch_size"),
        (lambda: stepper([[1.0] * 4] * 2), TypeError, "stepper: x is a list, expected a NumPy array"),
        (lambda: stepper(np.zeros((2, 4))), TypeError, "stepper: x has dtype float64, expected float32"),
        (lambda: stepper(np.zeros((2, 4), ">f4")), TypeError, "stepper: x has dtype >f4, expected float32"),
        (
            lambda: stepper(np.zeros((2, 5), np.float32)),
            ValueError,
            r"stepper: x has shape \(2, 5\), expected \(2, 4\)",
        ),
        (lambda: stepper(np.zeros(4, np.float32)), ValueError, r"stepper: x has shape \(4,\), expected \(2, 4\)"),
        (lambda: stepper.reset(2), IndexError, "out of bounds"),
        (lambda: setattr(stepper, "state", h), TypeError, r"state is a ndarray, expected a pair \(h, c\)"),
        (
            lambda: setattr(stepper, "state", (h, h[:, :1])),
            ValueError,
            r"c has shape \(1, 1, 6\), expected \(1, 2, 6\)",
        ),
        (lambda: _core.RnnStepper("lstm", 4, [], True, h, None, h[0]), ValueError, "c was left out"),
        (lambda: _core.RnnStepper("gru", 4, [], True, h, None, h[0]), ValueError, "0 arrays, expected 4"),
        (lambda: _core.RnnStepper("gru", 4, [], True, h[:0], None, h[0]), ValueError, "expected no empty axis"),
        (lambda: _core.RnnStepper("abc", 4, [], True, h, None, h[0]), ValueError, "cell is 'abc'"),
    ]:
        with pytest.raises(error, match=message):
            call()
    np.testing.assert_array_equal(stepper.state[0], h)  # nothing has changed
