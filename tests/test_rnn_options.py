"""Recurrent layers with every option, through the layers, held to the reference by the tolerance rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rnn_problems import CELLS, Problem, fits, options_of, sets_of

from jadro.testing.cases.base import WIDER, assert_close


def check(problem, dtype):
    """Outputs and all gradients."""
    dtype = np.dtype(dtype)
    arrays, weights = problem.arrays(dtype), problem.weights(dtype)
    wide = WIDER[dtype]
    exact, dexact = problem.reference(
        {n: a.astype(wide) for n, a in arrays.items()}, [{n: a.astype(wide) for n, a in w.items()} for w in weights]
    )
    naive = problem.naive(arrays, weights)
    found, dweights = problem.native(arrays, weights)
    for name in exact:
        assert_close(found[name], exact[name], [run[name] for run, _ in naive], f"{problem}: {name}")
    for k, named in enumerate(dexact):
        for name, g in named.items():
            what = f"{problem}: gradient of {name} of {k}"
            assert_close(dweights[k][name], g, [dw[k][name] for _, dw in naive], what)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_option(backend, dtype, cell, training):
    for names in [(), *sets_of(cell, 1)]:
        check(Problem(cell, names, training=training), dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_two_options(cell):
    for names in sets_of(cell, 2):
        check(Problem(cell, names), np.float32)


# past one vector, past one tile of rows and of units, and everything as small as can be
SIZES = {
    "one": (1, 1, 1, 1),
    "vector": (3, 5, 4, 17),
    "rows": (3, 15, 2, 9),
    "tile": (2, 29, 19, 35),
    "long": (40, 3, 2, 6),
}


@pytest.mark.parametrize("clash", [{"zoneout_both", "update"}, {"zoneout", "sequence"}], ids=["sequence", "update"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_all_options(backend, cell, size, clash):
    steps, batch, inputs, hidden = SIZES[size]
    gone = clash | ({"projection"} if hidden <= 3 else set())
    names = tuple(sorted(set(options_of(cell)) - gone))
    check(Problem(cell, names, steps, batch, inputs, hidden), np.float32)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(CELLS), st.booleans(), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_any_options(data, cell, training, state, dtype):
    names = tuple(sorted(data.draw(st.sets(st.sampled_from(options_of(cell))).filter(fits))))
    steps, batch, inputs, hidden = (data.draw(st.integers(1, n)) for n in (9, 18, 9, 40))
    hidden += 3 * ("projection" in names)
    check(
        Problem(cell, names, steps, batch, inputs, hidden, training, state, at=(5, data.draw(st.integers(0, 99)))),
        dtype,
    )
