"""The gradients of the recurrent reference, with every option, are the derivatives of its results."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rnn_problems import CELLS, Problem, fits, options_of, sets_of

WIDE = np.longdouble  # differences keep most of float64's digits


def draw(draw_from, cell):
    names = draw_from(st.sets(st.sampled_from(options_of(cell))).filter(fits))
    return tuple(sorted(names))


def check(problem, each=True):
    """<gradient, v> = (L(p + h v) - L(p - h v)) / 2h, L = <cotangents, results>, along v in all arrays and in each."""
    arrays, weights = problem.arrays(WIDE), problem.weights(WIDE)
    inputs = {n: a for n, a in arrays.items() if not n.startswith("d")}
    found, dweights = problem.reference(arrays, weights)
    gradients = {n: found["d" + n] for n in inputs}
    for k, named in enumerate(weights):
        inputs |= {(k, n): a for n, a in named.items()}
        gradients |= {(k, n): dweights[k][n] for n in named}
    rng = np.random.default_rng(1)
    direction = {n: rng.standard_normal(a.shape).astype(WIDE) for n, a in inputs.items()}
    eps = np.finfo(WIDE).eps
    h = eps ** WIDE(0.4)

    def loss(step, names):
        moved = {n: a + step * direction[n] if n in names else a for n, a in inputs.items()}
        given = {n: moved.get(n, a) for n, a in arrays.items()}
        params = [{n: moved[k, n] for n in named} for k, named in enumerate(weights)]
        results = problem.reference(given, params)[0]
        return sum(np.sum(arrays[f"d{n}"] * results[n]) for n in problem.output_shapes)

    for names in [list(inputs), *([n] for n in inputs if each)]:
        by_difference = (loss(h, names) - loss(-h, names)) / (2 * h)
        by_gradient = sum(np.sum(gradients[n] * direction[n]) for n in names)
        scale = sum(np.sum(np.abs(gradients[n] * direction[n])) for n in names) + abs(loss(0, names))
        assert abs(by_difference - by_gradient) <= eps ** WIDE(0.45) * scale, (problem, names)


@pytest.mark.parametrize(("cell", "names"), [(c, n) for c in CELLS for n in [(), *sets_of(c, 1)]], ids=str)
def test_one_option(cell, names):
    check(Problem(cell, names))


@pytest.mark.parametrize("cell", CELLS)
def test_two_options(cell):
    for names in sets_of(cell, 2):
        check(Problem(cell, names, steps=3, batch=3, inputs=2, hidden=4), each=False)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(CELLS), st.booleans())
def test_any_options(data, cell, training):
    names = draw(data.draw, cell)
    check(Problem(cell, names, steps=3, batch=3, inputs=2, hidden=4, training=training, state=data.draw(st.booleans())))
