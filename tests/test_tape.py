"""The native core of the tape: what it must hand over, restore, refuse and let go."""

import gc
import threading

import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import Function, _core


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


# --- gradients of what was broadcast ----------------------------------------------------------------------------------
class Wide(Function):
    """y = a + b, broadcast; the gradients are left in the shape of y."""

    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, dy):
        return dy, dy

    @classmethod
    def backward_graph(cls, ctx, dy):
        return dy, dy


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 4), (2, 1, 4), (1, 1, 1)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_what_was_broadcast_are_summed(shape, create_graph):
    a, b = leaf(2, 3, 4), leaf(*shape, seed=1)
    y, dy = Wide.apply(a, b), np.random.default_rng(2).standard_normal((2, 3, 4))
    da, db = jadro.grad(y, [a, b], dy, create_graph=create_graph, retain_graph=True)
    np.testing.assert_array_equal(da.data, dy)
    lead = dy.sum(axis=tuple(range(3 - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and lead.shape[i] != 1)
    np.testing.assert_allclose(db.data, lead.sum(axis=axes, keepdims=True).reshape(shape), rtol=1e-13)
    y.backward(dy)
    np.testing.assert_array_equal(b.grad.data, db.data)


@pytest.mark.parametrize("wrong", [(3,), (2, 3), (1, 2), ()])
def test_a_gradient_of_a_wrong_shape_is_refused(wrong):
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, dy):
            return np.ones(wrong)

    with pytest.raises(RuntimeError, match=r"a gradient has shape .*, expected \(4,\)"):
        Wrong.apply(leaf(4)).backward(np.ones(4))


# --- what stands around a call ----------------------------------------------------------------------------------------
def test_results_have_the_asked_shape_and_dtype():
    x = np.zeros((2, 3), np.float32)
    for shape, dtype in ((None, None), ((), None), ((4, 0), np.dtype(np.int32)), ((300, 400), None)):
        y = _core.empty_like(x, shape, dtype)
        assert y.shape == ((2, 3) if shape is None else shape) and y.dtype == (dtype or x.dtype)
        assert y.flags.c_contiguous and y.flags.writeable and y.flags.aligned
    del y
    in_use = _core.kept_memory()[0]
    y = _core.empty_like(x, (1 << 10, 1 << 10), None)
    assert _core.kept_memory()[0] - in_use >= y.nbytes
    del y
    assert _core.kept_memory()[0] == in_use
    for wrong in ((x, [2], None), (x, (2,), "float32"), ([1.0], None, None), (x, None), (x, ("a",), None)):
        with pytest.raises(TypeError):
            _core.empty_like(*wrong)
    with pytest.raises(ValueError, match="no negative size"):
        _core.empty_like(x, (-1,), None)
    with pytest.raises((MemoryError, ValueError, OverflowError)):
        _core.empty_like(x, (2**40, 2**40), None)


def test_contiguous_copies_what_is_not():
    x = np.arange(6.0).reshape(2, 3)
    assert _core.contiguous(None) is None and _core.contiguous(x) is x
    for strided in (x.T, x[:, ::2], x[::-1], np.broadcast_to(x[0], (3, 3))):
        y = _core.contiguous(strided)
        assert y.flags.c_contiguous and y.flags.writeable and not np.shares_memory(x, y)
        np.testing.assert_array_equal(y, strided)


def test_operands_that_one_kernel_takes():
    f, d = jadro.zeros(2), jadro.zeros(2, dtype=np.float64)
    good = [((f, f), 2), ((d, None), 1), ((f, None, f), 1)]
    wrong = [((f, d), 1), ((f, None), 2), ((None, f), 1), ((f.data,), 1), ((jadro.zeros(2, dtype=np.int64),), 1)]
    assert all(_core.same_floats(*case) for case in good)
    assert not any(_core.same_floats(*case) for case in wrong)
    with pytest.raises(TypeError):
        _core.same_floats([f], 1)


def test_only_plain_arguments_are_remembered():
    assert _core.is_plain((1, "same", None, True, ((2, 3), ())))
    for other in (1.0, [1], np.int64(1), (1, (2.0,)), {}):
        assert not _core.is_plain(other)
    deep = ()
    for _ in range(200_000):
        deep = (deep,)
    assert not _core.is_plain(deep)
    x = jadro.zeros(1, 1, 4, 4)
    for size in (2, (2, 2)):
        F.max_pool2d(x, size)
    for size in (2.0, (2, 2.0)):  # equal to what was remembered
        with pytest.raises(TypeError, match="kernel_size"):
            F.max_pool2d(x, size)


def test_large_results_of_ufuncs_lie_in_kept_memory():
    x, row = np.ones((300, 400)), np.arange(400.0)
    in_use = _core.kept_memory()[0]
    y = _core.compute(np.add, row, x)
    np.testing.assert_array_equal(y, x + row)
    assert _core.kept_memory()[0] - in_use >= y.nbytes
    with pytest.raises(ValueError, match="broadcast"):
        _core.compute(np.add, x, np.ones(3))
    with pytest.raises(TypeError):
        _core.compute(np.add)


def test_a_watcher_is_told_of_every_call_of_its_thread():
    told = []
    _core.tape_watch(lambda *call: told.append(call))
    try:
        x = leaf(2)
        y = x * 3.0
        jadro.cat([y, x], 0)
    finally:
        _core.tape_watch(None)
    x.exp()
    (function, args, options, result), (joined, both, at, _) = told
    assert (function.__name__, args[0] is x, float(args[1]), options, result is y) == ("Mul", True, 3.0, {}, True)
    assert (joined.__name__, at) == ("Cat", {"axis": 0}) and both[0] is y and both[1] is x


def test_a_watcher_that_fails_fails_the_call():
    def watcher(*call):
        raise ValueError("no")

    _core.tape_watch(watcher)
    try:
        with pytest.raises(ValueError, match="no"):
            leaf(2).exp()
    finally:
        _core.tape_watch(None)


# --- sums that a convolution makes itself -----------------------------------------------------------------------------
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
