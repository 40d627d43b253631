"""16-bit floats, and products of float32 as TF32, held to the exact result of the same rounded inputs."""

import numpy as np
import pytest
from conftest import Backend, backend_names

from jadro.testing import cases
from jadro.testing.cases import (
    activation,
    avg_pool,
    conv2d,
    cross_entropy,
    dropout,
    embedding,
    gemm,
    group_norm,
    optim,
    pool2d,
    softmax,
)
from jadro.testing.cases.base import FLOOR_ULPS, NAIVE_RUNS, widen

KINDS = ["float16", "bfloat16", "tf32"]
PLAIN = [case for case in conv2d.CASES if case.algorithm != "winograd"]
# Past the tile, several slices of the depth, lines on 16 bytes, on 4 and on 2, the large tiles; operands that lie along
# the depth and across it.
PRODUCTS = [
    gemm.GemmCase("packed", 70, 75, 96, trans_b=True, bias=True),
    gemm.GemmCase("packed_tail", 65, 66, 72, trans_b=True, accumulate=True),
    gemm.GemmCase("packed_large", 150, 260, 64, trans_b=True),
    gemm.GemmCase("loose_large", 260, 150, 33),
    gemm.GemmCase("sliced", 20, 30, 1100, trans_a=True),
    gemm.GemmCase("sliced_packed", 20, 30, 1104, trans_b=True, bias=True),
    gemm.GemmCase("across_b", 70, 72, 96, bias=True),
    gemm.GemmCase("across_b_wide", 63, 248, 40, accumulate=True),
    gemm.GemmCase("across_b_large", 250, 256, 72),
    gemm.GemmCase("across_both", 72, 80, 45, trans_a=True, accumulate=True),
    gemm.GemmCase("across_both_wide", 56, 240, 33, trans_a=True),
    gemm.GemmCase("across_both_large", 248, 256, 40, trans_a=True, bias=True),
    gemm.GemmCase("across_both_sliced", 24, 32, 1100, trans_a=True),
    gemm.GemmCase("across_a", 72, 70, 96, trans_a=True, trans_b=True),
    gemm.GemmCase("words", 66, 70, 34, trans_b=True),
    gemm.GemmCase("words_across_b", 66, 70, 34, bias=True),
    gemm.GemmCase("words_across_both", 66, 70, 34, trans_a=True),
    gemm.GemmCase("packs_and_words", 66, 70, 48),
    gemm.GemmCase("loose_across_both", 65, 67, 35, trans_a=True),
]
# Copies with the channels last: channels that do and do not fill pieces of 16 bytes, tiles of every shape that end
# early, few channels of results, columns that lie on 16 bytes and not, phases of a stride with few taps or none, slices
# of the weights' depth.
PIECES = [
    conv2d.Conv2dCase("small_tile", 1, 16, (5, 6), 9, (3, 3), padding=(1,) * 4),
    conv2d.Conv2dCase("wide_tile", 2, 24, (9, 16), 40, (3, 3), padding=(1,) * 4),
    conv2d.Conv2dCase("large_tile", 2, 13, (16, 16), 128, (3, 3), padding=(1,) * 4),
    conv2d.Conv2dCase("large_tile_ends_early", 2, 16, (23, 20), 127, (1, 1)),
    conv2d.Conv2dCase("large_tile_of_weights", 3, 127, (6, 7), 128, (2, 2)),
    conv2d.Conv2dCase("whole_channels_one_tap", 3, 32, (8, 9), 24, (1, 1)),
    conv2d.Conv2dCase("one_tap_strided", 2, 17, (9, 10), 20, (1, 1), (2, 3)),
    conv2d.Conv2dCase("taps_past_the_slice", 1, 3, (20, 21), 10, (7, 7), (2, 2), (3,) * 4),
    conv2d.Conv2dCase("odd_groups", 2, 27, (7, 9), 15, (3, 2), (2, 1), (1, 0, 2, 1), (1, 3), groups=3),
    conv2d.Conv2dCase("wide_groups", 2, 32, (8, 8), 140, (3, 3), padding=(1,) * 4, groups=2),
    conv2d.Conv2dCase("no_tap_in_a_phase", 2, 9, (10, 11), 12, (2, 1), (3, 2), (1, 0, 0, 1)),
    conv2d.Conv2dCase("runs", 2, 8, (8, 8), 70, (3, 3), (), (1,) * 4, relu=True, slope=True, scale=True, add=True),
    conv2d.Conv2dCase("no_runs", 2, 8, (7, 9), 70, (3, 3), (), (1,) * 4, relu=True, most=1.0, scale=True, add=True),
    conv2d.Conv2dCase("slices", 3, 9, (21, 22), 11, (3, 3), padding=(1,) * 4),
    conv2d.Conv2dCase("slices_in_groups", 2, 24, (24, 24), 18, (1, 1), groups=3),
    conv2d.Conv2dCase("voxels", 2, 18, (3, 4, 8), 20, (2, 3, 3), (1, 2, 1), (1, 0, 1, 1, 1, 1)),
    conv2d.Conv2dCase("mirrored", 2, 20, (7, 8), 10, (3, 3), (2, 1), (2, 1, 1, 2), padding_mode="reflect"),
    conv2d.Conv2dCase("few_channels_out", 2, 3, (18, 19), 32, (7, 7), (2, 2), (3,) * 4),
    conv2d.Conv2dCase("narrow", 1, 21, (40, 41), 3, (3, 3), (), (1,) * 4, relu=True, scale=True, add=True),
    conv2d.Conv2dCase("narrow_groups", 2, 6, (36, 35), 26, (3, 4), (1, 2), (1, 0, 2, 1), (2, 1), groups=2),
    conv2d.Conv2dCase("narrow_without_a_tap", 2, 4, (9, 10), 12, (2, 1), (3, 2), (1, 0, 0, 1)),
    conv2d.Conv2dCase("narrow_mirrored", 1, 2, (9, 10), 12, (3, 3), (1, 2), (1,) * 4, padding_mode="reflect"),
    conv2d.Conv2dCase("as_a_product", 2, 3, (9, 10), 12, (3, 3), (2, 2), (1,) * 4, algorithm="im2col"),
    conv2d.Conv2dCase("channels_of_two_tiles", 1, 150, (8, 9), 8, (1, 1)),
    conv2d.ConvTransposeCase("transposed", 2, 20, (6, 8), 24, (4, 4), (2, 2), (1,) * 4, relu=True, add=True),
    conv2d.ConvTransposeCase("transposed_runs", 2, 20, (8, 8), 72, (3, 3), (), (1,) * 4, scale=True, add=True),
]


@pytest.fixture(params=[name for name in backend_names() if name.startswith("cuda")] or ["none"])
def device(request):
    """The kernels for the host, or those of a card, whose TF32 is off again afterwards."""
    if request.param == "none":
        pytest.skip("neither a GPU nor the kernels for the host are there")
    found = Backend(request.param)
    yield found
    found.core.allow_tf32(False)


@np.errstate(over="ignore")  # beyond the largest float16
def rounded(a, kind):
    """The inputs as the tensor cores see them, in the dtype of the call."""
    if a.dtype.kind != "f":
        return a
    if kind == "float16":
        return a.astype(np.float16)
    if kind == "bfloat16":
        return a.astype(pytest.importorskip("ml_dtypes").bfloat16)
    bits = a.astype(np.float32).view(np.uint32)
    return ((bits + 0x1000) & ~np.uint32(0x1FFF)).view(np.float32)


def check(case, kind, device):
    """The exact result is rounded once, and the sums in float32 err as the naive ones."""
    if kind == "bfloat16" and device.name == "cuda":
        try:
            device.xp.asarray(rounded(np.zeros(1), kind))
        except (TypeError, ValueError) as error:
            pytest.skip(f"this CuPy has no bfloat16: {error}")
    inputs = {name: rounded(a, kind) for name, a in case.make_inputs(np.float32).items()}
    device.core.allow_tf32(kind == "tf32")
    got = device.run(case, inputs)
    single = {name: a.astype(np.float32) if a.dtype.kind in "fV" else a for name, a in inputs.items()}
    exact, naive = case.reference(widen(single)), case.reference(single)
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "tf32": 0.0}[kind]
    for name, a in got.items():
        difference = np.abs(a.astype(np.float64) - exact[name])
        scale = np.abs(exact[name])
        least = 2.0**-25 if kind == "float16" else 0.0  # half of the smallest subnormal number
        sums = 2 * NAIVE_RUNS * np.max(np.abs(naive[name] - exact[name]), initial=0)
        sums += FLOOR_ULPS * np.finfo(np.float32).eps * np.max(scale, initial=0)
        # a convolution's padded gradient is rounded before it is folded
        folded = 4 if name == "dx" and getattr(case, "padding_mode", "zeros") != "zeros" else 1
        bound = np.maximum(folded * unit * scale, least) + sums
        if folded > 1:
            bound += folded * unit * np.max(scale, initial=0)
        assert (difference <= bound * (1 + 1e-3)).all(), (
            f"{case}: {name}, {(difference / bound).max():.3g} of the bound"
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [*gemm.CASES, *PRODUCTS], ids=str)
def test_products(case, kind, device):
    check(case, kind, device)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [*PLAIN, *PIECES], ids=str)
def test_convolutions(case, kind, device):
    check(case, kind, device)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", PIECES, ids=str)
def test_convolutions_without_rounding(case, dtype, device):
    cases.assert_close_to_reference(device.run(case, case.make_inputs(dtype)), case)


@pytest.mark.parametrize("kind", [*KINDS, "float32"])
@pytest.mark.parametrize("case", [gemm.CASES[0], *PRODUCTS, PLAIN[0], *PIECES], ids=str)
def test_the_order_of_threads_changes_no_bit(case, kind, device):
    if device.name == "cuda":
        pytest.skip("a GPU has an order of its own")
    device.core.allow_tf32(kind == "tf32")
    inputs = case.make_inputs(np.float32)
    if kind != "float32":
        inputs = {name: rounded(a, kind) for name, a in inputs.items()}
    first = device.run(case, inputs)
    device.core.set_backward(True)
    second = device.run(case, inputs)
    device.core.set_backward(False)
    for name, a in second.items():
        np.testing.assert_array_equal(a.view(np.uint8), first[name].view(np.uint8), name)


def test_tf32_rounds_only_where_it_is_asked_for(device):
    case = gemm.GemmCase("ones", 1, 1, 8)
    a = np.full((1, 8), 1 + 2.0**-12, np.float32)
    out = device.xp.empty((1, 1), np.float32)
    for allowed, expected in ((False, 8 + 2.0**-9), (True, 8.0), (False, 8 + 2.0**-9)):
        device.core.allow_tf32(allowed)
        device.core.gemm(device.xp.asarray(a), device.xp.asarray(np.ones((8, 1), np.float32)), out)
        assert device.host(out)[0, 0] == expected
    cases.assert_close_to_reference(device.run(case, case.make_inputs(np.float64)), case)


def is_narrow(a):
    return isinstance(a, np.ndarray) and a.dtype.itemsize == 2 and a.dtype.kind in "fV"


def arrays_in(arguments):
    """The arrays among arguments, and those in lists."""
    lists = [a if isinstance(a, (list, tuple)) else [a] for a in arguments]
    return [a for some in lists for a in some if isinstance(a, np.ndarray)]


def widened(a):
    """Copies, 16-bit floats as float32."""
    if isinstance(a, (list, tuple)):
        return type(a)(map(widened, a))
    return a.astype(np.float32) if is_narrow(a) else np.copy(a) if isinstance(a, np.ndarray) else a


class Paired:
    """Kernels that are called in float32 too, on the same numbers: 16-bit results are those, rounded once."""

    def __init__(self, core):
        self.core, self.calls = core, 0

    def __getattr__(self, name):
        function = getattr(self.core, name)

        @np.errstate(all="ignore")  # of casts
        def call(*args, **options):
            wide = [widened(a) for a in args]
            function(*args, **options)
            function(*wide, **options)
            for a, exact in zip(arrays_in(args), arrays_in(wide), strict=True):
                expected = exact.astype(a.dtype)
                np.testing.assert_array_equal(a.astype(np.float64), expected.astype(np.float64), name)
            self.calls += any(map(is_narrow, arrays_in(args)))

        return call


ELEMENTWISE = [
    case
    for op in (activation, avg_pool, cross_entropy, embedding, group_norm, optim, pool2d, softmax)
    for case in op.CASES
    if not isinstance(case, activation.PReluCase)  # CUDA composes it
]
MASKS = [case for case in dropout.CASES if isinstance(case, dropout.DropoutCase)]


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("case", [*ELEMENTWISE, *MASKS], ids=str)
def test_other_kernels_of_16_bits(case, kind, device):
    if device.name == "cuda":
        pytest.skip("the pairs are of NumPy's arrays")
    inputs = {name: rounded(a, kind) for name, a in case.make_inputs(np.float32).items()}
    pairs = Paired(device.core)
    case.run(pairs, inputs)
    assert pairs.calls >= 1


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize(("of", "norm"), [("squares", np.sum), ("sizes", np.sum), ("largest", np.max)])
def test_norms_and_clipping_of_16_bits(of, norm, kind, device):
    rng = np.random.default_rng(1)
    grads = [rounded(rng.standard_normal(n).astype(np.float32), kind) for n in (3, 700, 5000)]
    sizes = [np.abs(g.astype(np.float64)) for g in grads]
    expected = norm([norm(s * s if of == "squares" else s) for s in sizes])
    given = [device.xp.array(g) for g in grads]
    assert device.core.grad_norm(given, of) == pytest.approx(expected, rel=1e-12)
    device.core.grad_clip(given, 0.5, 0.75)
    for g, clipped in zip(grads, given, strict=True):
        exact = np.clip(0.5 * g.astype(np.float32), -0.75, 0.75).astype(g.dtype)
        np.testing.assert_array_equal(device.host(clipped).astype(np.float32), exact.astype(np.float32))
