import numpy as np
import pytest

from jadro.testing.cases import batch_norm


@pytest.mark.parametrize("case", batch_norm.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


def test_each_gradient_can_be_had_alone(backend, dtype):
    case = next(c for c in batch_norm.CASES if c.name == "image")
    inputs = {name: backend.xp.asarray(a) for name, a in case.make_inputs(dtype).items()}
    expected = backend.run(case, case.make_inputs(dtype))
    saved = [backend.xp.asarray(expected[name]) for name in ("save_mean", "save_rstd")]
    for wanted in ("dx", "dweight", "dbias"):
        out = dict.fromkeys(("dx", "dweight", "dbias"))
        out[wanted] = backend.xp.empty(expected[wanted].shape, dtype)
        backend.kernel("batch_norm_backward")(
            inputs["dy"], inputs["x"], inputs["weight"], *saved, *out.values(), case.training
        )
        np.testing.assert_array_equal(backend.host(out[wanted]), expected[wanted])


def test_normalised_channels_have_mean_zero_and_variance_one(backend, dtype):
    xp = backend.xp
    x = xp.asarray(np.random.default_rng(0).normal(3, 5, (8, 4, 50)).astype(dtype))
    y, mean, rstd = xp.empty_like(x), xp.empty(4, dtype), xp.empty(4, dtype)
    backend.kernel("batch_norm_forward")(x, None, None, None, None, y, mean, rstd, True, 0.1, 0.0)
    y = backend.host(y).astype(np.float64)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y.mean(axis=(0, 2)), 0, atol=4 * eps)
    np.testing.assert_allclose(y.var(axis=(0, 2)), 1, rtol=16 * eps)


def test_constant_channel_is_the_bias(backend, dtype):
    """No variance: eps keeps the division finite, in both directions."""
    xp = backend.xp
    x, bias = xp.full((3, 2, 7), 4.0, dtype), xp.asarray([0.5, -1.0], dtype)
    weight, dy = xp.ones(2, dtype), xp.asarray(np.random.default_rng(1).standard_normal((3, 2, 7)).astype(dtype))
    y, mean, rstd = xp.empty_like(x), xp.empty(2, dtype), xp.empty(2, dtype)
    backend.kernel("batch_norm_forward")(x, weight, bias, None, None, y, mean, rstd, True, 0.1, 1e-5)
    np.testing.assert_array_equal(backend.host(y), np.broadcast_to([[0.5], [-1.0]], (3, 2, 7)))
    dx = xp.empty_like(x)
    backend.kernel("batch_norm_backward")(dy, x, weight, mean, rstd, dx, None, None, True)
    assert np.isfinite(backend.host(dx)).all()
