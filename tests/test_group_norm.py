import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jadro
import jadro.nn.functional as F
from jadro.testing import gradcheck, gradgradcheck
from jadro.testing.cases import group_norm

rng = np.random.default_rng(0)


@pytest.mark.parametrize("case", group_norm.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


def leaf(*shape):
    return jadro.tensor(rng.standard_normal(shape), requires_grad=True)


def agree(mine, theirs, *arrays):
    """Results and all gradients are torch's."""
    torch = pytest.importorskip("torch")
    ours = [jadro.tensor(a, requires_grad=True) for a in arrays]
    others = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = mine(*ours), theirs(*others)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    for a, b in zip(ours, others, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-8, atol=1e-8)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_drawn_shapes_against_torch(data):
    torch = pytest.importorskip("torch")
    groups, k = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 6))
    space = tuple(data.draw(st.lists(st.integers(1, 9), max_size=3)))
    shape, channels = (data.draw(st.integers(1, 4)), groups * k, *space), groups * k
    x, w, b = (rng.standard_normal(s) for s in (shape, channels, channels))
    agree(lambda x, w, b: F.group_norm(x, groups, w, b), lambda x, w, b: torch.group_norm(x, groups, w, b), x, w, b)
    last = shape[data.draw(st.integers(0, len(shape) - 1)) :]
    w, b = rng.standard_normal(last), rng.standard_normal(last)
    agree(lambda x, w, b: F.layer_norm(x, last, w, b), lambda x, w, b: torch.layer_norm(x, last, w, b), x, w, b)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_running_moments_of_instances_are_torchs(axes):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((4, 3, *(5, 4, 3)[:axes]))
    moments = rng.uniform(0.5, 2, (2, 3))
    mine, theirs = [jadro.tensor(m) for m in moments], [torch.tensor(m) for m in moments]
    w, b = rng.standard_normal(3), rng.standard_normal(3)
    agree(
        lambda x, w, b: F.instance_norm(x, *mine, w, b, momentum=0.3),
        lambda x, w, b: torch.nn.functional.instance_norm(x, *theirs, w, b, momentum=0.3),
        x,
        w,
        b,
    )
    for a, c in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=1e-12)
    y = F.instance_norm(x, *mine, w, b, use_input_stats=False)
    expected = torch.nn.functional.instance_norm(
        torch.tensor(x), *theirs, torch.tensor(w), torch.tensor(b), use_input_stats=False
    )
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 3), (4,), (4,)]),
        (lambda x, w, b: F.layer_norm(x, (4, 3), w, b), [(2, 4, 3), (4, 3), (4, 3)]),
        (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), [(2, 4, 5), (4,), (4,)]),
        (lambda x: F.layer_norm(x, 5), [(3, 5)]),
    ],
)
def test_differentiates_twice(function, shapes):
    gradgradcheck(lambda *args: function(*args) ** 2, [leaf(*shape) for shape in shapes])


def test_constant_rows_are_the_bias(dtype):
    """No variance: eps keeps the division finite, in both directions."""
    x = jadro.tensor(np.full((3, 70), 4.0, dtype), requires_grad=True)
    bias = jadro.tensor(rng.standard_normal(70).astype(dtype))
    y = F.layer_norm(x, 70, None, bias)
    np.testing.assert_array_equal(y.numpy(), np.broadcast_to(bias.numpy(), (3, 70)))
    y.backward(rng.standard_normal((3, 70)).astype(dtype))
    assert np.isfinite(x.grad.numpy()).all()


def test_an_empty_batch_has_no_gradient():
    x, w = jadro.zeros(0, 4, 3, requires_grad=True), jadro.ones(4, requires_grad=True)
    y = F.group_norm(x, 2, w)
    y.backward(y.detach())
    assert x.grad.shape == (0, 4, 3) and w.grad.tolist() == [0, 0, 0, 0]


def test_nan_stays_in_its_row():
    x = rng.standard_normal((4, 6, 5))
    x[1, 2, 3] = np.nan
    y = F.layer_norm(x, (6, 5)).numpy()
    assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2, 3]]).all()
    y = F.group_norm(x, 3).numpy()
    assert np.isnan(y[1, 2:4]).all() and np.isfinite(y[1, [0, 1, 4, 5]]).all()


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "group_norm: num_groups is 3", lambda: F.group_norm(leaf(2, 4, 3), 3)),
        (ValueError, "group_norm: weight has shape", lambda: F.group_norm(leaf(2, 4, 3), 2, leaf(3))),
        (ValueError, "group_norm: eps is -1", lambda: F.group_norm(leaf(2, 4, 3), 2, eps=-1)),
        (ValueError, "layer_norm: x has shape", lambda: F.layer_norm(leaf(2, 4, 3), (4, 4))),
        (TypeError, "layer_norm: bias has dtype", lambda: F.layer_norm(leaf(2, 3), 3, None, np.ones(3, np.float32))),
        (ValueError, "instance_norm: x has shape", lambda: F.instance_norm(leaf(2, 4, 1))),
        (ValueError, "instance_norm: one of", lambda: F.instance_norm(leaf(2, 4, 2), leaf(4))),
    ],
)
def test_bad_input_is_named(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_rms_norm():
    x, w = rng.standard_normal((3, 4, 5)), rng.standard_normal((4, 5))
    for shape, axes, weight in (((4, 5), (1, 2), w), (5, (2,), w[0]), ([4, 5], (1, 2), None)):
        for eps in (None, 0.3):
            least = np.finfo(float).eps if eps is None else eps
            expected = x / np.sqrt((x * x).mean(axes, keepdims=True) + least) * (1 if weight is None else weight)
            np.testing.assert_allclose(F.rms_norm(x, shape, weight, eps).data, expected, rtol=1e-12)
    gradgradcheck(lambda x, w: F.rms_norm(x, 5, w), [leaf(3, 5), leaf(5)])
    with pytest.raises(ValueError, match=r"^rms_norm: x has shape \(3, 4, 5\), expected to end in"):
        F.rms_norm(x, 4)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 9])
def test_local_response_norm(size):
    x = rng.standard_normal((2, 6, 3, 2))
    expected = np.empty_like(x)
    for c in range(6):
        seen = x[:, max(c - size // 2, 0) : c + (size + 1) // 2]
        expected[:, c] = x[:, c] / (2 + 0.3 / size * (seen * seen).sum(1)) ** 0.6
    np.testing.assert_allclose(F.local_response_norm(x, size, 0.3, 0.6, 2.0).data, expected, rtol=1e-12)
    gradcheck(lambda x: F.local_response_norm(x, size, 0.3), [leaf(2, 4, 3)])
    with pytest.raises(ValueError, match=r"^local_response_norm: x has shape"):
        F.local_response_norm(x[0, 0], size)
    with pytest.raises(ValueError, match=r"^local_response_norm: size is 0"):
        F.local_response_norm(x, 0)
