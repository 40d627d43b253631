import numpy as np
import pytest

from jadro.testing.cases import gemm


@pytest.mark.parametrize("case", gemm.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_special_value_reaches_its_row_only(value, backend, dtype):
    a, b = backend.xp.ones((20, 40), dtype), backend.xp.ones((40, 35), dtype)
    out = backend.xp.empty((20, 35), dtype)
    a[3, 7] = value
    backend.kernel("gemm")(a, b, out)
    expected = np.full((20, 35), 40, dtype)
    expected[3] = value
    np.testing.assert_array_equal(backend.host(out), expected)


def test_every_size_around_the_tile(backend, dtype):
    """Integers multiply exactly in any order, so every edge of every tile can be compared at once."""
    gemm, xp = backend.kernel("gemm"), backend.xp
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (31, 19)).astype(dtype), rng.integers(-4, 5, (19, 67)).astype(dtype)
    exact = a @ b
    for m in range(1, 32):
        for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 67):
            out = xp.empty((m, n), dtype)
            gemm(xp.asarray(a[:m]), xp.asarray(np.ascontiguousarray(b[:, :n])), out)
            np.testing.assert_array_equal(backend.host(out), exact[:m, :n])
