"""Hooks of tensors: what they see, what they may change, and what they leave alone."""

import gc
import weakref

import numpy as np
import pytest

import jadro


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def test_a_hook_is_called_once_with_the_whole_gradient():
    x, seen = leaf(3), []
    y = x * 2
    y.register_hook(lambda g: seen.append(("y", g.numpy().copy())))
    x.register_hook(lambda g: seen.append(("x", g.numpy().copy())))
    (y * 3 + y + x).sum().backward()
    assert [name for name, _ in seen] == ["y", "x"]
    np.testing.assert_array_equal(seen[0][1], np.full(3, 4.0))
    np.testing.assert_array_equal(seen[1][1], np.full(3, 9.0))


def test_what_a_hook_returns_takes_the_place_of_the_gradient():
    x = leaf(3)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    handle = y.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: -g)
    y.sum().backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad.data, np.full(3, -22.0))
    handle.remove()
    handle.remove()
    with x.register_hook(lambda g: g * 0):
        np.testing.assert_array_equal(jadro.grad(y.sum(), x, retain_graph=True)[0].data, np.zeros(3))
    np.testing.assert_array_equal(jadro.grad(y.sum(), x)[0].data, np.full(3, -20.0))


def test_hooks_of_the_inputs_of_grad():
    x = leaf(3)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    np.testing.assert_array_equal(jadro.grad((y * 3).sum(), y)[0].data, np.full(3, 30.0))


def test_hooks_of_one_output_of_several():
    x, seen = leaf(4), []
    a, b = x.split(2)
    b.register_hook(lambda g: seen.append(g.tolist()))
    (a.sum() + (b * 2).sum()).backward()
    assert seen == [[2.0, 2.0]]


def test_hooks_are_recorded_under_create_graph():
    x = leaf(3)
    y = x**2
    y.register_hook(lambda g: g * x)
    (g,) = jadro.grad(y.sum(), x, create_graph=True)  # 2 x^2
    np.testing.assert_allclose(g.data, 2 * x.data**2)
    np.testing.assert_allclose(jadro.grad(g.sum(), x)[0].data, 4 * x.data)


def test_a_hook_outlives_its_tensor_and_not_its_graph():
    x, seen = leaf(3), []
    y = x * 2
    y.register_hook(lambda g, y=y: seen.append(y))  # the hook holds y, which holds the graph, which holds the hook
    alive, total = weakref.ref(y), (y * 2).sum()
    total.backward()
    assert len(seen) == 1
    seen.clear()
    del y, total
    gc.collect()
    assert alive() is None
    z = x * 2
    z.register_hook(lambda g: seen.append(1))
    total = z.sum()
    del z
    total.backward()
    assert seen == [1]


def test_what_a_hook_keeps_is_its_own():
    x, kept, constant = leaf(3), [], jadro.tensor(np.ones(3))
    x.register_hook(kept.append)
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    np.testing.assert_array_equal(kept[0].data, np.full(3, 2.0))
    z = leaf(3)
    z.register_hook(lambda g: constant)
    for _ in range(2):
        (z * 2).sum().backward()
    np.testing.assert_array_equal(constant.data, np.ones(3))
    np.testing.assert_array_equal(z.grad.data, np.full(3, 2.0))


def test_retain_grad():
    x = leaf(3)
    y = x * 2
    assert not y.retains_grad
    y.retain_grad()
    y.register_hook(lambda g: g * 5)  # `grad` has what all hooks made of it
    x.retain_grad()
    assert y.retains_grad and not x.retains_grad
    total = (y * 3).sum()
    total.backward(retain_graph=True)
    np.testing.assert_array_equal(y.grad.data, np.full(3, 15.0))
    total.backward()
    np.testing.assert_array_equal(y.grad.data, np.full(3, 30.0))
    np.testing.assert_array_equal(x.grad.data, np.full(3, 60.0))


def test_retain_grad_under_create_graph():
    x = leaf(3)
    y = x * 2
    y.retain_grad()
    (y**3).sum().backward(create_graph=True)
    np.testing.assert_allclose(jadro.grad(y.grad.sum(), x)[0].data, 12 * y.data)


def test_bad_hooks():
    x = leaf(3)
    with pytest.raises(TypeError, match="register_hook: hook is a int, expected a function"):
        x.register_hook(3)
    for call in (lambda t: t.register_hook(print), lambda t: t.retain_grad()):
        with pytest.raises(RuntimeError, match="does not require a gradient"):
            call(jadro.zeros(3))
    for returned, error, message in (
        (1.0, TypeError, "returned a float, expected a float64 tensor or None"),
        (jadro.zeros(3), TypeError, "returned a float32 tensor"),
        (leaf(2), ValueError, r"returned shape \(2,\), expected \(3,\)"),
    ):
        with x.register_hook(lambda g, returned=returned: returned), pytest.raises(error, match=message):
            (x * 2).sum().backward()
    assert x.grad is None


def test_against_pytorch():
    torch = pytest.importorskip("torch")
    results = []
    for lib in (jadro, torch):
        seen = []
        x = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
        y = x * x
        y.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
        y.retain_grad()
        y.register_hook(lambda g: g * 2)
        x.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
        z = (y * y + y).sum()
        if lib is torch:
            torch.autograd.grad(z, [y, x], retain_graph=True)
        else:
            jadro.grad(z, [y, x], retain_graph=True)
        retained = None if y.grad is None else y.grad.tolist()
        z.backward()
        results.append((seen, retained, y.grad.tolist(), x.grad.tolist()))
    assert results[0] == results[1]
