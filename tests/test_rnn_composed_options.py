"""The composed loop, with every option, against the reference; its second derivatives against differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rnn_problems import CELLS, OPTIONS, Problem, all_of, fits, options_of, sets_of

import jadro
from jadro.testing import gradgradcheck


def leaves(problem, dtype=np.float64):
    """The arrays and the weights, and the same as Tensors."""
    arrays, weights = problem.arrays(dtype), problem.weights(dtype)
    tensors = {n: jadro.tensor(a, requires_grad=True) for n, a in arrays.items() if not n.startswith("d")}
    params = [{n: jadro.tensor(a, requires_grad=True) for n, a in named.items()} for named in weights]
    return arrays, weights, tensors, params


def check(problem):
    arrays, weights, tensors, params = leaves(problem)
    expected, dweights = problem.reference(arrays, weights)
    found = problem.composed(tensors, params)
    inputs = {f"d{n}": t for n, t in tensors.items()}
    inputs |= {(k, n): t for k, named in enumerate(params) for n, t in named.items()}
    seeds = [arrays[f"d{n}"] for n in found]
    gradients = jadro.grad(list(found.values()), list(inputs.values()), seeds, allow_unused=True)
    for name, y in found.items():
        np.testing.assert_allclose(y.numpy(), expected[name], rtol=1e-10, atol=1e-12, err_msg=f"{problem}: {name}")
    for name, g in zip(inputs, gradients, strict=True):
        exact = dweights[name[0]][name[1]] if isinstance(name, tuple) else expected[name]
        got = np.zeros_like(exact) if g is None else g.numpy()
        np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-11, err_msg=f"{problem}: gradient of {name}")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_one_option(cell, training):
    for names in [(), *sets_of(cell, 1)]:
        check(Problem(cell, names, training=training))


@pytest.mark.parametrize("cell", CELLS)
def test_two_options(cell):
    for names in sets_of(cell, 2):
        check(Problem(cell, names))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(CELLS), st.booleans(), st.booleans())
def test_any_options(data, cell, training, state):
    names = tuple(sorted(data.draw(st.sets(st.sampled_from(options_of(cell))).filter(fits))))
    steps, batch, inputs, hidden = (data.draw(st.integers(1, n)) for n in (7, 6, 5, 9))
    hidden += 3 * ("projection" in names)
    check(Problem(cell, names, steps, batch, inputs, hidden, training, state))


@pytest.mark.parametrize("cell", CELLS)
def test_layers_give_the_same_gradients_either_way(cell):
    """The native loop's, and those that can be differentiated again."""
    for names in [*sets_of(cell, 1), all_of(cell), all_of(cell, "update")]:
        problem = Problem(cell, names)
        arrays, weights = problem.arrays(), problem.weights()
        native, dnative = problem.native(arrays, weights)
        recorded, drecorded = problem.native(arrays, weights, create_graph=True)
        for name, a in native.items():
            np.testing.assert_allclose(recorded[name], a, rtol=1e-9, atol=1e-11, err_msg=f"{names}: {name}")
        for a, b in zip(dnative, drecorded, strict=True):
            for name in a:
                np.testing.assert_allclose(b[name], a[name], rtol=1e-9, atol=1e-11, err_msg=f"{names}: {name}")


def second_derivatives(problem):
    _, _, tensors, params = leaves(problem)
    order = [(k, n) for k, named in enumerate(params) for n in named]

    def run(*args):
        arrays = dict(zip(tensors, args, strict=False))
        named = [{} for _ in params]
        for (k, n), t in zip(order, args[len(tensors) :], strict=True):
            named[k][n] = t
        return list(problem.composed(arrays, named).values())

    gradgradcheck(run, [*tensors.values(), *(params[k][n] for k, n in order)], directions=1)


SMALL = {"steps": 3, "batch": 3, "inputs": 2, "hidden": 4}


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_second_derivatives_of_one_option(cell):
    for names in sets_of(cell, 1):
        second_derivatives(Problem(cell, names, **SMALL))


@pytest.mark.parametrize(("cell", "gone"), [("lstm", ""), ("gru", "update"), ("rnn_tanh", "update")])
def test_second_derivatives_of_all_options(cell, gone):
    names = all_of(cell, gone)
    assert fits(names) and len(names) > len(OPTIONS) // 2
    second_derivatives(Problem(cell, names, **SMALL))
