"""Kernels against the reference, optimizers against PyTorch's, step by step; their states; bad options; clipping."""

import copy

import numpy as np
import pytest

import jadro
from jadro import _core, nn, optim
from jadro.testing.cases import optim as cases

RNG = np.random.default_rng(0)
SHAPES = [(3, 4), (7,), ()]
VALUES = [RNG.normal(size=shape) for shape in SHAPES]
GRADS = [[RNG.normal(size=shape) for shape in SHAPES] for _ in range(6)]

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"maximize": True}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-4}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"momentum": 0.7, "maximize": True}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.8, "momentum": 0.7, "centered": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.2}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.6), "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.5, 0.6), "amsgrad": True, "maximize": True}),
    ("AdamW", {"lr": 0.1, "betas": (0.7, 0.9), "weight_decay": 0.3}),
]
IDS = [f"{name}{i}" for i, (name, _) in enumerate(OPTIMIZERS)]


def parameters(dtype=np.float64):
    return [nn.Parameter(v.astype(dtype)) for v in VALUES]


def set_grads(params, grads):
    for p, g in zip(params, grads, strict=True):
        p.grad = jadro.tensor(g.astype(p.dtype))


def torch_twin(dtype=np.float64):
    torch = pytest.importorskip("torch")
    params = [torch.nn.Parameter(torch.tensor(v.astype(dtype))) for v in VALUES]

    def grad(grads):
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.tensor(g.astype(dtype))

    return torch, params, grad


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=IDS)
def test_equals_pytorch(name, options, dtype):
    torch, theirs, set_theirs = torch_twin(dtype)
    ours = parameters(dtype)
    a, b = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for grads in GRADS:
        set_grads(ours, grads)
        set_theirs(grads)
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            # values of size 1 to 2, a handful of roundings a step
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=0, atol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=IDS)
def test_takes_over_the_state_of_pytorch(name, options):
    torch, theirs, set_theirs = torch_twin()
    b = getattr(torch.optim, name)(theirs, **options)
    for grads in GRADS[:3]:
        set_theirs(grads)
        b.step()
    ours = [nn.Parameter(p.detach().numpy().copy()) for p in theirs]
    a = getattr(optim, name)(ours)
    a.load_state_dict(b.state_dict())
    for grads in GRADS[3:]:
        set_grads(ours, grads)
        set_theirs(grads)
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-13)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=IDS)
def test_state_survives_a_file(name, options, tmp_path):
    """Three steps, save, load into new objects, three more: the bits of six."""
    straight, resumed = parameters(np.float32), parameters(np.float32)
    a, b = getattr(optim, name)(straight, **options), getattr(optim, name)(resumed, **options)
    for i, grads in enumerate(GRADS):
        if i == 3:
            jadro.save(b.state_dict(), tmp_path / "state")
            resumed = [nn.Parameter(p.numpy().copy()) for p in resumed]
            b = getattr(optim, name)(resumed)
            b.load_state_dict(jadro.load(tmp_path / "state"))
        for params, optimizer in ((straight, a), (resumed, b)):
            set_grads(params, grads)
            optimizer.step()
    for p, q in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=IDS)
def test_a_parameter_without_a_gradient_stays(name, options):
    params = parameters()
    optimizer = getattr(optim, name)(params, **options)
    for i, grads in enumerate(GRADS):
        set_grads(params, grads)
        params[0].grad = None if i < 3 else params[0].grad
        optimizer.step()
        if i < 3:
            np.testing.assert_array_equal(params[0].numpy(), VALUES[0])
    fresh = parameters()[:1]
    other = getattr(optim, name)(fresh, **options)
    for grads in GRADS[3:]:
        set_grads(fresh, grads[:1])
        other.step()
    np.testing.assert_array_equal(fresh[0].numpy(), params[0].numpy())


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_groups_have_their_own_options(name):
    params = parameters()
    kind = getattr(optim, name)
    optimizer = kind([{"params": params[0], "lr": 0.5}, {"params": params[1:]}], lr=0.1)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1]
    twin = parameters()
    alone = [kind([p], lr=lr) for p, lr in zip(twin, (0.5, 0.1, 0.1), strict=True)]
    set_grads(params, GRADS[0])
    set_grads(twin, GRADS[0])
    for o in (optimizer, *alone):
        o.step()
    for p, q in zip(params, twin, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_a_transposed_parameter_is_updated_in_its_own_memory():
    array = np.arange(6.0).reshape(2, 3)
    p = nn.Parameter(array.T)
    p.grad = jadro.tensor(np.ones((3, 2)))
    optim.Adam([p], lr=1.0).step()
    np.testing.assert_allclose(array, np.arange(6.0).reshape(2, 3) - 1, atol=1e-6)


def test_step_returns_what_the_closure_computes():
    p = nn.Parameter(np.array([2.0]))
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with jadro.no_grad():
        assert float(optimizer.step(closure)) == 4.0
    assert p.item() == 1.0


def test_backward_notices_a_step_in_between():
    p = nn.Parameter(np.array([2.0]))
    y = p * p
    p.grad = jadro.tensor(np.array([1.0]))
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()


def test_zero_grad():
    params = parameters()
    optimizer = optim.SGD(params)
    set_grads(params, GRADS[0])
    optimizer.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in params)
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (TypeError, lambda p: optim.SGD(p[0])),
        (TypeError, lambda p: optim.SGD([np.zeros(3)])),
        (TypeError, lambda p: optim.SGD([{"lr": 0.1}])),
        (ValueError, lambda p: optim.SGD([])),
        (ValueError, lambda p: optim.SGD([p[0], p[0]])),
        (ValueError, lambda p: optim.SGD([p[0] * 2])),
        (ValueError, lambda p: optim.SGD(p, lr=-1)),
        (ValueError, lambda p: optim.SGD(p, lr=float("nan"))),
        (ValueError, lambda p: optim.SGD(p, nesterov=True)),
        (ValueError, lambda p: optim.SGD([{"params": p, "momentum": -0.5}])),
        (ValueError, lambda p: optim.Adam(p, betas=(0.9, 1.0))),
        (ValueError, lambda p: optim.AdamW(p, eps=-1e-8)),
        (ValueError, lambda p: optim.RMSprop(p, alpha=-1)),
        (ValueError, lambda p: optim.Adagrad(p, weight_decay=-1)),
    ],
)
def test_bad_options(error, make):
    with pytest.raises(error):
        make(parameters())


def test_a_state_that_does_not_fit_changes_nothing():
    params = parameters()
    optimizer = optim.Adam(params)
    set_grads(params, GRADS[0])
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    wrong_shape = copy.deepcopy(before)
    wrong_shape["state"][2]["exp_avg"] = np.zeros(9)
    wrong_count = copy.deepcopy(before)
    wrong_count["param_groups"][0]["params"] = [0, 1]
    stranger = copy.deepcopy(before)
    stranger["state"][5] = {}
    for bad in (wrong_shape, wrong_count, stranger):
        with pytest.raises(ValueError, match=r"Adam\.load_state_dict"):
            optimizer.load_state_dict(bad)
    with pytest.raises(TypeError, match=r"Adam\.load_state_dict"):
        optimizer.load_state_dict({})
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, entries in before["state"].items():
        np.testing.assert_array_equal(entries["exp_avg"].numpy(), after["state"][number]["exp_avg"].numpy())


def test_options_that_an_optimizer_does_not_have():
    optimizer = optim.Adagrad(parameters())
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["amsgrad"] = True
    with pytest.raises(ValueError, match="a group has amsgrad, which Adagrad does not do"):
        optimizer.load_state_dict(state)


# --- the native calls -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", cases.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


def test_no_parameters_is_no_work():
    _core.adam_step([], [], [], [], [], 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)
    _core.sgd_step([], [], [], 0.1, 0.0, 0.0, 0.0, False)
    assert _core.grad_norm([], "squares") == 0.0


def test_lists_must_agree(dtype):
    one, two = np.ones(3, dtype), np.ones(4, dtype)
    options = (0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)
    with pytest.raises(ValueError, match="adam_step"):
        _core.adam_step([one], [], [one.copy()], [one.copy()], [], *options)
    with pytest.raises(ValueError, match="adam_step"):
        _core.adam_step([one], [two], [one.copy()], [one.copy()], [], *options)
    with pytest.raises(TypeError, match="adam_step"):
        _core.adam_step([one], [np.ones(3, np.int64)], [one.copy()], [one.copy()], [], *options)
    assert (one == 1).all()


def test_parameters_of_both_dtypes_and_any_strides():
    """Each dtype is a call of its own; a transposed parameter is updated in its own memory."""
    arrays = [np.ones((3, 4), np.float32).T, np.ones(5), np.ones(2, np.float32)]
    params = [nn.Parameter(a) for a in arrays]
    for p in params:
        p.grad = jadro.tensor(np.full(p.shape, 2, p.dtype))
    optim.SGD(params, lr=0.25, momentum=0.9).step()
    for a in arrays:
        np.testing.assert_array_equal(a, np.full(a.shape, 0.5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_match_exact_sums(backend, dtype):
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=n).astype(dtype) for n in (1, 15, 16, 17, 40000, 0, 3)]
    whole = np.concatenate(grads).astype(np.longdouble)
    for of, exact in (("sizes", np.abs(whole).sum()), ("squares", (whole**2).sum()), ("largest", np.abs(whole).max())):
        found = backend.core.grad_norm([backend.xp.asarray(g) for g in grads], of)
        assert abs(found - exact) <= 1e-14 * exact, of


def test_norms_have_the_same_bits_for_any_number_of_threads(dtype):
    grads = [np.random.default_rng(0).normal(size=n).astype(dtype) for n in (100003, 7, 50000)]
    before, found = _core.get_num_threads(), set()
    try:
        for threads in (1, 2, 3, 7):
            _core.set_num_threads(threads)
            found.add(_core.grad_norm(grads, "squares"))
    finally:
        _core.set_num_threads(before)
    assert len(found) == 1


def test_squares_of_large_gradients_do_not_overflow():
    assert _core.grad_norm([np.full(3, 1e30, np.float32)], "squares") == pytest.approx(3e60)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_norms_of_special_values(value):
    grads = [np.ones(50), np.ones(50)]
    grads[1][17] = -value
    for of in ("sizes", "squares", "largest"):
        np.testing.assert_equal(_core.grad_norm(grads, of), value)


def test_clipping_scales_then_bounds(backend, dtype):
    x = np.array([-9, -2, 0, 0.5, 3, 100, np.nan, np.inf, -np.inf], dtype)
    grads = [backend.xp.asarray(a) for a in (x.copy(), np.tile(x, 9))]
    backend.core.grad_clip(grads, 0.5, 2.0)
    expected = np.clip(x * x.dtype.type(0.5), -2, 2)
    np.testing.assert_array_equal(backend.host(grads[0]), expected)
    np.testing.assert_array_equal(backend.host(grads[1]), np.tile(expected, 9))


def test_bad_norms():
    with pytest.raises(ValueError, match="grad_norm: of is 'cubes'"):
        _core.grad_norm([np.ones(3)], "cubes")
    with pytest.raises(TypeError, match="grad_clip: grads"):
        _core.grad_clip([np.ones(3), np.ones(3, np.float32)], 1.0, 1.0)
    read_only = np.ones(3)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match=r"grads\[0\] is read-only"):
        _core.grad_clip([read_only], 1.0, 1.0)
