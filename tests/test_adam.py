import numpy as np
import pytest

from jadro import _core
from jadro.testing.cases import adam


@pytest.mark.parametrize("case", adam.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


def test_no_parameters_is_no_work():
    _core.adam_step([], [], [], [], 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)


@pytest.mark.parametrize("decoupled", [False, True])
def test_follows_pytorch(decoupled, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    p, m, v = rng.standard_normal(37).astype(dtype), np.zeros(37, dtype), np.zeros(37, dtype)
    other = torch.nn.Parameter(torch.tensor(p))
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([other], lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.05)
    for step in range(1, 30):
        g = rng.standard_normal(37).astype(dtype)
        other.grad = torch.tensor(g)
        optimizer.step()
        _core.adam_step([p], [g], [m], [v], 0.01, 0.8, 0.99, 1e-6, 0.05, decoupled, step)
    # each of 29 steps may round a few times either way
    np.testing.assert_allclose(p, other.detach().numpy(), rtol=0, atol=29 * 4 * np.finfo(dtype).eps * np.abs(p).max())


def test_lists_must_agree(dtype):
    one, two = np.ones(3, dtype), np.ones(4, dtype)
    options = (0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)
    with pytest.raises(ValueError, match="adam_step"):
        _core.adam_step([one], [], [one.copy()], [one.copy()], *options)
    with pytest.raises(ValueError, match="adam_step"):
        _core.adam_step([one], [two], [one.copy()], [one.copy()], *options)
    with pytest.raises(TypeError, match="adam_step"):
        _core.adam_step([one], [np.ones(3, np.int64)], [one.copy()], [one.copy()], *options)
    assert (one == 1).all()
