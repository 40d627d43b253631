import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jadro
import jadro.nn.functional as F
from jadro.testing import gradgradcheck
from jadro.testing.cases import pool2d

rng = np.random.default_rng(0)

HALVES = ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1))  # kernel, stride, padding, dilation


@pytest.mark.parametrize("case", pool2d.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@pytest.mark.parametrize("case", [c for c in pool2d.CASES if isinstance(c, pool2d.MaxPool2dCase)], ids=str)
def test_without_indices(case, backend, dtype):
    forward, xp = backend.kernel("max_pool2d_forward"), backend.xp
    inputs = case.make_inputs(dtype)
    y = xp.empty(case.outputs()["y"], dtype)
    forward(xp.asarray(inputs["x"]), y, None, case.kernel, case.stride, case.padding, case.dilation)
    np.testing.assert_array_equal(backend.host(y), case.reference(inputs)["y"])


@pytest.mark.parametrize("position", range(4))
def test_each_place_of_the_window_can_win(position, backend, dtype):
    xp = backend.xp
    x, y, indices = xp.zeros((1, 1, 2, 2), dtype), xp.empty((1, 1, 1, 1), dtype), xp.empty((1, 1, 1, 1), np.int32)
    x[0, 0, position // 2, position % 2] = 5
    backend.kernel("max_pool2d_forward")(x, y, indices, *HALVES)
    assert (backend.host(y).item(), backend.host(indices).item()) == (5, position)


@pytest.mark.parametrize("nan", [0, 0.05])
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (7, 7), (14, 14), (9, 19), (32, 64), (31, 71)])
def test_halves_with_ties(size, nan, backend, dtype):
    h, w = size
    x = rng.integers(-1, 2, (3, 2, h, w)).astype(dtype)
    x[rng.random(x.shape) < nan] = np.nan
    windows = x[..., : h // 2 * 2, : w // 2 * 2].reshape(3, 2, h // 2, 2, w // 2, 2).swapaxes(3, 4)
    flat = windows.reshape(*windows.shape[:4], 4)
    first = np.argmax(flat, -1)  # the first of the largest, or the first NaN
    rows, columns = np.ogrid[: h // 2, : w // 2]
    xp = backend.xp
    y, indices = xp.empty(first.shape, dtype), xp.empty(first.shape, np.int32)
    backend.kernel("max_pool2d_forward")(xp.asarray(x), y, indices, *HALVES)
    np.testing.assert_array_equal(backend.host(y), np.take_along_axis(flat, first[..., None], -1)[..., 0])
    np.testing.assert_array_equal(backend.host(indices), (2 * rows + first // 2) * w + 2 * columns + first % 2)


@pytest.mark.parametrize("width", [6, 40])
def test_halves_of_the_slices_of_a_volume(width):
    x = rng.integers(-2, 3, (2, 3, 4, 6, width)).astype("float32")
    y, indices = F.max_pool3d(jadro.as_tensor(x), (1, 2, 2), return_indices=True)
    flat = x.reshape(6, 4, 6, width)
    each, places = F.max_pool2d(jadro.as_tensor(flat), 2, return_indices=True)
    np.testing.assert_array_equal(y.numpy().reshape(each.shape), each.numpy())
    of_slice = 6 * width * np.arange(4)[:, None, None]
    np.testing.assert_array_equal(indices.numpy().reshape(places.shape), places.numpy() + of_slice)


def test_negative_zero_ties_with_zero(backend, dtype):
    xp = backend.xp
    x = xp.asarray(np.array([[[[-0.0, 0.0], [0.0, 0.0]]]], dtype))  # CuPy fills with 0.0 where -0.0 is assigned
    y, indices = xp.empty((1, 1, 1, 1), dtype), xp.empty((1, 1, 1, 1), np.int32)
    backend.kernel("max_pool2d_forward")(x, y, indices, *HALVES)
    assert backend.host(indices).item() == 0 and np.signbit(backend.host(y).item())


@pytest.mark.parametrize("pool", [F.max_pool1d, F.avg_pool1d])
def test_a_window_past_the_end_that_rounding_up_lets_in(pool):
    """One window of three of its five cells: ceil((3 - 5) / 3) + 1 = 1."""
    x = np.array([[[1.0, 5.0, 3.0]]])
    expected = 5.0 if pool is F.max_pool1d else 3.0
    np.testing.assert_allclose(pool(jadro.tensor(x), 5, 3, ceil_mode=True).numpy(), [[[expected]]])
    with pytest.raises(ValueError, match="larger than the padded input"):
        pool(jadro.tensor(x), 5, 3)
    with pytest.raises(ValueError, match="larger than the padded input"):
        pool(jadro.tensor(x), 5, 2, ceil_mode=True)  # ceil((3 - 5) / 2) + 1 = 0


def test_overlapping_windows_add_up(backend, dtype):
    """One peak in the middle wins all nine windows of 3x3 with stride 1 that see it."""
    xp = backend.xp
    x, y, indices = xp.zeros((1, 1, 5, 5), dtype), xp.empty((1, 1, 3, 3), dtype), xp.empty((1, 1, 3, 3), np.int32)
    x[0, 0, 2, 2] = 1
    backend.kernel("max_pool2d_forward")(x, y, indices, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1))
    dx = xp.empty((1, 1, 5, 5), dtype)
    backend.kernel("max_pool2d_backward")(xp.ones((1, 1, 3, 3), dtype), indices, dx)
    expected = np.zeros((5, 5))
    expected[2, 2] = 9
    np.testing.assert_array_equal(backend.host(dx)[0, 0], expected)


def leaf(*shape):
    return jadro.tensor(rng.standard_normal(shape), requires_grad=True)


def same_gradient(mine, y, theirs, expected):
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected.backward(theirs.new_tensor(dy))
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-12)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_drawn_options_against_torch(data):
    torch = pytest.importorskip("torch")
    n = data.draw(st.integers(1, 3))
    kernel = data.draw(st.tuples(*[st.integers(1, 4)] * n))
    stride = data.draw(st.none() | st.tuples(*[st.integers(1, 4)] * n))
    dilation = data.draw(st.tuples(*[st.integers(1, 3)] * n))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    space = tuple((k - 1) * d + 1 + data.draw(st.integers(0, 9)) for k, d in zip(kernel, dilation, strict=True))
    x = rng.integers(-4, 5, (2, 3, *space)).astype(float)  # with ties
    x[rng.random(x.shape) < 0.02] = np.nan
    args = kernel, stride, padding, dilation, data.draw(st.booleans()), True
    mine, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, indices = getattr(F, f"max_pool{n}d")(mine, *args)
    expected, places = getattr(torch.nn.functional, f"max_pool{n}d")(theirs, *args)
    np.testing.assert_array_equal(y.numpy(), expected.detach().numpy())
    plain = ~np.isnan(y.numpy())  # torch takes the last NaN of a window, jadro the first
    np.testing.assert_array_equal(indices.numpy()[plain], places.numpy()[plain])
    if plain.all():
        same_gradient(mine, y, theirs, expected)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_drawn_bins_against_torch(data):
    torch = pytest.importorskip("torch")
    n = data.draw(st.integers(1, 3))
    space = data.draw(st.tuples(*[st.integers(1, 24)] * n))
    size = data.draw(st.integers(1, 12) | st.tuples(*[(st.none() if n > 1 else st.just(1)) | st.integers(1, 12)] * n))
    x = rng.integers(-4, 5, (2, 3, *space)).astype(float)
    mine, theirs = jadro.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, indices = getattr(F, f"adaptive_max_pool{n}d")(mine, size, return_indices=True)
    expected, places = getattr(torch.nn.functional, f"adaptive_max_pool{n}d")(theirs, size, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(indices.numpy(), places.numpy())
    same_gradient(mine, y, theirs, expected)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("size", [None, (7, 9, 8)])
def test_unpooling_against_torch(n, size):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, *((7, 9, 8) if size else (6, 8, 4))[:n]))
    size = size if size is None else (2, 3, *size[:n])
    y, indices = getattr(F, f"max_pool{n}d")(x, 2, return_indices=True)
    mine, theirs = jadro.tensor(y.numpy(), requires_grad=True), torch.tensor(y.numpy(), requires_grad=True)
    u = getattr(F, f"max_unpool{n}d")(mine, indices, 2, output_size=size)
    expected = getattr(torch.nn.functional, f"max_unpool{n}d")(
        theirs, torch.tensor(indices.numpy()), 2, output_size=size
    )
    np.testing.assert_array_equal(u.numpy(), expected.detach().numpy())
    same_gradient(mine, u, theirs, expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.max_pool3d(x, 2, 1, padding=((0, 1), (1, 0), (1, 1))),
        lambda x: F.adaptive_max_pool3d(x, (2, 3, 1)),
        lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2, output_size=(3, 4, 5)),
    ],
)
def test_differentiates_twice(function):
    gradgradcheck(lambda x: function(x) ** 3, [leaf(2, 2, 3, 4, 5)])


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"max_pool3d: x has shape \(4, 4\)", lambda: F.max_pool3d(leaf(4, 4), 2)),
        (ValueError, "adaptive_max_pool2d: output_size", lambda: F.adaptive_max_pool2d(leaf(1, 4, 4), (1, 2, 3))),
        (ValueError, "max_unpool1d: indices has shape", lambda: F.max_unpool1d(leaf(1, 4), np.zeros((1, 3), int), 2)),
        (TypeError, "max_unpool1d: indices has dtype", lambda: F.max_unpool1d(leaf(1, 4), np.zeros((1, 4)), 2)),
        (ValueError, "max_unpool1d: indices reach", lambda: F.max_unpool1d(leaf(1, 4), np.full((1, 4), 8), 2)),
        (ValueError, "max_unpool1d: indices reach", lambda: F.max_unpool1d(leaf(1, 4), np.full((1, 4), 2**40), 2)),
        (
            ValueError,
            "max_unpool1d: output_size",
            lambda: F.max_unpool1d(leaf(1, 4), np.zeros((1, 4), int), 2, output_size=(10,)),
        ),
    ],
)
def test_bad_input_is_named(error, message, call):
    with pytest.raises(error, match=message):
        call()
