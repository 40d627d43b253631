"""The NumPy reference, which all kernels are held to, is itself held to differences, published vectors and the
definition.
"""

import numpy as np
import pytest

from jadro.testing import cases, reference
from jadro.testing.cases.base import INTEGERS, assert_close, widen

SMALL = 300_000  # operations: differences of larger cases would say the same again
DIFFERENTIABLE = [c for c in cases.ALL if c.gradients() and c.differentiable and 0 < c.flops < SMALL]


def inner(a, b):
    return sum(np.sum(a[name] * b[name]) for name in a)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradients_are_the_derivatives(case):
    """<gradient, v> = (L(p + h v) - L(p - h v)) / 2h with L = <cotangent, output>, for a direction v in every input
    and in all.
    """
    inputs = widen(case.make_inputs(np.float64))  # the widest type: differences keep most of float64's digits
    gradients = {name: case.reference(inputs)["d" + name] for name in inputs if "d" + name in case.gradients()}
    cotangents = {name[1:]: inputs[name] for name in case.cotangents()}
    rng = np.random.default_rng(1)
    direction = {name: rng.standard_normal(g.shape).astype(g.dtype) for name, g in gradients.items()}
    eps = np.finfo(next(iter(gradients.values())).dtype).eps
    h = eps ** (1 / 3)

    def loss(step, names):
        moved = {**inputs, **{name: inputs[name] + step * direction[name] for name in names}}
        return inner(cotangents, case.reference(moved))

    for names in [*([name] for name in gradients), list(gradients)]:
        by_difference = (loss(h, names) - loss(-h, names)) / (2 * h)
        by_gradient = inner({n: gradients[n] for n in names}, direction)
        scale = sum(np.sum(np.abs(gradients[n] * direction[n])) for n in names) + abs(loss(0.0, names))
        assert abs(by_difference - by_gradient) <= 100 * h**2 * scale, names


# kat_vectors of the generator's authors: counter, key, words
PHILOX = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), PHILOX)
def test_philox_gives_the_published_words(counter, key, words):
    assert tuple(int(w) for w in reference.philox4x32(np.array(counter), key)) == words


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_stream_does_not_depend_on_where_it_is_cut(dtype):
    whole = reference.random_uniform(41, dtype, 7, 0)
    for cut in range(12):
        parts = [reference.random_uniform(cut, dtype, 7, 0), reference.random_uniform(41 - cut, dtype, 7, cut)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_numbers_fill_the_unit_interval_evenly(dtype):
    numbers = reference.random_uniform(40_000, dtype, 3, 0)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert np.sum((counts - 2000.0) ** 2 / 2000) < 43.8  # chi-square, 19 degrees of freedom, 0.1 %


def test_convolution_by_its_definition():
    """The sum of the equation, written out pixel by pixel."""
    case = next(c for c in cases.ALL if c.name == "groups_strided_and_dilated")
    inputs = case.make_inputs(np.float64)
    x, w, b = inputs["x"], inputs["w"], inputs["b"]
    y = np.zeros(case.outputs()["y"])
    per_group, outputs = w.shape[1], len(w) // case.groups
    for n, o, p, q in np.ndindex(y.shape):
        y[n, o, p, q] = b[o]
        for c, i, j in np.ndindex(w.shape[1:]):
            h = p * case.stride[0] + i * case.dilation[0] - case.padding[0]
            v = q * case.stride[1] + j * case.dilation[1] - case.padding[2]
            if 0 <= h < x.shape[2] and 0 <= v < x.shape[3]:
                y[n, o, p, q] += w[o, c, i, j] * x[n, o // outputs * per_group + c, h, v]
    np.testing.assert_allclose(case.reference(inputs)["y"], y, rtol=1e-13, atol=1e-13)


def test_pooling_by_its_definition():
    case = next(c for c in cases.ALL if c.name == "nan_propagates")
    x = case.make_inputs(np.float64)["x"]
    expected = case.reference(case.make_inputs(np.float64))
    for n, c, p, q in np.ndindex(expected["y"].shape):
        window = [
            (h, w)
            for h in range(2 * p - 1, 2 * p + 2)
            for w in range(2 * q - 1, 2 * q + 2)
            if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]
        ]
        values = np.array([x[n, c, h, w] for h, w in window])
        first = int(np.argmax(values))  # NumPy's own: the first NaN, else the first of the largest
        np.testing.assert_equal(expected["y"][n, c, p, q], values[first])
        assert divmod(int(expected["indices"][n, c, p, q]), x.shape[3]) == window[first]


def test_adam_with_zero_moments_steps_by_lr_times_the_sign():
    p, g = np.array([1.0, -2.0, 3.0]), np.array([0.5, -7.0, 1e-3])
    new, _, _ = reference.adam_step(p, g, np.zeros(3), np.zeros(3), None, 0.1, 0.9, 0.999, 0.0, 0.0, False, 1)
    np.testing.assert_allclose(new, p - 0.1 * np.sign(g), rtol=1e-12)


def test_the_rule_lets_rounding_pass_and_nothing_else():
    exact = np.random.default_rng(0).standard_normal(1000)
    rounded = exact.astype(np.float32)
    assert_close(rounded, exact, [rounded])
    wrong = rounded.copy()
    wrong[17] *= np.float32(1 + 3e-5)  # one element, by 250 ulp
    with pytest.raises(AssertionError, match="largest error"):
        assert_close(wrong, exact, [rounded])
    with pytest.raises(AssertionError, match="root_mean_square error"):
        assert_close(rounded * np.float32(1 + 1e-6), exact, [rounded])
    wrong = rounded.copy()
    wrong[3] = np.nan
    with pytest.raises(AssertionError):
        assert_close(wrong, exact, [rounded])


@pytest.mark.parametrize("case", cases.ALL, ids=str)
def test_cases_name_and_shape_what_the_reference_returns(case):
    results = case.reference(case.make_inputs(np.float32))
    shapes = {**case.outputs(), **case.gradients()}
    assert {name: a.shape for name, a in results.items()} == shapes
    assert all(a.dtype == INTEGERS.get(name, np.float32) for name, a in results.items())


def test_case_names_are_unique():
    names = [str(case) for case in cases.ALL]
    assert len(names) == len(set(names))


def test_arithmetic_and_bytes_of_known_cases():
    by_name = {str(case): case for case in cases.ALL}
    assert by_name["gemm-one_tile_avx512"].flops == 2 * 14 * 32 * 16
    # 3x3 on a single padded pixel: one of nine taps meets it
    assert by_name["conv2d-single_pixel_padded"].flops == 2 * 2 * 3 * 5
    assert by_name["lstm-single_step"].flops == 2 * 5 * 4 * 6 * (7 + 6)
    assert by_name["pool2d-halves"].bytes(np.float32) == 4 * (2 * 3 * 64 + 2 * 2 * 3 * 16)
