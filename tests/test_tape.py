"""The native core of the tape: what it must hand over, restore, refuse and let go."""

import gc
import threading

import numpy as np
import pytest

import jadro
from jadro import Function


def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


class Total(Function):
    """The weighted sum of any number of arguments; a weight is a keyword."""

    @staticmethod
    def forward(ctx, *xs, first=1.0, others=1.0):
        ctx.weights = [first, *[others] * (len(xs) - 1)]
        return sum(w * x for w, x in zip(ctx.weights, xs, strict=True))

    @staticmethod
    def backward(ctx, dy):
        return tuple(w * dy for w in ctx.weights)


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 40])
def test_any_number_of_arguments_and_options(count):
    xs = [leaf(3, seed=i) for i in range(count)]
    y = Total.apply(*xs, others=2.0, first=3.0)
    expected = 3 * xs[0].data + 2 * sum(x.data for x in xs[1:])
    np.testing.assert_allclose(y.data, expected, rtol=1e-14)
    for i, g in enumerate(jadro.grad(y, xs, np.ones(3))):
        np.testing.assert_array_equal(g.data, np.full(3, 2.0 if i else 3.0))


@pytest.mark.parametrize("few", [True, False])
def test_too_many_and_too_few_gradients(few):
    """What a backward returns beyond its inputs is left out; what it does not return is no gradient."""

    class Odd(Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, dy):
            return dy if few else (dy, None, dy, dy)

    a, b = leaf(2), leaf(2)
    Odd.apply(a, b).sum().backward()
    assert b.grad is None
    np.testing.assert_array_equal(a.grad.data, np.ones(2))


def test_a_result_that_is_no_array():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return "text"

    with pytest.raises(AttributeError, match="dtype"):
        Wrong.apply(leaf(2))
    with pytest.raises(AttributeError):
        Function.apply.__func__(3, leaf(2))
    with pytest.raises(TypeError):
        Function.apply.__func__()


def test_an_error_restores_the_mode_and_numpys_error_state():
    class Broken(Function):
        may_warn = True

        @staticmethod
        def forward(ctx, x, where):
            if where == "forward":
                raise ZeroDivisionError
            return x * 1

        @staticmethod
        def backward(ctx, dy):
            assert not jadro.is_grad_enabled()
            raise ZeroDivisionError

    with np.errstate(all="raise"):
        before = np.geterr()
        with pytest.raises(ZeroDivisionError):
            Broken.apply(leaf(2), "forward")
        with pytest.raises(ZeroDivisionError):
            Broken.apply(leaf(2), "backward").sum().backward()
        assert jadro.is_grad_enabled()
        x = leaf(2)
        (x / 0.0).sum().backward()  # no FloatingPointError: NaN and infinity pass without a word
        assert np.isinf(x.grad.data).all() and np.geterr() == before


def test_saving_after_forward_is_refused():
    class Late(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, dy):
            ctx.save(dy)
            return dy

    with pytest.raises(RuntimeError, match="save in forward"):
        Late.apply(leaf(2)).sum().backward()


def test_the_place_in_the_graph_cannot_be_set():
    y = leaf(2) * 2
    for name, value in (("_node", None), ("_node", object()), ("_index", 7)):
        with pytest.raises(AttributeError):
            setattr(y, name, value)
    with pytest.raises(TypeError):
        jadro.autograd.Node()
    empty = jadro.Tensor.__new__(jadro.Tensor)
    with pytest.raises(AttributeError):
        empty + 1
    with pytest.raises(AttributeError):
        (leaf(2) * 2).backward(empty)


def test_cycles_of_tensors_and_nodes_are_collected():
    """A gradient that can be differentiated refers to its leaf, and the leaf to it."""
    alive = []

    class Kept:
        def __init__(self):
            alive.append(1)

        def __del__(self):
            alive.pop()

    class Keeping(Function):
        """y = x^2, whose gradient is made of another such call."""

        @staticmethod
        def forward(ctx, x):
            ctx.kept = Kept()
            ctx.save(x)
            return x * x

        @staticmethod
        def backward_graph(ctx, dy):
            return dy * Keeping.apply(ctx.saved[0])

    x = leaf(2)
    Keeping.apply(x).sum().backward(create_graph=True)
    assert x.grad.requires_grad and alive
    del x
    gc.collect()
    assert not alive


def test_calls_leave_no_objects_behind():
    x, w = leaf(3), leaf(3, seed=1)

    def call():
        y = (x * w + x.exp()).sum()
        jadro.grad(y, [x, w], retain_graph=True)
        y.backward()
        x.grad = w.grad = None

    def fails():
        with pytest.raises(RuntimeError, match="do not depend"):
            jadro.grad(x.sum(), w)

    for f in (call, fails):
        f()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(100):
            f()
        gc.collect()
        assert len(gc.get_objects()) - before <= 5


def test_one_graph_in_several_threads():
    x = leaf(20)
    y = x
    for _ in range(200):
        y = y * 1.001 + 0.1
    (expected,) = jadro.grad(y.sum(), x, retain_graph=True)
    errors, results = [], []

    def work(retain):
        try:
            for _ in range(5):
                results.append(jadro.grad(y, x, np.ones(20), retain_graph=retain)[0].data)
        except RuntimeError as error:
            errors.append(str(error))

    for retain in (True, False):
        threads = [threading.Thread(target=work, args=(retain,)) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert retain == (not errors)
    assert all("freed by an earlier backward" in e for e in errors)
    for r in results:
        np.testing.assert_array_equal(r, expected.data)


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_a_convolution_adds_what_has_reached_its_input(mode, retain):
    x, w, v = leaf(2, 3, 6, 5), leaf(3, 3, 3, 3, seed=1), leaf(3, 3, 1, 1, seed=2)
    dy = np.random.default_rng(3).standard_normal((2, 3, 6, 5))

    def terms():
        h = x * 2.0  # the gradient of a result, not of a leaf, waits for its other users
        wide = jadro.nn.functional.conv2d(h, w, padding=1, padding_mode=mode)
        return [wide, h, jadro.nn.functional.conv2d(h, v), h * 3.0]

    expected = sum(jadro.grad(terms()[i], [x], dy)[0].data for i in range(4))
    expected_w = jadro.grad(terms()[0], [w], dy)[0].data
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]):
        made = terms()
        total = made[order[0]] + made[order[1]] + made[order[2]] + made[order[3]]
        for _ in range(2 if retain else 1):
            found = jadro.grad(total, [x, w, v], dy, retain_graph=retain)
            np.testing.assert_allclose(found[0].data, expected, rtol=1e-13, atol=1e-13)
            np.testing.assert_array_equal(found[1].data, expected_w)
