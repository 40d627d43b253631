"""Recurrent layers with every option, through the layers, held to the reference by the tolerance rule."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rnn_problems import CELLS, Problem, all_of, fits, options_of, sets_of

from jadro.testing.cases.base import NAIVE_RUNS, WIDER, assert_close, largest


@functools.cache
def expected(problem, dtype, runs):
    """The arrays and weights of a problem, the exact results, and those of naive runs."""
    arrays, weights = problem.arrays(dtype), problem.weights(dtype)
    wide = WIDER[dtype]
    exact = problem.reference(
        {n: a.astype(wide) for n, a in arrays.items()}, [{n: a.astype(wide) for n, a in w.items()} for w in weights]
    )
    return arrays, weights, exact, problem.naive(arrays, weights, runs)


def check(problem, dtype, hold=assert_close, runs=NAIVE_RUNS):
    """Outputs and all gradients; hold(got, exact, naive runs, what)."""
    arrays, weights, (exact, dexact), naive = expected(problem, np.dtype(dtype), runs)
    found, dweights = problem.native(arrays, weights)
    for name in exact:
        hold(found[name], exact[name], [run[name] for run, _ in naive], f"{problem}: {name}")
    for k, named in enumerate(dexact):
        for name, g in named.items():
            what = f"{problem}: gradient of {name} of {k}"
            hold(dweights[k][name], g, [dw[k][name] for _, dw in naive], what)


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
    "long": (19, 3, 2, 6),
}


@pytest.mark.parametrize("gone", ["", "update"], ids=["update", "sequence"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_all_options(backend, cell, size, gone):
    steps, batch, inputs, hidden = SIZES[size]
    names = all_of(cell, gone, "projection" if hidden <= 3 else "")
    # layer norm of so many things in a row makes lucky runs rare and unlucky ones bad: more of them
    check(Problem(cell, names, steps, batch, inputs, hidden), np.float32, runs=4 * NAIVE_RUNS)


@pytest.mark.parametrize("cell", CELLS)
def test_checkpoints_change_memory_alone(cell):
    """The same bits from all gates kept, from the states alone, and from every third state or fewer."""
    for names in [(), ("layers", "bidirectional", "lengths", "reset_state"), all_of(cell), all_of(cell, "update")]:
        arrays, weights = (getattr(Problem(cell, names, steps=7), what)(np.float32) for what in ("arrays", "weights"))
        whole, dwhole = Problem(cell, names, steps=7).native(arrays, weights)
        for k in (1, 3, 7, 100):
            found, dfound = Problem(cell, names, steps=7, changed={"checkpoint": k}).native(arrays, weights)
            for name, a in whole.items():
                np.testing.assert_array_equal(found[name], a, f"{names}, {k}: {name}")
            for a, b in zip(dwhole, dfound, strict=True):
                for name in a:
                    np.testing.assert_array_equal(b[name], a[name], f"{names}, {k}: {name}")


def assert_near(got, exact, naive, what):
    """For results of a few numbers, where the naive runs may all be lucky: what a wrong formula would exceed by far."""
    assert (got.shape, got.dtype) == (naive[0].shape, naive[0].dtype), what
    lucky = max(largest(run - exact) for run in naive)
    assert largest(got - exact) <= 2 * lucky + 1024 * np.finfo(got.dtype).eps * (1 + largest(exact)), what


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(CELLS), st.booleans(), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_any_options(data, cell, training, state, dtype):
    names = tuple(sorted(data.draw(st.sets(st.sampled_from(options_of(cell))).filter(fits))))
    steps, batch, inputs, hidden = (data.draw(st.integers(1, n)) for n in (9, 18, 9, 40))
    hidden += 4 * bool({"projection", "layer_norm"} & set(names))  # layer norm of a few units is all cancellation
    check(
        Problem(cell, names, steps, batch, inputs, hidden, training, state, at=(5, data.draw(st.integers(0, 99)))),
        dtype,
        assert_near,
    )
