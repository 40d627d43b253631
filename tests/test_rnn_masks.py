"""The random masks of recurrent layers: their rates, what they cover, and where they are not."""

import numpy as np
import pytest
from rnn_problems import Problem, all_of

import jadro
from jadro import nn


@pytest.fixture(autouse=True)
def seed():
    jadro.manual_seed(4)


def within(count, trials, p, sigmas=5):
    """Whether `count` of `trials` is what probability p gives."""
    return abs(count - trials * p) <= sigmas * (trials * p * (1 - p)) ** 0.5


def kept(states, first):
    """[T,...]: whether each unit is what it was a step before."""
    return states == np.concatenate([first[None], states[:-1]])


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_zoneout_keeps_old_units_at_its_rate(kind):
    layer = getattr(nn, kind)(4, 32, zoneout=0.3)
    y = layer(jadro.randn(60, 20, 4))[0].numpy()
    same = kept(y, np.zeros_like(y[0]))
    assert within(same.sum(), same.size, 0.3)
    for axis in range(3):  # no unit, row or step is favoured
        counts = same.sum(axis=tuple(a for a in range(3) if a != axis))
        assert all(within(c, same.size / same.shape[axis], 0.3) for c in counts)
    after = same[1:] & same[:-1]
    assert within(after.sum(), after.size, 0.09)


def test_zoneout_of_h_and_of_c_are_independent():
    layer = nn.LSTM(4, 32, zoneout=(0.2, 0.4))
    y, _, cells = layer(jadro.randn(60, 20, 4), return_cells=True)
    same_h, same_c = (kept(a.numpy(), np.zeros_like(a.numpy()[0])) for a in (y, cells))
    assert within(same_h.sum(), same_h.size, 0.2) and within(same_c.sum(), same_c.size, 0.4)
    assert within((same_h & same_c).sum(), same_h.size, 0.08)


def test_directions_and_layers_have_masks_of_their_own():
    layer = nn.RNN(4, 32, 2, zoneout=0.5, bidirectional=True)
    y = layer(jadro.randn(60, 10, 4))[0].numpy()
    there, back = kept(y[..., :32], np.zeros((10, 32))), kept(y[::-1, :, 32:], np.zeros((10, 32)))[::-1]
    assert within((there & back).sum(), there.size, 0.25)


def test_evaluation_mixes_by_the_rate():
    layer = nn.GRU(4, 8, zoneout=0.3).eval()
    plain = nn.GRU(4, 8)
    plain.load_state_dict(layer.state_dict())
    x, h = jadro.randn(1, 5, 4), jadro.randn(1, 5, 8)
    expected = 0.3 * h.numpy()[0] + 0.7 * plain(x, h)[0].numpy()[0]
    np.testing.assert_allclose(layer(x, h)[0].numpy()[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["sequence", "update"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_dropout_is_off_in_evaluation(kind, mode):
    layer = getattr(nn, kind)(4, 8, recurrent_dropout=0.5, recurrent_dropout_mode=mode)
    plain = getattr(nn, kind)(4, 8)
    plain.load_state_dict(layer.state_dict())
    x = jadro.randn(6, 5, 4)
    assert (layer(x)[0].numpy() != plain(x)[0].numpy()).any()
    np.testing.assert_allclose(layer.eval()(x)[0].numpy(), plain(x)[0].numpy(), rtol=1e-5, atol=1e-6)


def identity(hidden, **options):
    """h' = relu(h), but for what the options do to it."""
    layer = nn.RNN(1, hidden, nonlinearity="relu", bias=False, dtype="float64", **options)
    layer.load_state_dict({"weight_ih_l0": np.zeros((hidden, 1)), "weight_hh_l0": np.eye(hidden)})
    return layer


def test_sequence_dropout_is_one_mask_for_all_steps():
    layer = identity(64, recurrent_dropout=0.25)
    y = layer(jadro.zeros(5, 40, 1, dtype="float64"), jadro.ones(1, 40, 64, dtype="float64"))[0].numpy()
    alive = y[0] > 0
    assert within((~alive).sum(), alive.size, 0.25)
    for axis in (0, 1):
        assert all(within(c, alive.shape[axis], 0.25) for c in (~alive).sum(axis))
    for t in range(5):
        np.testing.assert_allclose(y[t], alive * (4 / 3) ** (t + 1), rtol=1e-12)
    again = layer(jadro.zeros(5, 40, 1, dtype="float64"), jadro.ones(1, 40, 64, dtype="float64"))[0].numpy()
    assert ((again[0] > 0) != alive).any()


def test_update_dropout_is_a_mask_each_step():
    layer = nn.GRU(1, 64, bias=False, recurrent_dropout=0.25, recurrent_dropout_mode="update", dtype="float64")
    layer.load_state_dict({"weight_ih_l0": np.ones((192, 1)), "weight_hh_l0": np.zeros((192, 64))})
    h = np.zeros((40, 64))
    y = layer(jadro.ones(30, 40, 1, dtype="float64"))[0].numpy()
    z, n = 1 / (1 + np.exp(-1.0)), np.tanh(1.0)
    dropped = np.zeros(y.shape, bool)
    for t in range(30):  # h' = z h, or z h + (1 - z) n / 0.75
        dropped[t] = np.isclose(y[t], z * h, rtol=1e-12)
        np.testing.assert_allclose(y[t], z * h + ~dropped[t] * ((1 - z) * n / 0.75), rtol=1e-11)
        h = y[t]
    assert within(dropped.sum(), dropped.size, 0.25)
    both = dropped[1:] & dropped[:-1]
    assert within(both.sum(), both.size, 0.0625)


EVERYTHING = ("layers", "bidirectional", "dropout", "zoneout_both", "update", "lengths", "reset_state", "cells")


def test_the_same_seed_draws_the_same_masks():
    problem = Problem("lstm", EVERYTHING, batch=9, hidden=7)
    arrays, weights = problem.arrays(np.float32), problem.weights(np.float32)
    first, dfirst = problem.native(arrays, weights)
    second, dsecond = problem.native(arrays, weights)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    for a, b in zip(dfirst, dsecond, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    layer, _ = problem.layer(weights)
    x, options = jadro.tensor(arrays["x"]), {"lengths": problem.lengths}
    one, two = (layer(x, **options)[0].numpy() for _ in range(2))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("gone", ["", "update"], ids=["update", "sequence"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_the_bits_do_not_depend_on_the_threads(threads, cell, gone):
    """With all options at once, results and gradients."""
    names = all_of(cell, gone)
    for batch, hidden in ((2, 37), (19, 21)):  # threads share the units of a row, or the rows
        problem = Problem(cell, names, batch=batch, hidden=hidden, inputs=5)
        arrays, weights = problem.arrays(np.float32), problem.weights(np.float32)
        found = []
        for count in (1, 2, 3, 7):
            threads(count)
            found.append(problem.native(arrays, weights))
        for results, grads in found[1:]:
            for name in results:
                np.testing.assert_array_equal(results[name], found[0][0][name], err_msg=name)
            for a, b in zip(grads, found[0][1], strict=True):
                for name in a:
                    np.testing.assert_array_equal(a[name], b[name], err_msg=name)
