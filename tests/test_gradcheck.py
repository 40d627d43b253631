"""The public gradient check finds wrong gradients and passes right ones."""

import numpy as np
import pytest

import jadro
from jadro.testing import GradcheckError, gradcheck, gradgradcheck


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


class WrongSquare(jadro.Function):
    """x^2 with the gradient `factor * x * dy` instead of `2 * x * dy`."""

    factor = 2.0

    @staticmethod
    def forward(ctx, x):
        ctx.save(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved
        return WrongSquare.factor * x * dy


def test_right_gradients_pass():
    assert gradcheck(lambda a, b: (a @ b).tanh(), [leaf(3, 4), leaf(4, 2, seed=1)])
    assert gradcheck(lambda a: [a.exp(), a.sum()], leaf(5))


@pytest.mark.parametrize("factor", [0.0, 1.999, -2.0, float("nan")])
def test_wrong_gradients_are_found(factor, monkeypatch):
    monkeypatch.setattr(WrongSquare, "factor", factor)
    with pytest.raises(GradcheckError, match="input 0"):
        gradcheck(WrongSquare.apply, leaf(7))
    assert not gradcheck(WrongSquare.apply, leaf(7), raise_exception=False)


def test_the_right_one_passes():
    assert gradcheck(WrongSquare.apply, leaf(7))


def test_a_detached_input_is_found():
    with pytest.raises(GradcheckError, match="input 1"):
        gradcheck(lambda a, b: a * b.detach(), [leaf(3), leaf(3, seed=1)])


def test_an_error_in_one_element_of_many_is_found():
    """All directions have a part along every element."""

    def fn(x):
        return jadro.cat([x[:1].detach() * 2 - x[:1], x[1:]])

    with pytest.raises(GradcheckError):
        gradcheck(fn, leaf(200))


def test_inputs_without_gradient_are_handed_on():
    assert gradcheck(lambda a, n, flag: a**n if flag else a, [leaf(4) * 0 + 2, 3, True])


def test_second_derivatives():
    assert gradgradcheck(lambda a, b: (a * b).exp() + a.tanh(), [leaf(3), leaf(3, seed=1)])


def test_bad_input():
    single = jadro.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="gradcheck: input 0 has dtype float32, expected float64"):
        gradcheck(lambda a: a, single)
    with pytest.raises(ValueError, match="gradcheck: none of the inputs requires a gradient"):
        gradcheck(lambda a: a, [single.detach()])
