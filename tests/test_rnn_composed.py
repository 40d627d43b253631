"""Second derivatives through the recurrent loop, and the composed loop that gives them."""

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.ops import rnn, rnn_composed
from jadro.testing import gradcheck, gradgradcheck

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
SHAPES = [
    {"num_layers": 1, "bidirectional": False, "bias": True},
    {"num_layers": 2, "bidirectional": True, "bias": True, "dropout": 0.4, "training": True},
    {"num_layers": 1, "bidirectional": True, "bias": False},
]


def leaf(*shape, seed=0, scale=1.0):
    return jadro.tensor(scale * np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def arguments(cell, options, inputs=3, hidden=2, batch=2, steps=3):
    """x, the states and the weights."""
    directions, found = 2 if options["bidirectional"] else 1, []
    for layer in range(options["num_layers"]):
        width = directions * hidden if layer else inputs
        for _ in range(directions):
            rows = GATES[cell] * hidden
            shapes = [(rows, width), (rows, hidden), (rows,), (rows,)][: 4 if options["bias"] else 2]
            found += [leaf(*s, seed=10 + len(found) + i, scale=0.7) for i, s in enumerate(shapes)]
    state = (options["num_layers"] * directions, batch, hidden)
    return leaf(steps, batch, inputs), [leaf(*state, seed=i) for i in range(1, 2 + (cell == "lstm"))], found


def runner(cell, states, options):
    def run(x, *rest):
        jadro.manual_seed(3)
        return getattr(rnn, cell)(x, *rest[:states], rest[states:], **options)

    return run


@pytest.mark.parametrize("options", SHAPES, ids=["plain", "stacked", "no bias"])
@pytest.mark.parametrize("cell", GATES)
def test_second_derivatives(cell, options):
    x, states, weights = arguments(cell, options)
    gradgradcheck(runner(cell, len(states), options), [x, *states, *weights], directions=1)


def test_third_derivatives():
    x, states, weights = arguments("gru", SHAPES[0], inputs=2, batch=1, steps=2)

    def gradient(x, *rest):
        y = rnn.gru(x, rest[0], rest[1:])[0]
        return jadro.grad((y * y).sum(), [x, *rest], create_graph=True)

    gradgradcheck(gradient, [x, *states, *weights], directions=1)


@pytest.mark.parametrize("options", SHAPES, ids=["plain", "stacked", "no bias"])
@pytest.mark.parametrize("cell", GATES)
def test_the_gradients_of_both_ways_are_the_same(cell, options):
    x, states, weights = arguments(cell, options, steps=6)
    run, inputs = runner(cell, len(states), options), [x, *states, *weights]
    seeds = [np.random.default_rng(i).standard_normal(y.shape) for i, y in enumerate(run(*inputs))]
    native = jadro.grad(run(*inputs), inputs, seeds)
    recorded = jadro.grad(run(*inputs), inputs, seeds, create_graph=True)
    with rnn_composed.tracing():
        whole = run(*inputs)
    for a, b in zip(run(*inputs), whole, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)
    for a, b, c in zip(native, recorded, jadro.grad(whole, inputs, seeds), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=1e-11, atol=1e-13)


def test_inputs_that_depend_on_each_other_are_not_counted_twice():
    """The state is made from the weight of the loop itself, and x from the state, batch first."""
    w = leaf(6, 3, scale=0.5)
    rest = [leaf(6, 2, seed=1), leaf(6, seed=2), leaf(6, seed=3)]

    def run(w, *rest):
        h0 = jadro.tanh(w[:2, :2]).reshape(1, 2, 2)
        x = jadro.cat([h0.transpose(0, 1), w[:4, :2].reshape(2, 2, 2)], 1) @ w[:2, :]
        return rnn.gru(x.transpose(0, 1), h0, [w, *rest])

    gradcheck(run, [w, *rest], directions=1)
    gradgradcheck(run, [w, *rest], directions=1)
    native = jadro.grad(run(w, *rest)[0].sum(), [w, *rest])
    recorded = jadro.grad(run(w, *rest)[0].sum(), [w, *rest], create_graph=True)
    for a, b in zip(native, recorded, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-13)


def test_a_gradient_penalty_trains_a_layer():
    """|dL/dx|^2 of a batch-first layer falls when it is the loss."""
    jadro.manual_seed(0)
    model, x = nn.LSTM(3, 8, batch_first=True), jadro.tensor(np.ones((2, 5, 3), np.float32), requires_grad=True)
    optimizer, penalties = jadro.optim.Adam(model.parameters(), lr=0.02), []
    for _ in range(20):
        (dx,) = jadro.grad(model(x)[0].sum(), x, create_graph=True)
        penalty = (dx * dx).sum()
        penalties.append(penalty.item())
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    assert penalties[-1] < 0.2 * penalties[0]


def test_the_trace_holds_every_hidden_state():
    jadro.manual_seed(1)
    model, x = nn.GRU(3, 4, 2, bidirectional=True), leaf(5, 2, 3).float()
    with rnn_composed.tracing() as trace:
        y, h = model(x)
    (call,) = trace.calls
    assert len(call) == 4 and all(len(hs) == 5 for hs in call)
    top = np.concatenate([np.stack([h_t.numpy() for h_t in hs]) for hs in call[2:]], 2)
    np.testing.assert_array_equal(top, y.numpy())
    np.testing.assert_array_equal(call[0][-1].numpy(), h.numpy()[0])
    np.testing.assert_array_equal(call[1][0].numpy(), h.numpy()[1])
    assert rnn_composed.active_trace() is None
