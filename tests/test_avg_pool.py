import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jadro
import jadro.nn.functional as F
from jadro import _core
from jadro.ops import avg_pool as avg_pool_op
from jadro.testing import gradcheck, gradgradcheck
from jadro.testing.cases import avg_pool

rng = np.random.default_rng(0)


@pytest.mark.parametrize("case", avg_pool.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


def leaf(*shape):
    return jadro.tensor(rng.standard_normal(shape), requires_grad=True)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_drawn_options_against_torch(data):
    torch = pytest.importorskip("torch")
    n = data.draw(st.integers(1, 3))
    kernel = data.draw(st.tuples(*[st.integers(1, 4)] * n))
    stride = data.draw(st.none() | st.tuples(*[st.integers(1, 4)] * n))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    space = tuple(k + data.draw(st.integers(0, 9)) for k in kernel)
    options = {"ceil_mode": data.draw(st.booleans()), "count_include_pad": data.draw(st.booleans())}
    if n > 1:
        options["divisor_override"] = data.draw(st.none() | st.sampled_from([1, 5, -3]))
    x = rng.standard_normal((2, 3, *space))
    mine, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(F, f"avg_pool{n}d")(mine, kernel, stride, padding, **options)
    expected = getattr(torch.nn.functional, f"avg_pool{n}d")(theirs, kernel, stride, padding, **options)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-12)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_drawn_bins_against_torch(data):
    torch = pytest.importorskip("torch")
    n = data.draw(st.integers(1, 3))
    space = data.draw(st.tuples(*[st.integers(1, 12)] * n))
    size = data.draw(st.integers(1, 12) | st.tuples(*[(st.none() if n > 1 else st.just(1)) | st.integers(1, 12)] * n))
    x = rng.standard_normal((2, 3, *space) if data.draw(st.booleans()) else (3, *space))
    mine, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(F, f"adaptive_avg_pool{n}d")(mine, size)
    expected = getattr(torch.nn.functional, f"adaptive_avg_pool{n}d")(theirs, size)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.avg_pool3d(x, 2, 1, padding=((0, 1), (1, 0), (1, 1))),
        lambda x: F.avg_pool3d(x, 3, 2, ceil_mode=True, divisor_override=5),
        lambda x: F.adaptive_avg_pool3d(x, (2, 3, 1)),
        lambda x: F.avg_pool3d(x, 2, 2, padding="same"),
    ],
)
def test_differentiates_twice(function):
    gradgradcheck(lambda x: function(x) ** 3, [leaf(2, 2, 3, 4, 5)])


def test_any_strides_and_an_empty_batch():
    x = leaf(2, 4, 6, 5)
    expected = F.avg_pool2d(x.permute(0, 2, 3, 1).data.copy(), 2)
    np.testing.assert_array_equal(F.avg_pool2d(x.permute(0, 2, 3, 1), 2).numpy(), expected.numpy())
    empty = jadro.zeros(0, 3, 4, 4, requires_grad=True)
    y = F.avg_pool2d(empty, 2)
    y.backward(y.detach())
    assert y.shape == (0, 3, 2, 2) and empty.grad.shape == empty.shape


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            ValueError,
            "avg_pool2d: divisor_override is 0",
            lambda: F.avg_pool2d(leaf(1, 1, 4, 4), 2, divisor_override=0),
        ),
        (ValueError, r"avg_pool3d: x has shape \(4, 4\)", lambda: F.avg_pool3d(leaf(4, 4), 2)),
        (ValueError, "avg_pool2d: padding", lambda: F.avg_pool2d(leaf(1, 4, 4), 2, padding=2)),
        (ValueError, "adaptive_avg_pool3d: output_size", lambda: F.adaptive_avg_pool3d(leaf(1, 4, 4, 4), (1, 2))),
        (ValueError, "adaptive_avg_pool1d: output_size is .0,", lambda: F.adaptive_avg_pool1d(leaf(1, 4), 0)),
        (ValueError, "adaptive_avg_pool1d: x has shape", lambda: F.adaptive_avg_pool1d(leaf(1, 0), 1)),
        (TypeError, "adaptive_avg_pool1d: x has dtype int64", lambda: F.adaptive_avg_pool1d(np.ones((1, 4), int), 1)),
    ],
)
def test_bad_input_is_named(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_sizes_beyond_32_bits_are_refused():
    for size in (2**31, 2**40):
        with pytest.raises(ValueError, match="avg_pool_forward: x has shape"):
            _core.avg_pool_forward(np.zeros((0, 1, size)), np.zeros((0, 1, 1)), *avg_pool_op.ADAPTIVE)
        with pytest.raises(ValueError, match="avg_pool_backward: x has shape"):
            _core.avg_pool_backward(np.zeros((0, 1, 1)), np.zeros((0, 1, size)), *avg_pool_op.ADAPTIVE)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_norm_pooling(p):
    x = rng.uniform(0.1, 1, (2, 3, 4, 6))
    windows = x.reshape(2, 3, 2, 2, 2, 3)
    expected = (windows**p).sum((3, 5)) ** (1 / p)
    np.testing.assert_allclose(F.lp_pool2d(x, p, (2, 3)).data, expected, rtol=1e-12)
    expected = (x[0, 0].reshape(4, 3, 2) ** p).sum(2) ** (1 / p)
    np.testing.assert_allclose(F.lp_pool1d(x[0, 0], p, 2).data, expected, rtol=1e-12)
    gradcheck(lambda x: F.lp_pool2d(x.exp(), p, 2, 1), [leaf(1, 2, 4, 3)])
    zeros = jadro.zeros(1, 4, requires_grad=True)
    F.lp_pool1d(zeros, p, 2).sum().backward()
    assert np.isfinite(zeros.grad.data).all()
    with pytest.raises(ValueError, match=r"^lp_pool2d: norm_type is 0, expected a positive number"):
        F.lp_pool2d(x, 0, 2)
