"""The training loop: what it computes, what it records, and that it goes on exactly where it stopped."""

import math
import os

import numpy as np
import pytest

import jadro
from jadro import nn, optim
from jadro.data import DataLoader, TensorDataset
from jadro.nn import functional as F
from jadro.optim import lr_scheduler
from jadro.text import Vocabulary, stream_batches
from jadro.train import Trainer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]]) + 0.1).astype(np.float32)
IDS = Vocabulary("abcde").encode("abcdeabcdabcab" * 20)
QUIET = {"progress": False}


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, x):
        return self.net(x)


class Writer(nn.Module):
    def __init__(self, kind="LSTM"):
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(5, 4), getattr(nn, kind)(4, 6, 2, dropout=0.2)
        self.out = nn.Linear(6, 5)
        self.states = []

    def forward(self, ids, state=None):
        self.states.append(state)
        y, state = self.rnn(self.embedding(ids), state)
        return self.out(y), state


def text_loss(scores, target):
    return F.cross_entropy(scores.reshape(-1, 5), target.reshape(-1))


def dense(tmp_path=None, seed=1, schedule=None, **options):
    jadro.manual_seed(seed)
    model = Dense()
    optimizer = optim.Adam(model.parameters(), 0.05)
    if schedule is not None:
        options["scheduler"] = schedule(optimizer)
    path = None if tmp_path is None else tmp_path / "checkpoint"
    trainer = Trainer(model, F.mse_loss, optimizer, clip_norm=1.0, checkpoint=path, **options)
    return trainer, DataLoader(TensorDataset(X, Y), 4, shuffle=True, seed=seed)


def writer(tmp_path=None, seed=1, kind="LSTM", **options):
    jadro.manual_seed(seed)
    model = Writer(kind)
    path = None if tmp_path is None else tmp_path / "checkpoint"
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return Trainer(model, text_loss, optimizer, checkpoint=path, **options), stream_batches(IDS, 3, 10)


def weights(trainer):
    return {name: t.numpy().copy() for name, t in trainer.model.state_dict().items()}


def assert_same(a, b):
    assert a.history == b.history
    assert (a.step, a.epoch, a.position) == (b.step, b.epoch, b.position)
    assert a.optimizer.param_groups[0]["lr"] == b.optimizer.param_groups[0]["lr"]
    ours, theirs = weights(a), weights(b)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


# --- what is computed -------------------------------------------------------------------------------------------------
def test_the_steps_are_those_of_a_loop_by_hand():
    trainer, loader = dense()
    losses = []
    trainer.log = lambda entry: losses.append(entry["loss"]) if "val_loss" not in entry else None
    history = trainer.fit(loader, 2, **QUIET)

    other, loader = dense()
    by_hand, norms = [], []
    for _ in range(2):
        for x, y in loader:
            loss = F.mse_loss(other.model(x), y)
            other.optimizer.zero_grad()
            loss.backward()
            norms.append(float(nn.utils.clip_grad_norm_(other.model.parameters(), 1.0)))
            other.optimizer.step()
            by_hand.append(float(loss))
    assert losses == by_hand
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, weights(other)[name])
    sizes = [4, 4, 4, 4, 4, 2]
    assert history["loss"] == [np.average(by_hand[i : i + 6], weights=sizes) for i in (0, 6)]
    np.testing.assert_allclose(history["grad_norm"], [np.mean(norms[:6]), np.mean(norms[6:])], rtol=1e-12)
    assert history["step"] == [6, 12]
    assert history["epoch"] == [1, 2]
    assert history["lr"] == [0.05, 0.05]
    assert history["val_loss"] == [None, None]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_state_is_carried_without_its_graph(kind):
    trainer, batches = writer(kind=kind)
    trainer.fit(batches, 2, **QUIET)
    states = trainer.model.states
    assert len(states) == 2 * len(batches)
    for i, state in enumerate(states):
        if i % len(batches) == 0:
            assert state is None
            continue
        parts = state if kind == "LSTM" else (state,)
        assert all(s.shape == (2, 3, 6) and not s.requires_grad and (s.numpy() != 0).any() for s in parts)


def test_the_state_is_left_where_batches_do_not_continue():
    trainer, batches = writer()
    trainer.fit(list(batches), 1, **QUIET)
    assert trainer.model.states == [None] * len(batches)


def test_validation_is_in_evaluation_mode_and_leaves_no_trace():
    trainer, loader = dense()
    trainer.model.net[3].eval()
    before = weights(trainer)
    state, random = loader.state_dict(), jadro.random.get_state()
    value = trainer.evaluate(loader)
    assert [m.training for m in trainer.model.net] == [True, True, True, False, True]
    assert (loader.state_dict(), jadro.random.get_state()) == (state, random)
    for name, array in weights(trainer).items():
        np.testing.assert_array_equal(array, before[name])
    expected = float(F.mse_loss(trainer.model.eval()(X), Y))
    assert value == pytest.approx(expected, rel=1e-5)


def test_validation_carries_the_state():
    trainer, batches = writer()
    value = trainer.evaluate(batches)
    trainer.model.eval()
    state, losses = None, []
    for x, y in batches:
        scores, state = trainer.model(x, state)
        losses.append(float(text_loss(scores, y)))
    assert value == pytest.approx(np.mean(losses), rel=1e-12)
    trainer.fit(batches, 1, validate=batches, **QUIET)
    assert len(trainer.history["val_loss"]) == 1


def test_training_learns():
    trainer, loader = dense()
    history = trainer.fit(loader, 30, validate=loader, **QUIET)
    assert history["val_loss"][-1] < 0.2 * history["val_loss"][0]


# --- records ----------------------------------------------------------------------------------------------------------
def test_records_every_so_many_steps():
    trainer, loader = dense()
    history = trainer.fit(loader, 3, validate=[(X, Y)], every=4, **QUIET)
    assert history["step"] == [4, 8, 12, 16, 18]
    assert history["epoch"] == [0, 1, 1, 2, 3]
    assert all(len(values) == 5 for values in history.values())
    assert all(isinstance(v, float) for v in history["val_loss"])


def test_limits():
    trainer, loader = dense()
    assert trainer.fit(loader, 100, steps=8, **QUIET)["step"] == [6, 8]
    assert trainer.fit(loader, 2, **QUIET)["step"] == [6, 8, 12]
    assert trainer.fit(loader, 2, **QUIET)["step"] == [6, 8, 12]
    trainer, loader = dense()
    trainer.fit(loader, 10**9, minutes=0.005, **QUIET)
    assert 1 <= trainer.step < 10**5


def test_stopping_and_going_on_is_one_run():
    straight, loader = dense()
    straight.fit(loader, 3, every=5, **QUIET)
    parts, loader = dense()
    for steps in (5, 10, 15):
        parts.fit(loader, 3, every=5, steps=steps, **QUIET)
    parts.fit(loader, 3, every=5, **QUIET)
    assert_same(parts, straight)


def test_the_log_sees_steps_and_records():
    entries = []
    trainer, loader = dense(log=entries.append)
    trainer.fit(loader, 1, validate=loader, **QUIET)
    assert [e["step"] for e in entries] == [1, 2, 3, 4, 5, 6, 6]
    assert all(set(e) == {"step", "epoch", "loss", "lr", "grad_norm", "rate"} for e in entries[:-1])
    assert all(e["rate"] > 0 for e in entries[:-1])
    assert entries[-1] == {name: values[-1] for name, values in trainer.history.items()}


def test_the_bar_shows_loss_and_speed(capsys):
    trainer, loader = dense()
    trainer.fit(loader, 1)
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "loss" in shown
    assert "step/s" in shown
    trainer, loader = dense(log=lambda entry: f"at step {entry['step']}")
    trainer.fit(loader, 1, minutes=1.0)
    shown = capsys.readouterr().err
    assert "at step 6" in shown
    trainer, loader = dense()
    trainer.fit(loader, 1, **QUIET)
    assert capsys.readouterr().err == ""


# --- schedules --------------------------------------------------------------------------------------------------------
def rates(schedule, epochs=2, **options):
    seen = []
    trainer, loader = dense(schedule=schedule, log=lambda e: seen.append(e["lr"]) if "rate" in e else None, **options)
    history = trainer.fit(loader, epochs, validate=loader, **QUIET)
    assert history["lr"] == seen[5::6]
    return seen


def test_schedules_step_in_their_own_time():
    assert rates(lambda o: lr_scheduler.ExponentialLR(o, 0.5)) == [0.05] * 6 + [0.025] * 6
    by_step = rates(lambda o: lr_scheduler.ExponentialLR(o, 0.5), scheduler_every="step")
    np.testing.assert_allclose(by_step, 0.05 * 0.5 ** np.arange(12))
    cycle = rates(lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=12))
    assert len(set(cycle)) == 12
    assert max(cycle) == pytest.approx(0.1, rel=0.02)
    plateau = rates(lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max", patience=0, factor=0.5), epochs=3)
    assert plateau == [0.05] * 12 + [0.025] * 6  # the first record is the best so far, the second, being less, is not


# --- checkpoints ------------------------------------------------------------------------------------------------------
class Stop(Exception):
    pass


def stop_at(step):
    def log(entry):
        if entry["step"] == step and "rate" in entry:
            raise Stop

    return log


SCHEDULES = {
    "none": None,
    "step": lambda o: lr_scheduler.StepLR(o, 1, 0.5),
    "cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=24),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("every", [None, 1, 4, 6])
@pytest.mark.parametrize("stop", [1, 7, 12, 13, 24])
def test_resuming_gives_the_numbers_of_an_uninterrupted_run(tmp_path, schedule, every, stop):
    """Dropout, batch norm, shuffling, Adam, a schedule and validation; killed in the middle, gone on with elsewhere."""
    validation = DataLoader(TensorDataset(X, Y), 5, shuffle=True, seed=3)
    straight, loader = dense(schedule=schedule)
    straight.fit(loader, 4, validate=validation, every=every, **QUIET)

    killed, loader = dense(tmp_path, schedule=schedule, log=stop_at(stop))
    with pytest.raises(Stop):
        killed.fit(loader, 4, validate=validation, every=every, **QUIET)
    resumed, loader = dense(tmp_path, seed=99, schedule=schedule)
    if not resumed.checkpoint.exists():  # killed before the first record
        resumed, loader = dense(tmp_path, schedule=schedule)
    resumed.fit(loader, 4, validate=validation, every=every, **QUIET)
    assert_same(resumed, straight)


@pytest.mark.parametrize("stop", [5, 9, 13])
@pytest.mark.parametrize("plain", [False, True], ids=["stream", "list"])
def test_resuming_carries_the_recurrent_state(tmp_path, plain, stop):
    def pairs(batches):
        return list(batches) if plain else batches

    straight, batches = writer()
    straight.fit(pairs(batches), 2, every=4, **QUIET)
    killed, batches = writer(tmp_path, log=stop_at(stop))
    with pytest.raises(Stop):
        killed.fit(pairs(batches), 2, every=4, **QUIET)
    resumed, batches = writer(tmp_path, seed=99)
    resumed.fit(pairs(batches), 2, every=4, **QUIET)
    assert_same(resumed, straight)
    if not plain:
        assert resumed.model.states[0] is not None


def test_a_finished_run_stays_finished_and_can_be_made_longer(tmp_path):
    first, loader = dense(tmp_path)
    first.fit(loader, 2, **QUIET)
    again, loader = dense(tmp_path, seed=9)
    again.fit(loader, 2, **QUIET)
    assert_same(again, first)
    again.fit(loader, 3, **QUIET)
    straight, loader = dense()
    straight.fit(loader, 3, **QUIET)
    assert_same(again, straight)


def test_the_folder_of_the_checkpoint_is_made(tmp_path):
    trainer, loader = dense(tmp_path / "a" / "b")
    trainer.fit(loader, 1, **QUIET)
    assert os.listdir(tmp_path / "a" / "b") == ["checkpoint"]


def test_starting_over(tmp_path):
    first, loader = dense(tmp_path)
    first.fit(loader, 2, **QUIET)
    again, loader = dense(tmp_path)
    again.fit(loader, 1, resume=False, **QUIET)
    assert again.step == 6
    third, loader = dense(tmp_path, seed=9)
    third.fit(loader, 1, **QUIET)
    assert_same(third, again)


def test_an_interrupt_keeps_the_last_good_checkpoint(tmp_path):
    class Interrupted(Dense):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 9:
                raise KeyboardInterrupt
            return super().forward(x)

    trainer, loader = dense(tmp_path)
    jadro.manual_seed(1)
    trainer.model = Interrupted()
    trainer.optimizer = optim.Adam(trainer.model.parameters(), 0.05)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, 4)
    assert os.listdir(tmp_path) == ["checkpoint"]
    resumed, loader = dense(tmp_path, seed=7)
    resumed.fit(loader, 4, **QUIET)
    straight, loader = dense()
    straight.fit(loader, 4, **QUIET)
    assert_same(resumed, straight)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "norm of the gradients"])
def test_a_number_that_is_not_finite_stops_before_it_spreads(tmp_path, where, bad):
    def loss(output, target):
        value = F.mse_loss(output, target)
        if trainer.step < 8:
            return value
        if where == "loss":
            return value * bad
        huge = jadro.sqrt(jadro.sum(output - output.detach()) ** 2)  # 0, with the gradient 0 / 0
        return value + huge

    trainer, loader = dense(tmp_path)
    trainer.loss = loss
    with pytest.raises(ValueError, match=rf"fit: the {where} is (nan|inf) at step 9, in epoch 2"):
        trainer.fit(loader, 4, **QUIET)
    assert trainer.step == 8
    assert all(np.isfinite(p.numpy()).all() for p in trainer.model.parameters())
    resumed, loader = dense(tmp_path, seed=5)
    resumed.load_checkpoint(loader)
    assert resumed.step == 6


def damaged(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "foreign":
        path.write_bytes(b"something else entirely")
    elif how == "other content":
        jadro.save({"model": {}}, path)
    elif how == "other numbers":
        content = jadro.load(path)
        content["trainer"]["loss"] = 1
        jadro.save(content, path)


@pytest.mark.parametrize("how", ["cut", "foreign", "other content", "other numbers"])
def test_a_damaged_checkpoint_is_an_error_and_changes_nothing(tmp_path, how):
    trainer, loader = dense(tmp_path)
    trainer.fit(loader, 1, **QUIET)
    damaged(trainer.checkpoint, how)
    other, loader = dense(tmp_path, seed=2)
    before = weights(other)
    with pytest.raises(ValueError, match="checkpoint"):
        other.fit(loader, 2, **QUIET)
    assert other.step == 0
    for name, array in weights(other).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_checkpoint_of_something_else_changes_nothing(tmp_path):
    trainer, loader = dense(tmp_path)
    trainer.fit(loader, 1, **QUIET)
    changes = {
        "model": lambda t: setattr(t, "model", nn.Linear(3, 1)),
        "optimizer": lambda t: t.optimizer.add_param_group({"params": [nn.Parameter(np.ones(2))]}),
        "scheduler": lambda t: setattr(t, "scheduler", lr_scheduler.StepLR(t.optimizer, 1)),
    }
    for change in changes.values():
        other, loader = dense(tmp_path, seed=2)
        change(other)
        before, random = weights(other), jadro.random.get_state()
        with pytest.raises(ValueError, match="load_checkpoint: "):
            other.fit(loader, 2, **QUIET)
        for name, array in weights(other).items():
            np.testing.assert_array_equal(array, before[name])
        assert not other.optimizer.state
        assert (other.step, jadro.random.get_state()) == (0, random)
    other, _ = dense(tmp_path, seed=2)
    with pytest.raises(ValueError, match="batches"):
        other.fit(DataLoader(TensorDataset(X, Y), 5), 2, **QUIET)
    with pytest.raises(ValueError, match="batches"):
        other.fit([(X, Y)], 2, **QUIET)


# --- bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (TypeError, "model", {"model": abs}),
        (TypeError, "optimizer", {"optimizer": None}),
        (ValueError, "clip_norm is 0", {"clip_norm": 0}),
        (ValueError, "clip_norm is nan", {"clip_norm": math.nan}),
        (ValueError, "scheduler_every", {"scheduler_every": "minute"}),
    ],
)
def test_bad_trainers(error, words, options):
    model = Dense()
    given = {"model": model, "loss": F.mse_loss, "optimizer": optim.SGD(model.parameters()), **options}
    with pytest.raises(error, match=f"Trainer: {words}"):
        Trainer(**given)


@pytest.mark.parametrize(
    ("error", "words", "batches", "options"),
    [
        (ValueError, "epochs is 0", [(X, Y)], {"epochs": 0}),
        (TypeError, "epochs is 1.5", [(X, Y)], {"epochs": 1.5}),
        (ValueError, "every is -1", [(X, Y)], {"every": -1}),
        (ValueError, "minutes is 0", [(X, Y)], {"minutes": 0}),
        (ValueError, "there are no batches", [], {}),
        (ValueError, "there are no batches", iter([(X, Y)]), {}),
        (ValueError, "there are no batches", [(X, Y)], {"validate": []}),
        (ValueError, "a batch is a ndarray", [X], {}),
        (ValueError, "expected a pair", [(X, Y, Y)], {}),
    ],
)
def test_bad_fits(error, words, batches, options):
    trainer, _ = dense()
    with pytest.raises(error, match=words):
        trainer.fit(batches, **{"epochs": 2, **QUIET, **options})


def test_bad_results():
    trainer, loader = dense()
    trainer.loss = lambda output, target: output - target
    with pytest.raises(ValueError, match=r"the loss has shape \(4, 1\)"):
        trainer.fit(loader, 1, **QUIET)
    trainer, loader = dense()
    trainer.model.forward = lambda x: (x, x, x)
    with pytest.raises(ValueError, match="the model gives 3 results"):
        trainer.fit(loader, 1, **QUIET)


def test_a_trainer_without_a_checkpoint():
    trainer, _ = dense()
    for call in (trainer.save_checkpoint, trainer.load_checkpoint):
        with pytest.raises(ValueError, match="has no checkpoint"):
            call()
