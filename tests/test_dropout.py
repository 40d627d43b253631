import numpy as np
import pytest

import jadro
import jadro.nn.functional as F
from jadro import nn
from jadro.testing import gradcheck
from jadro.testing.cases import dropout


@pytest.mark.parametrize("case", dropout.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


# kat_vectors of Random123: counter 0, key 0
ZERO_BLOCK = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)


def test_the_first_numbers_are_the_published_ones(backend):
    narrow, wide = backend.xp.empty(4, np.float32), backend.xp.empty(2, np.float64)
    draw = backend.kernel("random_uniform")
    draw(narrow, 0, 0)
    draw(wide, 0, 0)
    np.testing.assert_array_equal(backend.host(narrow), [(word >> 8) / 2**24 for word in ZERO_BLOCK])
    pairs = zip(ZERO_BLOCK[::2], ZERO_BLOCK[1::2], strict=True)
    np.testing.assert_array_equal(backend.host(wide), [((high << 32 | low) >> 11) / 2**53 for low, high in pairs])


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 511, 512, 513])
def test_a_stream_can_be_cut_anywhere(cut, backend, dtype):
    draw, xp = backend.kernel("random_uniform"), backend.xp
    whole, first, rest = (xp.empty(n, dtype) for n in (1000, cut, 1000 - cut))
    draw(whole, 11, 6)
    draw(first, 11, 6)
    draw(rest, 11, 6 + cut)
    joined = np.concatenate([backend.host(first), backend.host(rest)])
    np.testing.assert_array_equal(joined, backend.host(whole))


def test_masks_are_the_same_in_both_dtypes(backend):
    kept = []
    for dtype in (np.float32, np.float64):
        x, y = backend.xp.ones(5000, dtype), backend.xp.empty(5000, dtype)
        backend.kernel("dropout")(x, y, 0.3, 5, 2)
        kept.append(backend.host(y) != 0)
    np.testing.assert_array_equal(*kept)
    assert abs(kept[0].mean() - 0.7) < 0.02  # three standard deviations


def test_different_seeds_and_offsets_differ(backend, dtype):
    draws = []
    for seed, offset in ((0, 0), (1, 0), (2**32, 0), (0, 4), (0, 2**34)):
        out = backend.xp.empty(8, dtype)
        backend.kernel("random_uniform")(out, seed, offset)
        draws.append(tuple(backend.host(out).tolist()))
    assert len(set(draws)) == len(draws)


def test_special_values_pass_as_ieee_says(backend, dtype):
    """NaN times a mask of 0 or 1 is NaN."""
    x, y = backend.xp.full(1000, np.nan, dtype), backend.xp.empty(1000, dtype)
    backend.kernel("dropout")(x, y, 0.5, 9, 0)
    assert np.isnan(backend.host(y)).all()


CHANNELS = [
    ("1d", (50, 40, 3), 2),
    ("1d", (2000, 3), 1),
    ("2d", (50, 40, 3, 2), 2),
    ("2d", (50, 40, 3), 2),
    ("3d", (50, 40, 2, 1, 3), 2),
    ("3d", (2000, 2, 1, 3), 1),
]


@pytest.mark.parametrize(("name", "shape", "lead"), CHANNELS)
def test_channels_are_dropped_whole(name, shape, lead):
    x = np.random.default_rng(0).uniform(1, 2, shape)
    jadro.manual_seed(0)
    leaf = jadro.tensor(x, requires_grad=True)
    y = getattr(F, "dropout" + name)(leaf, 0.3)
    kept = (y.data != 0).reshape(*shape[:lead], -1)
    assert (kept == kept[..., :1]).all()
    assert abs(kept.mean() - 0.7) < 5 * np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_allclose(y.data, np.where(y.data != 0, x / 0.7, 0), rtol=1e-12)
    y.sum().backward()
    np.testing.assert_allclose(leaf.grad.data, (y.data != 0) / 0.7, rtol=1e-12)
    layer = getattr(nn, "Dropout" + name)(0.3)
    jadro.manual_seed(0)
    np.testing.assert_array_equal(layer(x).data, y.data)
    assert layer.eval()(leaf) is leaf
    assert not getattr(F, "dropout" + name)(x, 1.0).data.any()


def test_gradients_of_dropped_channels():
    def f(x):
        jadro.manual_seed(4)
        return F.dropout2d(x, 0.5) ** 2

    gradcheck(f, jadro.tensor(np.random.default_rng(0).standard_normal((2, 4, 3, 2)), requires_grad=True))


IMAGES = np.ones((2, 3, 4, 4))
BAD = [
    (ValueError, r"dropout1d: x has shape .*expected \(2, 3\) axes", lambda: F.dropout1d(IMAGES)),
    (ValueError, r"dropout2d: x has shape .*expected \(3, 4\) axes", lambda: F.dropout2d(IMAGES[0, 0])),
    (ValueError, r"dropout3d: x has shape .*expected \(4, 5\) axes", lambda: F.dropout3d(IMAGES[0])),
    (ValueError, "dropout2d: x has shape .* and p is -1", lambda: F.dropout2d(IMAGES, -1)),
    (ValueError, "Dropout2d: p is 1.5", lambda: nn.Dropout2d(1.5)),
    (TypeError, "dropout3d: x has dtype int64", lambda: F.dropout3d(IMAGES.astype(int))),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=range(len(BAD)))
def test_bad_input_to_dropout_of_channels(error, message, call):
    with pytest.raises(error, match=f"^{message}"):
        call()
