"""Hooks of modules, of forward and of backward."""

import numpy as np
import pytest

import jadro
from jadro import nn


def test_hooks_see_and_change_what_passes():
    layer, seen = nn.Identity(), []
    first = layer.register_forward_pre_hook(lambda m, args: seen.append(args))
    second = layer.register_forward_pre_hook(lambda m, args: args[0] + 1)
    third = layer.register_forward_hook(lambda m, args, y: seen.append((args, y)))
    fourth = layer.register_forward_hook(lambda m, args, y: y * 10)
    assert layer(1) == 20
    assert seen == [(1,), ((2,), 2)]
    second.remove()
    second.remove()
    assert layer(1) == 10
    for handle in (first, third, fourth):
        handle.remove()
    assert layer(1) == 1
    with layer.register_forward_hook(lambda m, args, y: 7):
        assert layer(1) == 7
    assert layer(1) == 1


def test_hooks_with_keyword_arguments():
    class Scale(nn.Module):
        def forward(self, x, by=1):
            return x * by

    layer = Scale()
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kwargs, y: (y, kwargs), with_kwargs=True)
    assert layer(5, by=2) == (15, {"by": 3})


def test_a_hook_can_come_first():
    layer, seen = nn.Identity(), []
    layer.register_forward_hook(lambda m, args, y: seen.append("second"))
    layer.register_forward_hook(lambda m, args, y: seen.append("first"), prepend=True)
    layer(1)
    assert seen == ["first", "second"]


class Both(nn.Module):
    def forward(self, a, b, by=3.0):
        return a * b, a + b, "no tensor"


def test_backward_hooks_see_and_change_gradients():
    layer, seen = Both(), []
    layer.register_full_backward_pre_hook(lambda m, dys: (dys[0] * 2, None, None))
    layer.register_full_backward_hook(lambda m, dxs, dys: seen.append((m, dxs, dys)))
    layer.register_full_backward_hook(lambda m, dxs, dys: (dxs[0] * 10, dxs[1], None))
    a, b = jadro.tensor([2.0], requires_grad=True), jadro.tensor([5.0], requires_grad=True)
    product, total, _ = layer(a, b, 4.0)
    (product + total).backward()
    ((module, dxs, dys),) = seen
    assert module is layer
    assert [dx if dx is None else dx.item() for dx in dxs] == [10.0, 4.0, None]
    assert (dys[0].item(), *dys[1:]) == (2.0, None, None)
    assert (a.grad.item(), b.grad.item()) == (100.0, 4.0)
    with pytest.raises(ValueError, match="backward hook: 1 gradients were returned, expected 3"):
        layer.register_full_backward_hook(lambda m, dxs, dys: dxs[0])
        sum(layer(a, b, 4.0)[:2]).backward()


def test_backward_hooks_without_gradients_of_inputs_and_of_second_order():
    layer, seen = nn.Linear(2, 1, bias=False), []
    handle = layer.register_full_backward_hook(lambda m, dxs, dys: seen.append((dxs, dys[0].item())))
    layer(jadro.ones(1, 2)).sum().backward()
    assert seen == [((None,), 1.0)]
    x = jadro.tensor([[1.0, 2.0]], requires_grad=True)
    (dx,) = jadro.grad((layer(x) ** 3).sum(), [x], create_graph=True)
    (found,) = jadro.grad(dx.sum(), [x])
    handle.remove()
    (dx,) = jadro.grad((layer(x) ** 3).sum(), [x], create_graph=True)
    (wanted,) = jadro.grad(dx.sum(), [x])
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)
    assert len(seen) >= 2
