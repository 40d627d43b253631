"""Optimizers and schedules against PyTorch's, step by step; their states; bad options."""

import copy

import numpy as np
import pytest

import jadro
from jadro import nn, optim
from jadro.optim import lr_scheduler

RNG = np.random.default_rng(0)
SHAPES = [(3, 4), (7,), ()]
VALUES = [RNG.normal(size=shape) for shape in SHAPES]
GRADS = [[RNG.normal(size=shape) for shape in SHAPES] for _ in range(6)]

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-4}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.8, "momentum": 0.7, "centered": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.2}),
    ("AdamW", {}),
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
    amsgrad = copy.deepcopy(before)
    amsgrad["param_groups"][0]["amsgrad"] = True
    for bad in (wrong_shape, wrong_count, stranger, amsgrad):
        with pytest.raises(ValueError, match=r"Adam\.load_state_dict"):
            optimizer.load_state_dict(bad)
    with pytest.raises(TypeError, match=r"Adam\.load_state_dict"):
        optimizer.load_state_dict({})
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, entries in before["state"].items():
        np.testing.assert_array_equal(entries["exp_avg"].numpy(), after["state"][number]["exp_avg"].numpy())


# --- schedules --------------------------------------------------------------------------------------------------------
SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}),
    ("LambdaLR", {"lr_lambda": [lambda t: 1 / (1 + t), lambda t: 0.5]}),
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("CosineAnnealingLR", {"T_max": 4}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 20}),
    ("OneCycleLR", {"max_lr": [1.0, 0.3], "epochs": 4, "steps_per_epoch": 5, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 20, "three_phase": True, "pct_start": 0.25, "div_factor": 10}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 20, "pct_start": 0.0}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 20, "cycle_momentum": False, "final_div_factor": 7}),
]
METRICS = [5.0, 4.0, 4.0, 4.1, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5, float("nan"), 2.5, 2.5]
PLATEAUS = [
    {},
    {"patience": 1},
    {"patience": 0, "factor": 0.5, "cooldown": 2, "threshold": 0.3},
    {"patience": 1, "mode": "max", "threshold_mode": "abs", "threshold": 0.5, "min_lr": [0.01, 0.001]},
    {"patience": 0, "mode": "min", "threshold_mode": "abs", "min_lr": 0.02},
    {"patience": 0, "mode": "max", "eps": 0.05},
]


def twins(name="SGD"):
    torch, theirs, _ = torch_twin()
    ours = parameters()
    options = {"momentum": 0.9} if name == "SGD" else {}
    groups = [[{"params": p[:1], "lr": 0.2}, {"params": p[1:]}] for p in (ours, theirs)]
    return (
        getattr(optim, name)(groups[0], lr=0.1, **options),
        getattr(torch.optim, name)(groups[1], lr=0.1, **options),
        torch.optim.lr_scheduler,
    )


def options_of(optimizer):
    return [[g["lr"], g.get("momentum", g.get("betas"))] for g in optimizer.param_groups]


def assert_same_options(a, b):
    for ours, theirs in zip(options_of(a), options_of(b), strict=True):
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-18)


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=[f"{n}{i}" for i, (n, _) in enumerate(SCHEDULES)])
def test_schedule_equals_pytorch(name, options, kind):
    a, b, theirs = twins(kind)
    ours = getattr(lr_scheduler, name)(a, **options)
    theirs = getattr(theirs, name)(b, **options)
    for _ in range(20 - 1):
        assert_same_options(a, b)
        assert ours.get_last_lr() == [g["lr"] for g in a.param_groups]
        ours.step()
        theirs.step()
    assert_same_options(a, b)


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateau_equals_pytorch(options):
    a, b, theirs = twins()
    ours, theirs = lr_scheduler.ReduceLROnPlateau(a, **options), theirs.ReduceLROnPlateau(b, **options)
    for metric in METRICS:
        ours.step(metric)
        theirs.step(metric)
        assert_same_options(a, b)


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_schedules_of_one_optimizer_combine_as_in_pytorch():
    a, b, theirs = twins()
    ours = [lr_scheduler.ExponentialLR(a, 0.9), lr_scheduler.StepLR(a, 2), lr_scheduler.CosineAnnealingLR(a, 7)]
    theirs = [theirs.ExponentialLR(b, 0.9), theirs.StepLR(b, 2), theirs.CosineAnnealingLR(b, 7)]
    for _ in range(10):
        for schedule in (*ours, *theirs):
            schedule.step()
        assert_same_options(a, b)


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=[f"{n}{i}" for i, (n, _) in enumerate(SCHEDULES)])
def test_a_schedule_goes_on_from_its_state(name, options, tmp_path):
    def new():
        params = parameters()
        a = optim.SGD([{"params": params[:1]}, {"params": params[1:]}], lr=0.1, momentum=0.9)
        return a, getattr(lr_scheduler, name)(a, **options)

    (a, straight), (b, cut) = new(), new()
    for i in range(18):
        if i == 7:
            jadro.save([b.state_dict(), cut.state_dict()], tmp_path / "state")
            b, cut = new()
            for part, state in zip((b, cut), jadro.load(tmp_path / "state"), strict=True):
                part.load_state_dict(state)
        straight.step()
        cut.step()
        assert options_of(a) == options_of(b)


def test_a_plateau_goes_on_from_its_state(tmp_path):
    def new():
        a = optim.SGD(parameters(), lr=0.1)
        return a, lr_scheduler.ReduceLROnPlateau(a, patience=1, cooldown=1)

    (a, straight), (b, cut) = new(), new()
    for i, metric in enumerate(METRICS):
        if i in (0, 6):
            jadro.save([b.state_dict(), cut.state_dict()], tmp_path / "state")
            b, cut = new()
            for part, state in zip((b, cut), jadro.load(tmp_path / "state"), strict=True):
                part.load_state_dict(state)
        straight.step(metric)
        cut.step(metric)
        assert options_of(a) == options_of(b)


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (TypeError, lambda o: lr_scheduler.StepLR(None, 3)),
        (TypeError, lambda o: lr_scheduler.ReduceLROnPlateau(None)),
        (ValueError, lambda o: lr_scheduler.StepLR(o, 0)),
        (ValueError, lambda o: lr_scheduler.StepLR(o, 3, last_epoch=4)),
        (ValueError, lambda o: lr_scheduler.LambdaLR(o, [abs, abs])),
        (ValueError, lambda o: lr_scheduler.CosineAnnealingLR(o, 0)),
        (ValueError, lambda o: lr_scheduler.OneCycleLR(o, 1.0)),
        (ValueError, lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=0)),
        (ValueError, lambda o: lr_scheduler.OneCycleLR(o, [1.0, 2.0], total_steps=5)),
        (ValueError, lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=5, pct_start=1.5)),
        (ValueError, lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=5, anneal_strategy="sine")),
        (ValueError, lambda o: lr_scheduler.OneCycleLR(optim.Adagrad(parameters()), 1.0, total_steps=5)),
        (ValueError, lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="least")),
        (ValueError, lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0)),
        (ValueError, lambda o: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="both")),
        (ValueError, lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=[0.1, 0.2])),
        (ValueError, lambda o: lr_scheduler.StepLR(o, 3).load_state_dict({"gamma": 0.1})),
    ],
)
def test_bad_schedules(error, make):
    with pytest.raises(error):
        make(optim.SGD(parameters()))


def test_one_cycle_ends():
    schedule = lr_scheduler.OneCycleLR(optim.SGD(parameters(), momentum=0.9), 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="total_steps"):
        schedule.step()
