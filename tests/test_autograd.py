"""The tape: graphs of every shape, modes, errors, higher derivatives."""

import gc
import threading

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import Function, Tensor
from jadro.testing import gradcheck, gradgradcheck


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def test_backward_through_a_diamond_adds_both_paths():
    x = leaf(3)
    y = x * 2
    (y * y + y).sum().backward()
    np.testing.assert_allclose(x.grad.data, 8 * x.data + 2)


def test_gradients_accumulate_until_they_are_dropped():
    x = leaf(3)
    for k in range(1, 4):
        (x * x).sum().backward()
        np.testing.assert_allclose(x.grad.data, 2 * k * x.data)
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0] * 3


def test_leaves_never_share_gradient_memory():
    x, y, seed = leaf(3), leaf(3), np.ones(3)
    (x + y).backward(seed)
    assert not np.shares_memory(x.grad.data, y.grad.data)
    assert not np.shares_memory(x.grad.data, seed) and not np.shares_memory(y.grad.data, seed)
    z = leaf(2, 3)
    z.T.sum().backward()
    assert z.grad.data.flags.c_contiguous and z.grad.data.flags.writeable


def test_a_leaf_can_be_the_root():
    x = leaf(2)
    x.backward(np.array([1.0, 2.0]))
    assert x.grad.tolist() == [1.0, 2.0]


def test_gradients_have_the_dtype_of_their_tensor():
    x = jadro.ones(3, requires_grad=True)
    w = leaf(3)
    y = (x.double() * w).sum() + (x * 2).sum()
    y.backward()
    assert x.grad.dtype == np.float32 and w.grad.dtype == np.float64


def test_integers_get_no_gradient():
    x = leaf(3, 4)
    values, indices = x.max(dim=1)
    assert values.requires_grad and not indices.requires_grad
    assert not (x > 0).requires_grad


@pytest.mark.parametrize("depth", [100_000])
def test_deep_graphs_neither_recurse_nor_crash(depth):
    x = leaf()
    y = x
    for _ in range(depth):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    y = x
    for _ in range(depth):
        y = y * 1.0
    del y
    gc.collect()


def test_the_graph_is_freed_after_backward():
    class Watched(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = Kept()
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            return dy * 2

    alive = []

    class Kept:
        def __init__(self):
            alive.append(1)

        def __del__(self):
            alive.pop()

    x = leaf(2)
    y = Watched.apply(x)
    z = y.sum()
    assert alive
    z.backward()
    assert not alive
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        z.backward()
    with pytest.raises(RuntimeError, match="freed"):
        (y * 2).sum().backward()


def test_retain_graph_allows_another_backward():
    x = leaf(2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.data, 4 * x.data)


def test_bad_roots():
    x = leaf(3)
    with pytest.raises(ValueError, match=r"shape \(3,\), expected one element"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"grad has shape \(2,\), expected \(3,\)"):
        (x * 2).backward(np.ones(2))
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        x.detach().sum().backward()


def test_an_error_on_the_way_leaves_gradients_alone():
    class Broken(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, dy):
            raise ZeroDivisionError

    x, y = leaf(2), leaf(2)
    with pytest.raises(ZeroDivisionError):
        (Broken.apply(x) + y).sum().backward()
    assert x.grad is None and y.grad is None


def test_no_grad_and_enable_grad():
    x = leaf(2)
    with jadro.no_grad():
        assert not (x * 2).requires_grad and not jadro.is_grad_enabled()
        with jadro.enable_grad():
            assert (x * 2).requires_grad
        assert not jadro.is_grad_enabled()
    assert (x * 2).requires_grad

    @jadro.no_grad()
    def called():
        return x * 2

    @jadro.no_grad
    def bare(depth):
        """Its own text."""
        return bare(depth - 1) if depth else x * 2

    assert not called().requires_grad and not bare(3).requires_grad and bare.__doc__ == "Its own text."
    with pytest.raises(KeyError), jadro.no_grad():
        raise KeyError
    assert jadro.is_grad_enabled()


def test_set_grad_enabled():
    x = leaf(2)
    jadro.set_grad_enabled(False)
    assert not jadro.is_grad_enabled() and not (x * 2).requires_grad
    jadro.set_grad_enabled(True)
    for mode in (True, False):
        with jadro.no_grad():
            with jadro.set_grad_enabled(mode):
                assert (x * 2).requires_grad is mode
            assert not jadro.is_grad_enabled()

        @jadro.set_grad_enabled(mode)
        def called():
            return x * 2

        assert jadro.is_grad_enabled()
        assert called().requires_grad is mode and called().requires_grad is mode
        assert jadro.is_grad_enabled()
    with pytest.raises(KeyError), jadro.set_grad_enabled(False):
        raise KeyError
    assert jadro.is_grad_enabled()


def test_inference_mode():
    x = leaf(2)
    with jadro.inference_mode():
        y = x * 2
        with jadro.inference_mode(False):
            assert (x * 2).requires_grad
    assert not y.requires_grad and (y * x).requires_grad

    @jadro.inference_mode
    def bare():
        return x * 2

    @jadro.inference_mode()
    def called():
        return x * 2

    assert not bare().requires_grad and not called().requires_grad and jadro.is_grad_enabled()


def test_the_mode_belongs_to_its_thread():
    seen = []
    with jadro.no_grad():
        thread = threading.Thread(target=lambda: seen.append(jadro.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_backward_in_several_threads():
    x = leaf(50)
    results = []

    def work():
        y = x
        for _ in range(50):
            y = y * 1.01
        results.append(jadro.grad(y.sum(), x)[0].data)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for r in results:
        np.testing.assert_array_equal(r, results[0])


def test_a_leaf_is_not_written_to_while_recording():
    x = leaf(2)
    with pytest.raises(RuntimeError, match=r"add_: a leaf .* jadro.no_grad"):
        x += 1
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1
    with pytest.raises(RuntimeError, match="leaf"):
        x.zero_()
    with jadro.no_grad():
        x += 1
        x[0] = 1
        x.mul_(2)


def test_augmented_assignment_in_a_graph_is_recorded():
    x = leaf(2)
    y = x * 2
    before = y
    y += x
    total = jadro.zeros(2, dtype="float64")
    total += y
    (total * before).sum().backward()
    np.testing.assert_allclose(x.grad.data, 12 * x.data)


def test_a_saved_tensor_that_changed_is_noticed():
    x, w = leaf(3), jadro.tensor(np.ones(3))
    y = (x * w).sum()
    w += 1
    with pytest.raises(RuntimeError, match="mul needs was modified in place"):
        y.backward()
    y = x.exp()
    with jadro.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match="exp needs was modified in place"):
        y.sum().backward()
    base = jadro.tensor(np.ones((2, 3)))
    y = (x * base[0]).sum()
    base[0, 0] = 5
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()
    y = (x + w).sum()
    w += 1
    y.backward()


def test_grad_leaves_grad_alone_and_prunes():
    x, w = leaf(3), leaf(3, seed=1)
    h = x * w
    (dx,) = jadro.grad(h.sum(), x)
    np.testing.assert_array_equal(dx.data, w.data)
    assert x.grad is None and w.grad is None


def test_grad_of_inner_tensors_and_several_outputs():
    x = leaf(3)
    h = x * 2
    a, b = (h * h).sum(), h.exp()
    dh, dx = jadro.grad([a, b], [h, x], [None, np.ones(3)])
    np.testing.assert_allclose(dh.data, 2 * h.data + np.exp(h.data))
    np.testing.assert_allclose(dx.data, 2 * dh.data)
    h = x * 2
    (dh,) = jadro.grad((h * 3).sum(), h)
    h.sum().backward()  # the part before h was not used up
    assert dh.tolist() == [3.0] * 3 and x.grad.tolist() == [2.0] * 3


def test_grad_of_unused_inputs():
    x, w = leaf(3), leaf(3)
    with pytest.raises(RuntimeError, match=r"do not depend on inputs\[1\]"):
        jadro.grad((x * 2).sum(), [x, w])
    assert jadro.grad((x * 2).sum(), [x, w], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match=r"inputs\[0\] does not require"):
        jadro.grad((x * 2).sum(), jadro.ones(3))
    with pytest.raises(ValueError, match="grad_outputs has 2 entries, expected 1"):
        jadro.grad(x * 2, x, [np.ones(3), np.ones(3)])


def test_derivatives_of_any_order():
    x = jadro.tensor(0.7, dtype="float64", requires_grad=True)
    y = (x**5).exp()
    derivatives = []
    for _ in range(3):
        (y,) = jadro.grad(y, x, create_graph=True)
        derivatives.append(y.item())
    v, e = 0.7, np.exp(0.7**5)
    expected = [5 * v**4 * e, (20 * v**3 + 25 * v**8) * e, (60 * v**2 + 300 * v**7 + 125 * v**12) * e]
    np.testing.assert_allclose(derivatives, expected, rtol=1e-12)


def test_backward_with_create_graph_leaves_differentiable_gradients():
    x = leaf(3)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.sum().backward()
    np.testing.assert_allclose(x.grad.data, 6 * x.data)


class Cube(Function):
    """A Function whose backward works on arrays only."""

    @staticmethod
    def forward(ctx, x, *, scale):
        ctx.save(x)
        ctx.scale = scale
        return scale * x**3

    @staticmethod
    def backward(ctx, dy):
        return 3 * ctx.scale * ctx.saved[0] ** 2 * dy


def test_own_functions():
    x = leaf(4)
    gradcheck(lambda x: Cube.apply(x, scale=2.0), [x])
    with pytest.raises(RuntimeError, match="cube: its backward cannot be differentiated"):
        jadro.grad(Cube.apply(x, scale=2.0).sum(), x, create_graph=True)


class Both(Function):
    """Two outputs, of which one may go unused."""

    @staticmethod
    def forward(ctx, x):
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, da, db):
        return (0 if da is None else 2 * da) + (0 if db is None else 3 * db)


def test_functions_of_several_outputs():
    x = leaf(4)
    gradcheck(lambda x: Both.apply(x), [x])
    a, b = Both.apply(x)
    b.sum().backward()
    assert x.grad.tolist() == [3.0] * 4 and isinstance(a, Tensor)


def test_gradient_penalty_through_a_small_network():
    x, w, v = leaf(5, 4), leaf(3, 4, seed=1), leaf(1, 3, seed=2)

    def penalty(x, w, v):
        y = F.linear(F.linear(x, w).tanh(), v)
        (dx,) = jadro.grad(y.sum(), x, create_graph=True)
        return ((dx * dx).sum(1).sqrt() - 1).square().mean()

    gradcheck(penalty, [x, w, v])


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a * b + a / b - b,
        lambda a, b: (a.abs() + 0.5) ** b,
        lambda a, b: jadro.where(a > 0, a * a, b.exp()) * b,
        lambda a, b: (a @ b.T).softmax(1),
        lambda a, b: jadro.cat([a, b], 1)[:, 1:3].log_softmax(0),
        lambda a, b: (a[[0, 2, 2]] * b).var(0).sqrt(),
        lambda a, b: a.relu() * b.sigmoid() + (a * b).tanh(),
        lambda a, b: (a.max(1).values * b.amin(0).sum()).cumsum(0),
    ],
)
def test_second_derivatives(f):
    gradgradcheck(f, [leaf(3, 4), jadro.tensor(leaf(3, 4, seed=1).data + 3, requires_grad=True)])
