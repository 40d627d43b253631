"""The recurrent functions of the tape: gradients, dropout between layers, empty batches, what is refused."""

import numpy as np
import pytest

import jadro
from jadro.ops import rnn
from jadro.testing import gradcheck


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def recurrent_weights(gates, inputs=3, hidden=2, layers=1, directions=1, seed=0):
    """Weights as jadro.ops.rnn takes them."""
    found = []
    for layer in range(layers):
        width = inputs if layer == 0 else directions * hidden
        for _ in range(directions):
            shapes = (gates * hidden, width), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,)
            found += [leaf(*s, seed=seed + len(found) + i) for i, s in enumerate(shapes)]
    return found


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_recurrent_functions(cell, gates):
    weights = recurrent_weights(gates, layers=2, directions=2)
    states = [leaf(4, 2, 2, seed=50 + i) for i in range(1 + (cell == "lstm"))]
    options = {"num_layers": 2, "bidirectional": True, "dropout": 0.4, "training": True}

    def run(x, *rest):
        jadro.manual_seed(5)
        return getattr(rnn, cell)(x, *rest[: len(states)], rest[len(states) :], **options)

    gradcheck(run, [leaf(4, 2, 3), *states, *weights], directions=1)
    masked = run(leaf(4, 2, 3), *states, *weights)[0].data
    options["training"] = False
    assert not np.array_equal(run(leaf(4, 2, 3), *states, *weights)[0].data, masked)


def test_recurrent_functions_on_an_empty_batch():
    weights, x = recurrent_weights(4), jadro.zeros(5, 0, 3, dtype="float64", requires_grad=True)
    y, h, c = rnn.lstm(x, None, None, weights)
    assert y.shape == (5, 0, 2) and h.shape == c.shape == (1, 0, 2)
    y.sum().backward()
    assert x.grad.shape == x.shape and not any(w.grad.data.any() for w in weights)


def test_recurrent_arguments():
    weights, x = recurrent_weights(4), leaf(5, 2, 3)
    for call, error, message in [
        (lambda: rnn.lstm(x[0], None, None, weights), ValueError, r"lstm: x has shape \(2, 3\), expected three axes"),
        (lambda: rnn.lstm(x[:0], None, None, weights), ValueError, "at least one step"),
        (lambda: rnn.lstm(x, None, None, weights[:3]), ValueError, "3 weights were given, expected 4"),
        (lambda: rnn.lstm(x, leaf(1, 1, 2), None, weights), ValueError, r"h0 has shape \(1, 1, 2\), expected"),
        (lambda: rnn.lstm(x, None, leaf(1, 2, 2).float(), weights), TypeError, "c0 has dtype float32"),
        (lambda: rnn.gru(x, None, weights), ValueError, r"gru: weights\[0\] has shape \(8, 3\), expected \(6, 3\)"),
        (lambda: rnn.rnn(x, None, weights, nonlinearity="sin"), ValueError, "nonlinearity is 'sin'"),
        (lambda: rnn.lstm(x, None, None, weights, dropout=1.5), ValueError, "dropout is 1.5"),
    ]:
        with pytest.raises(error, match=message):
            call()
