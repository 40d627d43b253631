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


@pytest.mark.parametrize("whole", [False, True])
def test_alpha_dropout_keeps_mean_and_variance(whole):
    """y = a x + b where kept, a s + b where not; mean and variance of normal x are 0 and 1 again."""
    p, lowest = 0.2, -1.0507009873554805 * 1.6732632423543772
    a = (1 - p + p * (1 - p) * lowest**2) ** -0.5
    b = -a * p * lowest
    x = np.random.default_rng(0).standard_normal((200, 300, 2))
    leaf = jadro.tensor(x, requires_grad=True)
    jadro.manual_seed(0)
    y = (F.feature_alpha_dropout if whole else F.alpha_dropout)(leaf, p, training=True)
    dropped = np.isclose(y.data, a * lowest + b, rtol=1e-12)
    np.testing.assert_allclose(y.data, np.where(dropped, a * lowest + b, a * x + b), rtol=1e-9, atol=1e-12)
    assert abs(dropped.mean() - p) < 0.01
    assert (dropped[..., 0] == dropped[..., 1]).all() == whole
    assert abs(y.data.mean()) < 0.02 and abs(y.data.var() - 1) < 0.05
    y.sum().backward()
    np.testing.assert_allclose(leaf.grad.data, np.where(dropped, 0, a), rtol=1e-12)
    jadro.manual_seed(0)
    layer = (nn.FeatureAlphaDropout if whole else nn.AlphaDropout)(p)
    np.testing.assert_array_equal(layer(x).data, y.data)
    assert layer.eval()(leaf) is leaf


def test_alpha_dropout_agrees_with_pytorch_on_both_of_its_values():
    torch = pytest.importorskip("torch")
    x = np.full(1000, 0.5)
    jadro.manual_seed(0)
    ours = np.unique(F.alpha_dropout(x, 0.4, training=True).data)
    theirs = np.unique(torch.nn.functional.alpha_dropout(torch.tensor(x), 0.4, training=True).numpy())
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    np.testing.assert_array_equal(F.alpha_dropout(x, 1.0, training=True).data, 0)
    assert F.alpha_dropout(x).tolist() == x.tolist()  # training is False


def test_gradients_of_dropped_channels():
    def f(x):
        jadro.manual_seed(4)
        return F.dropout2d(x, 0.5) ** 2 + F.feature_alpha_dropout(x, 0.5, training=True) ** 2

    gradcheck(f, jadro.tensor(np.random.default_rng(0).standard_normal((2, 4, 3, 2)), requires_grad=True))


IMAGES = np.ones((2, 3, 4, 4))
BAD = [
    (ValueError, "dropout1d: x has shape .*expected 2 or 3 axes", lambda: F.dropout1d(IMAGES)),
    (ValueError, "dropout2d: x has shape .*expected 3 or 4 axes", lambda: F.dropout2d(IMAGES[0, 0])),
    (ValueError, "dropout3d: x has shape .*expected 4 or 5 axes", lambda: F.dropout3d(IMAGES[0])),
    (ValueError, "dropout2d: p is -1", lambda: F.dropout2d(IMAGES, -1)),
    (ValueError, "alpha_dropout: p is 2", lambda: F.alpha_dropout(IMAGES, 2)),
    (ValueError, "feature_alpha_dropout: x has shape", lambda: F.feature_alpha_dropout(IMAGES[0, 0, 0], training=True)),
    (ValueError, "Dropout2d: p is 1.5", lambda: nn.Dropout2d(1.5)),
    (TypeError, "dropout3d: x has dtype int64", lambda: F.dropout3d(IMAGES.astype(int))),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=range(len(BAD)))
def test_bad_input_to_dropout_of_channels(error, message, call):
    with pytest.raises(error, match=f"^{message}"):
        call()
