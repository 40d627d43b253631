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
