import numpy as np
import pytest

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
