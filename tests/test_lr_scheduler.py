"""Learning-rate schedules against PyTorch's, step by step; their states; bad options."""

import numpy as np
import pytest

import jadro
from jadro import nn, optim
from jadro.optim import lr_scheduler

RNG = np.random.default_rng(0)
SHAPES = [(3, 4), (7,), ()]
VALUES = [RNG.normal(size=shape) for shape in SHAPES]


def parameters(dtype=np.float64):
    return [nn.Parameter(v.astype(dtype)) for v in VALUES]


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
    torch = pytest.importorskip("torch")
    theirs = [torch.nn.Parameter(torch.tensor(v)) for v in VALUES]
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
