"""Gradient clipping, parameters as a vector, evaluation mode for a while."""

import math

import numpy as np
import pytest

import jadro
from jadro import nn
from jadro.nn import utils

SHAPES = [(3, 4), (5,), ()]


def with_grads(grads, dtype=np.float64):
    params = [nn.Parameter(np.zeros(np.shape(g), dtype)) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = jadro.tensor(np.asarray(g, dtype))
    return params


def random_grads():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) * 3 for shape in SHAPES]


@pytest.mark.parametrize("norm_type", [0.5, 1.0, 2, 3.0, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 5.0, 1e6])
def test_clip_grad_norm_equals_pytorch(max_norm, norm_type, dtype):
    torch = pytest.importorskip("torch")
    grads = [np.asarray(g, dtype) for g in random_grads()]
    params = with_grads(grads, dtype)
    twins = [torch.nn.Parameter(torch.tensor(g)) for g in grads]
    for q, g in zip(twins, grads, strict=True):
        q.grad = torch.tensor(g)
    total = utils.clip_grad_norm_(params, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(twins, max_norm, norm_type)
    eps = np.finfo(dtype).eps
    assert abs(float(total) - float(expected)) <= 8 * eps * float(expected)
    assert total.dtype == dtype
    for p, q in zip(params, twins, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=16 * eps)


def test_small_gradients_keep_their_bits():
    params = with_grads([[0.1, 0.2]])
    before = params[0].grad.numpy().copy()
    assert float(utils.clip_grad_norm_(params, 1.0)) == pytest.approx(math.sqrt(0.05))
    np.testing.assert_array_equal(params[0].grad.numpy(), before)


def test_one_parameter_and_none_with_a_gradient():
    (p,) = with_grads([[3.0, 4.0]])
    assert float(utils.clip_grad_norm_(p, 1.0)) == 5.0
    assert float(utils.clip_grad_norm_([nn.Parameter(np.ones(2))], 1.0)) == 0.0
    assert float(utils.clip_grad_norm_([], 1.0)) == 0.0
    assert float(utils.clip_grad_norm_(iter(with_grads([[3.0], [4.0]])), 10.0)) == 5.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(bad):
    params = with_grads([[1.0, bad], [2.0]])
    with pytest.raises(ValueError, match="clip_grad_norm_: the norm"):
        utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[1].grad.item() == 2.0
    total = float(utils.clip_grad_norm_(params, 1.0))
    assert not math.isfinite(total)


def test_clip_grad_value():
    params = with_grads([[-9.0, 5.0, 0.5, math.nan, math.inf], [7.0]])
    utils.clip_grad_value_(params, 5.0)
    np.testing.assert_array_equal(params[0].grad.numpy(), [-5, 5, 0.5, math.nan, 5])
    assert params[1].grad.item() == 5.0


def test_vectors():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    vector = utils.parameters_to_vector(net.parameters())
    expected = np.concatenate([p.numpy().reshape(-1) for p in net.parameters()])
    np.testing.assert_array_equal(vector.numpy(), expected)
    (vector * vector).sum().backward()
    np.testing.assert_allclose(net[0].weight.grad.numpy(), 2 * net[0].weight.numpy())
    utils.vector_to_parameters(jadro.arange(13.0), net.parameters())
    np.testing.assert_array_equal(net[0].bias.numpy(), [6, 7, 8])
    np.testing.assert_array_equal(utils.parameters_to_vector(net.parameters()).numpy(), np.arange(13))
    with pytest.raises(ValueError, match="vector_to_parameters"):
        utils.vector_to_parameters(jadro.arange(12.0), net.parameters())
    assert net[1].bias.item() == 12


@pytest.mark.parametrize(
    "call",
    [
        lambda: utils.clip_grad_norm_([], -1.0),
        lambda: utils.clip_grad_norm_([], math.nan),
        lambda: utils.clip_grad_norm_([], 1.0, norm_type=0),
        lambda: utils.clip_grad_value_([], -1.0),
    ],
)
def test_bad_values(call):
    with pytest.raises(ValueError, match="clip_grad"):
        call()


def test_evaluating_gives_every_module_its_mode_back():
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))
    net[1].eval()
    with pytest.raises(KeyError), utils.evaluating(net):
        assert not any(m.training for m in net.modules())
        raise KeyError
    assert [m.training for m in net.modules()] == [True, True, False]


# --- sequences of unlike lengths --------------------------------------------------------------------------------------
LENGTHS = [3, 5, 0, 1]


def ragged(*rest):
    rng = np.random.default_rng(0)
    return [jadro.tensor(rng.normal(size=(n, *rest)), requires_grad=True) for n in LENGTHS]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("rest", [(), (2,), (2, 3)])
def test_pad_sequence_equals_pytorch(rest, batch_first, side):
    torch = pytest.importorskip("torch")
    sequences = ragged(*rest)
    theirs = [torch.tensor(s.data, requires_grad=True) for s in sequences]
    y = utils.rnn.pad_sequence(sequences, batch_first, -1.5, side)
    t = torch.nn.utils.rnn.pad_sequence(theirs, batch_first, -1.5, side)
    np.testing.assert_array_equal(y.data, t.detach().numpy())
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(dy)
    t.backward(torch.tensor(dy))
    for s, other in zip(sequences, theirs, strict=True):
        np.testing.assert_array_equal(s.grad.data, other.grad.numpy())


@pytest.mark.parametrize("batch_first", [False, True])
def test_unpad_sequence_gives_back_what_was_padded(batch_first):
    sequences = ragged(2)
    padded = utils.rnn.pad_sequence(sequences, batch_first)
    parts = utils.rnn.unpad_sequence(padded, jadro.tensor(LENGTHS), batch_first)
    assert len(parts) == len(sequences)
    for part, s in zip(parts, sequences, strict=True):
        np.testing.assert_array_equal(part.data, s.data)
    sum((part**2).sum() for part in parts).backward()
    for s in sequences:
        np.testing.assert_array_equal(s.grad.data, 2 * s.data)


def test_padded_sequences_run_as_each_alone():
    sequences, layer = ragged(2), nn.LSTM(2, 3, bidirectional=True).double()
    y, _ = layer(utils.rnn.pad_sequence(sequences), lengths=LENGTHS)
    for part, s in zip(utils.rnn.unpad_sequence(y, LENGTHS), sequences, strict=True):
        if len(s):
            np.testing.assert_allclose(part.data, layer(s)[0].data, rtol=1e-10, atol=1e-12)


def test_sequences_that_do_not_fit():
    pad, unpad = utils.rnn.pad_sequence, utils.rnn.unpad_sequence
    x, y = np.zeros((3, 2)), np.zeros((3, 4))
    for call, error, message in (
        (lambda: pad([]), ValueError, "sequences is empty"),
        (lambda: pad([x, y]), ValueError, r"sequences\[1\] has shape \(3, 4\), expected \(length, \*\(2,\)\)"),
        (lambda: pad([np.float32(1)]), ValueError, r"sequences\[0\] has shape \(\)"),
        (lambda: pad([x, x.astype(np.float32)]), TypeError, r"sequences\[1\] has dtype float32, expected float64"),
        (lambda: pad([x], padding_side="top"), ValueError, "padding_side is 'top', expected 'left' or 'right'"),
        (lambda: unpad(np.zeros(3), [1]), ValueError, r"padded_sequences has shape \(3,\), expected two axes"),
        (lambda: unpad(x, [1]), ValueError, r"lengths has shape \(1,\), expected \(2,\)"),
        (lambda: unpad(x, [1, 4]), ValueError, r"lengths reach 1\.\.4, expected 0\.\.3"),
        (lambda: unpad(x, [1.0, 2.0]), TypeError, "lengths has dtype float32, expected integers"),
    ):
        with pytest.raises(error, match=message):
            call()
