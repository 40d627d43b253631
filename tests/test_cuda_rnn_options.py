"""Recurrent layers with every option on CUDA, held to the reference by the tolerance rule: with a GPU on CuPy's arrays,
without one on those of the stand-in."""

import sys

import numpy as np
import pytest
from conftest import cuda_is_here
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rnn_problems import CELLS, Problem, all_of, fits, options_of, sets_of
from test_rnn_options import SIZES, check

import jadro
from jadro import nn
from jadro.testing.cases.base import NAIVE_RUNS

LOOPS = ["persistent", "steps"]
WHOLE_ROWS = {"layer_norm", "projection", "reset_before"}  # what one launch for all steps does not serve

pytestmark = pytest.mark.usefixtures("cuda_device")
both_loops = pytest.mark.parametrize("cuda_device", LOOPS, indirect=True)


def on_cuda(cell, names=(), *sizes, **more):
    return Problem(cell, names, *sizes, device="cuda", **more)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_option(cell, dtype, training):
    for names in [(), *sets_of(cell, 1)]:
        check(on_cuda(cell, names, training=training), dtype)


@both_loops
@pytest.mark.parametrize("gone", ["", "update"], ids=["update", "sequence"])
@pytest.mark.parametrize("cell", CELLS)
def test_all_that_one_launch_serves(cell, gone):
    names = all_of(cell, gone, *WHOLE_ROWS)
    for sizes in SIZES.values():
        check(on_cuda(cell, names, *sizes), np.float32, runs=4 * NAIVE_RUNS)


@pytest.mark.parametrize("gone", ["", "update"], ids=["update", "sequence"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_all_options(cell, size, gone):
    steps, batch, inputs, hidden = SIZES[size]
    names = all_of(cell, gone, "projection" if hidden <= 3 else "")
    # float64, for layer norm of so many things in a row makes the bounds of float32 a matter of luck
    check(on_cuda(cell, names, steps, batch, inputs, hidden), np.float64, runs=4 * NAIVE_RUNS)


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_of_several_blocks(cell):
    """More units than a block has threads, with layer norm and without."""
    for names in (("lengths", "reset_state", "zoneout"), ("layer_norm", "bidirectional")):
        check(on_cuda(cell, names, 2, 3, 2, 300), np.float32)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_drawn_sets_of_options(data):
    cell = data.draw(st.sampled_from(CELLS))
    names = data.draw(st.lists(st.sampled_from(options_of(cell)), max_size=6, unique=True).filter(fits))
    sizes = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 5), st.integers(4, 23)))
    check(on_cuda(cell, tuple(names), *sizes), np.float64)


def test_every_row_may_be_empty():
    layer = nn.LSTM(3, 5, layer_norm=True, bidirectional=True).to("cuda")
    x = jadro.tensor(np.ones((4, 2, 3), np.float32), device="cuda", requires_grad=True)
    y, (h, c) = layer(x, lengths=[0, 0])
    found = jadro.grad([y, h, c], [x, *layer.parameters()], [jadro.ones_like(t) for t in (y, h, c)])
    assert not any(t.cpu().numpy().any() for t in (y, h, c, *found))
    y, h = nn.GRU(3, 5, zoneout=0.5).to("cuda")(jadro.tensor(np.ones((4, 0, 3), np.float32), device="cuda"))
    assert y.shape == (4, 0, 5) and h.shape == (1, 0, 5)


@pytest.mark.parametrize("cell", CELLS)
def test_inference_keeps_nothing_and_changes_nothing(cell):
    for names in (all_of(cell, "cells"), all_of(cell, "lengths", "update")):
        problem = on_cuda(cell, names)
        arrays, weights = problem.arrays(np.float32), problem.weights(np.float32)
        expected, _ = problem.native(arrays, weights)
        layer, _ = problem.layer(weights)
        with jadro.no_grad():
            there = {n: jadro.tensor(a, device="cuda") for n, a in arrays.items() if not n.startswith("d")}
            found = problem.call(layer, there)
        for name, y in found.items():
            np.testing.assert_array_equal(y.cpu().numpy(), expected[name], name)


@pytest.mark.skipif(cuda_is_here(), reason="a GPU has an order of its own")
@pytest.mark.parametrize("cell", CELLS)
def test_the_order_of_threads_changes_no_bit(cell, request):
    host = sys.modules["jadro._cuda"]._host
    request.addfinalizer(lambda: host.set_backward(False))
    for names in (all_of(cell), all_of(cell, "update", *WHOLE_ROWS)):
        problem = on_cuda(cell, names, 3, 5, 4, 17)
        arrays, weights = problem.arrays(np.float32), problem.weights(np.float32)
        found = []
        for backward in (False, True):
            host.set_backward(backward)
            found.append(problem.native(arrays, weights))
        (first, dfirst), (second, dsecond) = found
        for name, a in first.items():
            np.testing.assert_array_equal(second[name], a, name)
        for a, b in zip(dfirst, dsecond, strict=True):
            for name, g in a.items():
                np.testing.assert_array_equal(b[name], g, name)


def test_bad_input():
    layer, x = nn.LSTM(3, 5, layer_norm=True).to("cuda"), jadro.tensor(np.ones((4, 2, 3), np.float32), device="cuda")
    with pytest.raises(ValueError, match=r"LSTM: lengths has values 1\.\.5, expected 0\.\.4"):
        layer(x, lengths=[1, 5])
    with pytest.raises(ValueError, match="LSTM: h0 is on cpu, expected cuda as x is"):
        layer(x, (np.zeros((1, 2, 5), np.float32), np.zeros((1, 2, 5), np.float32)))
