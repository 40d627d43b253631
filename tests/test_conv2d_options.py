"""Convolution with every option: drawn combinations against the reference and PyTorch, ONNX's conventions, second
derivatives, memory, sizes beyond 32 bits."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jadro
from jadro import _core, nn
from jadro.nn import functional as F
from jadro.ops import conv2d
from jadro.testing import gradcheck, gradgradcheck
from jadro.testing.cases.conv2d import Conv2dCase, ConvTransposeCase

MODES = ("zeros", "reflect", "replicate", "circular")
CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
drawn = settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
small = st.integers(1, 3)


@st.composite
def geometries(draw, axes):
    """Kernel, stride, dilation, padding mode, and an image with padding that fits them."""
    mode = draw(st.sampled_from(MODES))
    one_an_axis = st.tuples(*[small] * axes)
    kernel, stride, dilation = draw(one_an_axis), draw(one_an_axis), draw(one_an_axis)
    image, padding = [], []
    for k, d in zip(kernel, dilation, strict=True):
        size = draw(st.integers(1, 20 if axes == 1 else 9 if axes == 2 else 6))
        most = {"reflect": size - 1, "circular": size}.get(mode, 4)
        sides = [draw(st.integers(0, most)) for _ in range(2)]
        span = d * (k - 1) + 1
        image.append(size + max(0, span - size - sum(sides)))
        padding.append(tuple(sides))
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "mode": mode, "image": tuple(image),
            "padding": tuple(padding), "groups": draw(small), "seed": draw(st.integers(0, 999))}  # fmt: skip


@st.composite
def cases(draw):
    g = draw(geometries(draw(st.sampled_from([2, 3]))))
    transposed = draw(st.booleans())
    padding = sum(g["padding"], ())
    if transposed:  # what is cut off leaves something; the rest of the stride is added
        padding, g["mode"] = (), "zeros"
        for m, k, s, d in zip(g["image"], g["kernel"], g["stride"], g["dilation"], strict=True):
            before = draw(st.integers(0, ((m - 1) * s + d * (k - 1)) // 2))
            padding += (before, before - draw(st.integers(0, max(s, d) - 1)))
    wide = st.sampled_from([1, 2, 3, 5, 17])
    fused = {name: draw(st.booleans()) for name in ("relu", "scale", "add")} if draw(st.booleans()) else {}
    return (ConvTransposeCase if transposed else Conv2dCase)(
        f"drawn_{g['seed']}", draw(st.integers(0, 3)), g["groups"] * draw(wide), g["image"], g["groups"] * draw(wide),
        g["kernel"], g["stride"], padding, g["dilation"], g["groups"], draw(st.booleans()), **fused,
        algorithm=draw(st.sampled_from(["auto", "direct", "im2col", "winograd"])), padding_mode=g["mode"],
    )  # fmt: skip


@drawn
@given(case=cases())
def test_drawn_options_match_the_reference(case, backend, dtype):
    try:
        backend.check(case, dtype)
    except ValueError as error:
        assert case.algorithm == "winograd" and not case.winograd_serves and "winograd" in str(error)
    except RuntimeError as error:
        assert backend.is_cuda and "algorithm 'winograd' is not available on cuda" in str(error)


@drawn
@given(case=cases())
def test_drawn_options_give_the_same_bits_on_any_number_of_threads(case, backend, threads):
    inputs, results = case.make_inputs(np.float32), []
    for count in (1, 2, 3, 7) if case.algorithm != "winograd" or case.winograd_serves else ():
        threads(count)
        results.append({name: array.tobytes() for name, array in backend.run(case, inputs).items()})
    assert results[1:] == results[:-1]


# --- the public functions against PyTorch ----------------------------------------------------------------------------
def agree(ours, theirs, arrays):
    """Outputs and gradients of two functions of float64 arrays."""
    torch = pytest.importorskip("torch")
    xs = [jadro.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = ours(*xs), theirs(*ts)
    assert y.shape == tuple(expected.shape)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=0, atol=1e-12)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(dy)
    expected.backward(torch.from_numpy(dy))
    for x, t in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=0, atol=1e-11)


def forms(draw, padding):
    """The same padding, in one of the forms that can say it."""
    if all(a == b for a, b in padding):
        if len({a for a, _ in padding}) == 1 and draw(st.booleans()):
            return padding[0][0]
        return tuple(a for a, _ in padding)
    return padding


@drawn
@given(st.data(), st.sampled_from([1, 2, 3]))
def test_convolutions_equal_pytorch(data, axes):
    torch = pytest.importorskip("torch")
    g = data.draw(geometries(axes))
    rng, groups, mode = np.random.default_rng(g["seed"]), g["groups"], g["mode"]
    outputs, inputs = groups * data.draw(small), data.draw(small)
    batch = data.draw(st.sampled_from([(), (1,), (3,)]))
    arrays = [rng.standard_normal((*batch, groups * inputs, *g["image"])),
              rng.standard_normal((outputs, inputs, *g["kernel"])), rng.standard_normal(outputs)]  # fmt: skip
    options = {"stride": g["stride"], "dilation": g["dilation"], "groups": groups}
    padding = forms(data.draw, g["padding"])

    def theirs(x, w, b):
        flat = [side for pair in reversed(g["padding"]) for side in pair]
        x = x if batch else x[None]
        x = torch.nn.functional.pad(x, flat, {"zeros": "constant"}.get(mode, mode))
        y = getattr(torch.nn.functional, f"conv{axes}d")(x, w, b, **options)
        return y if batch else y[0]

    agree(lambda *a: CONVS[axes](*a, padding=padding, padding_mode=mode, **options), theirs, arrays)


@drawn
@given(st.data(), st.sampled_from([1, 2, 3]))
def test_transposed_convolutions_equal_pytorch(data, axes):
    torch = pytest.importorskip("torch")
    g = data.draw(geometries(axes))
    rng, groups = np.random.default_rng(g["seed"]), g["groups"]
    outputs, inputs = data.draw(small), groups * data.draw(small)
    image = tuple(m + 1 for m in g["image"])
    more = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(g["stride"], g["dilation"], strict=True))
    padding = tuple(
        data.draw(st.integers(0, ((m - 1) * s + d * (k - 1)) // 2))
        for m, s, d, k in zip(image, g["stride"], g["dilation"], g["kernel"], strict=True)
    )
    batch = data.draw(st.sampled_from([(), (1,), (3,)]))
    arrays = [rng.standard_normal((*batch, inputs, *image)), rng.standard_normal((inputs, outputs, *g["kernel"])),
              rng.standard_normal(outputs * groups)]  # fmt: skip
    options = {"stride": g["stride"], "padding": padding, "output_padding": more, "groups": groups,
               "dilation": g["dilation"]}  # fmt: skip
    theirs = getattr(torch.nn.functional, f"conv_transpose{axes}d")
    agree(lambda *a: TRANSPOSED[axes](*a, **options), lambda *a: theirs(*a, **options), arrays)


# --- second derivatives ----------------------------------------------------------------------------------------------
def leaf(*shape, seed=0):
    return jadro.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


TWICE = {
    "sequence": (F.conv1d, (2, 4, 7), (6, 2, 3), {"stride": 2, "padding": ((1, 2),), "groups": 2}),
    "volume": (F.conv3d, (1, 2, 4, 3, 5), (3, 2, 2, 3, 2), {"stride": (1, 2, 1), "padding": 1, "dilation": (2, 1, 1)}),
    "reflect": (F.conv2d, (2, 2, 4, 5), (3, 2, 3, 3), {"padding": ((1, 2), (3, 0)), "padding_mode": "reflect"}),
    "replicate": (F.conv1d, (2, 2, 4), (3, 2, 3), {"padding": 5, "padding_mode": "replicate", "stride": 2}),
    "circular": (F.conv3d, (1, 2, 3, 2, 3), (2, 2, 3, 3, 3), {"padding": "same", "padding_mode": "circular"}),
    "transposed_sequence": (F.conv_transpose1d, (2, 4, 5), (4, 3, 3), {"stride": 3, "output_padding": 2, "groups": 2}),
    "transposed": (F.conv_transpose2d, (2, 2, 3, 4), (2, 3, 3, 2), {"stride": 2, "padding": (1, 0), "dilation": 2}),
    "transposed_volume": (F.conv_transpose3d, (1, 2, 2, 3, 2), (2, 2, 2, 2, 3), {"stride": (2, 1, 2), "padding": 1}),
}


@pytest.mark.parametrize("name", TWICE)
def test_differentiates_twice(name):
    function, x, w, options = TWICE[name]
    filters = w[1] * options.get("groups", 1) if "transpose" in name else w[0]
    leaves = [leaf(*x), leaf(*w, seed=1), leaf(filters, seed=2)]
    gradcheck(lambda *a: function(*a, **options), leaves)
    gradgradcheck(lambda *a: function(*a, **options), leaves)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_a_relu_that_follows_differentiates_twice(kind):
    model = nn.Sequential(kind(2, 3, 2, stride=2, padding=1, dtype=np.float64), nn.ReLU())
    x = leaf(2, 2, *(4, 3, 3)[: model[0].weight.ndim - 2])
    gradcheck(model, (x,))
    gradgradcheck(model, (x,))


# --- ONNX's conventions ----------------------------------------------------------------------------------------------
IMAGE = np.arange(35.0).reshape(1, 1, 7, 5)
ONES = np.ones((1, 1, 3, 3))
PUBLISHED = {  # of the operators' documentation: padding, stride, result
    "strides, padding": (1, 2, [[12, 27, 24], [63, 108, 81], [123, 198, 141], [112, 177, 124]]),
    "strides, none": (0, 2, [[54, 72], [144, 162], [234, 252]]),
    "strides, along one axis": (((1, 1), (0, 0)), 2, [[21, 33], [99, 117], [189, 207], [171, 183]]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_convolutions(name):
    padding, stride, expected = PUBLISHED[name]
    np.testing.assert_array_equal(F.conv2d(IMAGE, ONES, padding=padding, stride=stride).numpy()[0, 0], expected)


def test_published_same_lower():
    y = F.conv2d(np.arange(25.0).reshape(1, 1, 5, 5), ONES, padding="same_lower", stride=2)
    np.testing.assert_array_equal(y.numpy()[0, 0], [[12, 27, 24], [63, 108, 81], [72, 117, 84]])


NINE = np.arange(9.0).reshape(1, 1, 3, 3)
PUBLISHED_TRANSPOSED = {
    "plain": ({}, [[0, 1, 3, 3, 2], [3, 8, 15, 12, 7], [9, 21, 36, 27, 15], [9, 20, 33, 24, 13], [6, 13, 21, 15, 8]]),
    "pads": (
        {"stride": (3, 2), "padding": (1, 2)},
        [[1, 1, 3], [1, 1, 3], [7, 4, 9], [7, 4, 9], [7, 4, 9], [13, 7, 15], [13, 7, 15]],
    ),
    "same_upper": (
        {"stride": 2, "padding": "same"},
        [[0, 0, 1, 1, 3, 2], [0, 0, 1, 1, 3, 2], [3, 3, 8, 5, 12, 7], [3, 3, 7, 4, 9, 5], [9, 9, 20, 11, 24, 13],
         [6, 6, 13, 7, 15, 8]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED_TRANSPOSED)
def test_published_transposed_convolutions(name):
    options, expected = PUBLISHED_TRANSPOSED[name]
    np.testing.assert_array_equal(F.conv_transpose2d(NINE, ONES, **options).numpy()[0, 0], expected)


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize(
    ("k", "s", "d", "more"), [(3, 1, 1, 0), (3, 2, 1, 0), (2, 3, 1, 1), (1, 4, 1, 0), (3, 2, 2, 1)]
)
def test_same_padding_of_transposed_convolutions_gives_stride_times_the_size(m, k, s, d, more):
    """It is the whole result with (D (K - 1) + 1 - S + output_padding) cells cut off, the odd one at the end."""
    x, w = np.random.default_rng(0).standard_normal((1, 1, m)), np.random.default_rng(1).standard_normal((1, 1, k))
    whole = np.concatenate([F.conv_transpose1d(x, w, stride=s, dilation=d).numpy()[0, 0], np.zeros(s + d)])
    cut = max(d * (k - 1) + 1 - s + more, 0)
    for padding, before in (("same", cut // 2), ("same_lower", cut - cut // 2)):
        y = F.conv_transpose1d(x, w, stride=s, dilation=d, padding=padding, output_padding=more).numpy()
        np.testing.assert_array_equal(y[0, 0], whole[before : before + s * m])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_output_size_of_the_module_equals_pytorch(axes):
    torch = pytest.importorskip("torch")
    name = f"ConvTranspose{axes}d"
    ours, theirs = getattr(nn, name)(2, 3, 3, 3, 1), getattr(torch.nn, name)(2, 3, 3, 3, 1)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 2, *(4, 3, 2)[:axes])).astype(np.float32)
    least = theirs(torch.tensor(x)).shape[2:]
    for extra in range(3):
        size = [m + extra for m in least]
        for whole in (size, [2, 3, *size]):
            expected = theirs(torch.tensor(x), output_size=torch.Size(whole)).detach().numpy()
            np.testing.assert_allclose(ours(x, output_size=whole).detach().numpy(), expected, atol=1e-5)
    for wrong in ([m - 1 for m in least], [m + 3 for m in least], [1] * (axes + 1)):
        with pytest.raises(ValueError, match=f"{name}: output_size is"):
            ours(x, output_size=wrong)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("width", [112, 120])
def test_results_past_the_caches(width, algorithm):
    """Results of 8 MB and more are stored past the caches, those of one image are not; rows end in short tiles."""
    x, w = np.random.default_rng(0).standard_normal((2, 2, 114, width + 2)), np.ones((90, 2, 3, 3))
    x, w, b = x.astype(np.float32), w.astype(np.float32), np.arange(90, dtype=np.float32)
    y = F.conv2d(x, w, b, algorithm=algorithm).data
    assert y.nbytes >= 8 << 20
    for image, alone in zip(y, x, strict=True):
        np.testing.assert_array_equal(image, F.conv2d(alone, w, b, algorithm=algorithm).data)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (3, 2)], ids=str)
def test_the_shapes_of_winograd_are_those_of_the_kernels(kernel, dilation, stride):
    """The check before the call says what the native function says."""
    x, w = np.zeros((1, 2, 20, 20), np.float32), np.zeros((3, 2, *kernel), np.float32)
    out = [(20 - dilation * (k - 1) - 1) // stride + 1 for k in kernel]
    y = np.empty((1, 3, *out), np.float32)

    def native():
        _core.conv2d_forward(x, w, None, y, (stride,) * 2, (0,) * 4, (dilation,) * 2, 1, algorithm="winograd")

    if conv2d.winograd_serves(kernel, (stride,) * 2, (dilation,) * 2):
        native()
    else:
        with pytest.raises(ValueError, match="winograd"):
            native()


# --- which algorithm, how much memory, how large ---------------------------------------------------------------------
REFUSED = [
    (F.conv1d, (1, 2, 9), (3, 2, 3), {}, r"conv1d: algorithm is 'winograd'.*kernel \(3,\)"),
    (F.conv2d, (1, 2, 9, 9), (3, 2, 3, 2), {}, r"conv2d: .*kernel \(3, 2\), stride \(1, 1\)"),
    (F.conv2d, (1, 2, 9, 9), (3, 2, 3, 3), {"stride": 3}, r"conv2d: .*stride \(3, 3\), dilation \(1, 1\)"),
    (F.conv2d, (1, 2, 9, 9), (3, 2, 7, 7), {"stride": 2}, r"conv2d: .*kernel \(7, 7\), stride \(2, 2\)"),
    (F.conv2d, (1, 2, 9, 9), (3, 2, 3, 3), {"stride": (1, 2)}, r"conv2d: .*stride \(1, 2\)"),
    (F.conv3d, (1, 2, 9, 9, 9), (3, 2, 3, 3, 2), {}, r"conv3d: .*last two axes .*kernel \(3, 3, 2\)"),
    (F.conv3d, (1, 2, 9, 9, 9), (3, 2, 3, 3, 3), {"stride": 2}, r"conv3d: .*stride \(2, 2, 2\)"),
    (F.conv3d, (1, 2, 9, 9, 9), (3, 2, 3, 3, 3), {"stride": (2, 1, 1)}, r"conv3d: .*stride \(2, 1, 1\)"),
]


@pytest.mark.parametrize(("function", "x", "w", "options", "message"), REFUSED)
def test_winograd_says_why_it_cannot_serve(function, x, w, options, message):
    with pytest.raises(ValueError, match=message):
        function(np.zeros(x), np.zeros(w), algorithm="winograd", **options)


@pytest.mark.parametrize("algorithm", ["direct", "im2col", "winograd"])
def test_the_verbose_line_names_sizes_and_pick(algorithm, capfd):
    jadro.verbose(True)
    try:
        F.conv2d(np.zeros((1, 2, 9, 8)), np.zeros((3, 2, 3, 3)), padding=1, padding_mode="reflect", algorithm=algorithm)
        F.conv3d(np.zeros((1, 2, 9, 8, 7)), np.zeros((3, 2, 3, 3, 3)), algorithm=algorithm)
    finally:
        jadro.verbose(False)
    lines = capfd.readouterr().err.splitlines()
    assert re.match(rf"jadro: conv2d_forward, float64, 1x2x9x8->3 k3x3 s1x1 d1x1 g1, {algorithm}", lines[0])
    assert f"1x2x9x8x7->3 k3x3x3 s1x1x1 d1x1x1 g1, {algorithm}" in lines[1]


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("shape", [(1, 8, 1000, 1000), (1, 8, 20, 220, 220)])
def test_padding_modes_make_no_padded_copy(mode, shape):
    """The memory of x and of what is computed from it: a padded copy would be as large as x, 30 MB."""
    x = jadro.tensor(np.ones(shape, np.float32), requires_grad=True)
    weight = jadro.tensor(np.ones((1, 8, *(3,) * (len(shape) - 2)), np.float32), requires_grad=True)
    _core.release_memory()
    before = sum(_core.kept_memory())
    y = CONVS[len(shape) - 2](x, weight, padding=1, padding_mode=mode)
    results = y, *jadro.grad(y, [x, weight], np.ones(y.shape, np.float32))
    used = sum(_core.kept_memory()) - before
    assert used < sum(r.numpy().nbytes for r in results) + (14 << 20)


def test_more_pixels_than_32_bits_can_count():
    """Steps so wide that little is read: x takes 8 GiB of addresses, and next to no memory."""
    step, size = 2**20 + 3, 2**31 + 2**22
    x = np.zeros((1, 1, size), np.float32)
    x[0, 0, [0, step + 1, 2047 * step + 2, 2049 * step]] = 1, 2, 3, 4
    w = np.array([[[1, 10, 100]]], np.float32)
    expected = np.zeros((size - 3) // step + 1, np.float32)
    expected[[0, 1, 2047, 2049]] = 1, 20, 300, 4
    for algorithm in ("direct", "im2col"):
        y = F.conv1d(x, w, stride=step, algorithm=algorithm).numpy()
        np.testing.assert_array_equal(y[0, 0], expected)
    dw = np.empty((1, 1, 1, 3), np.float32)
    dy = np.ones((1, 1, 1, len(expected)), np.float32)
    _core.conv2d_backward_weight(dy, x[:, :, None], dw, None, (1, step), (0,) * 4, (1, 1), 1)
    np.testing.assert_array_equal(dw.ravel(), [5, 2, 3])


BAD = {
    "rank": (lambda: F.conv3d(np.zeros((2, 3, 4)), np.zeros((1, 2, 1, 1, 1))), r"conv3d: x has shape \(2, 3, 4\)"),
    "reflect": (lambda: F.conv1d(np.zeros((1, 1, 3)), np.zeros((1, 1, 1)), padding=3, padding_mode="reflect"),
                r"conv1d: padding is \(3, 3\) on an axis of size 3, expected at most 2 for mode 'reflect'"),
    "circular": (lambda: F.conv1d(np.zeros((1, 1, 3)), np.zeros((1, 1, 1)), padding=((0, 4),), padding_mode="circular"),
                 "expected at most 3 for mode 'circular'"),
    "replicate of nothing": (
        lambda: F.conv1d(np.zeros((1, 1, 0)), np.zeros((1, 1, 1)), padding=1, padding_mode="replicate"),
        "expected at most 0"),
    "output_padding": (lambda: F.conv_transpose2d(NINE, ONES, stride=2, output_padding=2),
                       r"conv_transpose2d: output_padding is \(2, 2\), expected less than the stride"),
    "negative output_padding": (lambda: F.conv_transpose2d(NINE, ONES, output_padding=-1), "output_padding is -1"),
    "nothing is left": (lambda: F.conv_transpose2d(NINE, ONES, padding=3), r"an output of \(-1, -1\)"),
    "no pixels": (lambda: F.conv_transpose2d(NINE[:, :, :0], ONES), "expected at least 1 along each axis"),
    "weight": (lambda: F.conv_transpose2d(NINE, np.zeros((2, 1, 3, 3))),
               r"weight has shape \(2, 1, 3, 3\), expected \(1, 1, 3, 3\): x has 1 channels"),
    "bias": (lambda: F.conv_transpose2d(NINE, ONES, np.zeros(2)), r"bias has shape \(2,\), expected \(1,\)"),
    "groups": (lambda: F.conv_transpose2d(NINE, ONES, groups=2), "groups is 2, expected a divisor of x's 1 channels"),
    "padding": (lambda: F.conv_transpose2d(NINE, ONES, padding="full"), "padding is 'full'"),
    "layer's padding_mode": (lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"),
                             "ConvTranspose2d: padding_mode is 'reflect', expected zeros"),
    "layer's padding": (lambda: nn.Conv3d(1, 1, 3, padding="sane"), "Conv3d: padding is 'sane'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_the_gradient_with_an_epilogue_refuses_padding_modes():
    dx = np.ones((1, 1, 5, 5))
    with pytest.raises(ValueError, match="conv2d_backward_data: padding_mode is 'reflect', expected 'zeros' where b"):
        _core.conv2d_backward_data(dx, ONES, dx, (1, 1), (1,) * 4, (1, 1), 1, "auto", "reflect", np.ones(1))
    assert (dx == 1).all()


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize(
    "kind", ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
)
def test_layers_that_follow_are_taken_along(kind, batch, capfd):
    """Batch norm, sum and ReLU behind every convolution, with a batch and without, in the call of the convolution."""
    n = int(kind[-2])
    jadro.manual_seed(0)
    conv, norm = getattr(nn, kind)(3, 3, 3, padding=1), getattr(nn, f"BatchNorm{n}d")(3)
    x = jadro.tensor(np.random.default_rng(0).standard_normal((*batch, 3, *(5, 6, 4)[:n])).astype(np.float32))
    with jadro.no_grad():
        norm.running_var.copy_(jadro.tensor([0.5, 2.0, 3.0]))
        models = [nn.Sequential(conv, nn.ReLU()), nn.Sequential(nn.Residual(conv), nn.ReLU())]
        models += [nn.Sequential(nn.Residual(nn.Sequential(conv, norm)), nn.ReLU())] if batch else []
        for model in models:
            y = conv(x)
            if model is models[-1] and batch:
                y = norm.eval()(y)
            expected = F.relu(y + x if isinstance(model[0], nn.Residual) else y).numpy()
            jadro.verbose(True)
            capfd.readouterr()
            got = model.eval()(x).numpy()
            jadro.verbose(False)
            assert len(capfd.readouterr().err.splitlines()) == 1
            np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6)
