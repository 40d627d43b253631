"""The training loop: progress, validation, history, checkpoints, and resuming with the same numbers as without a
break."""

from __future__ import annotations

import copy
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from . import random
from .autograd import no_grad
from .data import Batches
from .nn.checks import integer
from .nn.module import Module
from .nn.utils import clip_grad_norm_, evaluating
from .optim import Optimizer
from .optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from .serialization import load, save
from .tensor import Tensor

OWN = ("step", "epoch", "position", "state", "history")  # of a Trainer, in its checkpoint
HISTORY = ("step", "epoch", "loss", "val_loss", "lr", "grad_norm")


class Trainer:
    """Trains a model on batches (x, target).

    model: `output = model(x)`; a model that gives a pair is recurrent, and the second is its state. On `continuous`
    batches (`text.stream_batches`) it is called as `output, state = model(x, state)`, and the state, cut from the
    graph, is carried from batch to batch; it starts as None in every epoch. Batches with document boundaries (`resets`)
    are (x, target, reset), and the model gets `reset=reset` too. Steps of `burn_in` in front of a batch run without a
    gradient, from no state, and give the state for the rest.

    loss: `loss(output, target)`, a scalar. optimizer: its parameters are those that are clipped. clip_norm: gradients
    are scaled down to this norm, all together; None does not clip. scheduler: stepped every epoch, OneCycleLR every
    batch, ReduceLROnPlateau with every record's validation loss (where there is none, training loss). scheduler_every:
    "step" or "epoch", to say otherwise. checkpoint: a path. Every record is saved there, and `fit` goes on from the
    file where there is one. log: called after every step with {"step", "epoch", "loss", "lr", "grad_norm", "rate"}
    (rate: target elements a second); a string that it returns is shown in the progress bar. Called after every record,
    too, with that record, which is known by its "val_loss".

    `history` has a list a name, with an entry a record: "step" and "epoch" (how many are done), "loss" (mean over the
    targets since the last record), "val_loss" (None without validation), "lr" (of the last step), "grad_norm" (mean,
    before clipping).
    """

    def __init__(
        self, model: Module, loss: Callable[[Any, Any], Tensor], optimizer: Optimizer, *,
        clip_norm: float | None = None, scheduler: Any = None, scheduler_every: str | None = None,
        checkpoint: str | os.PathLike[str] | None = None, log: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:  # fmt: skip
        for name, value, kind in (("model", model, Module), ("optimizer", optimizer, Optimizer)):
            if not isinstance(value, kind):
                raise TypeError(f"Trainer: {name} is a {type(value).__name__}, expected a {kind.__name__}")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"Trainer: clip_norm is {clip_norm}, expected a positive number or None")
        if scheduler_every not in (None, "step", "epoch"):
            raise ValueError(f"Trainer: scheduler_every is {scheduler_every!r}, expected 'step', 'epoch' or None")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.clip_norm, self.scheduler, self.log = clip_norm, scheduler, log
        self.scheduler_every = scheduler_every or ("step" if isinstance(scheduler, OneCycleLR) else "epoch")
        if isinstance(scheduler, ReduceLROnPlateau):
            self.scheduler_every = "record"
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.history: dict[str, list[Any]] = {name: [] for name in HISTORY}
        self.step = self.epoch = self.position = 0  # done: steps, epochs, batches of the epoch at hand
        self.state: Any = None  # the recurrent state that the next batch starts from
        self._steps: list[tuple[float, float, float, int]] = []  # (lr, loss, norm, targets) since the last record

    # --- the loop -----------------------------------------------------------------------------------------------------
    def fit(
        self, batches: Iterable[Any], epochs: int, validate: Iterable[Any] | None = None, *, every: int | None = None,
        steps: int | None = None, minutes: float | None = None, resume: bool = True, progress: bool = True,
    ) -> dict[str, list[Any]]:  # fmt: skip
        """Trains until `epochs` epochs are done, counted from the very first call, and returns the history.

        batches: pairs (x, target), gone through once an epoch. DataLoader and stream_batches keep their place in the
        checkpoint; of anything else, the batches that were done are skipped when resuming. validate: batches whose
        mean loss is taken at every record. every: steps between records; None makes one at the end of each epoch;
        there is always one at the end. steps, minutes: stop when so many steps are done, counted as the epochs, or
        when this call has taken so long. resume: go on from the checkpoint where there is one; False starts over, and
        the first record replaces it. progress: whether a bar is shown.

        Raises ValueError where the checkpoint does not fit, where there are no batches, and where a loss or a gradient
        is not finite: the weights are then as before that step, and the checkpoint is the last good one. After an
        interrupt it is, too.
        """
        for name, count in (("epochs", epochs), ("every", every), ("steps", steps)):
            if count is not None:
                integer("fit", name, count)
        if minutes is not None and not minutes > 0:
            raise ValueError(f"fit: minutes is {minutes}, expected a positive number")
        if self.checkpoint is not None:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            if resume and self.step == 0 and self.checkpoint.exists():
                self.load_checkpoint(batches)
        limit = math.inf if steps is None else steps
        with _Progress(self, batches, epochs, limit, minutes, progress) as bar:
            while self.epoch < epochs and self.step < limit and not bar.out_of_time:
                self._epoch(batches, validate, every, limit, bar)
            if self._steps:
                self._record(batches, validate)
        return self.history

    def _epoch(
        self, batches: Iterable[Any], validate: Iterable[Any] | None, every: int | None, limit: float, bar: _Progress
    ) -> None:
        """The rest of an epoch, or as much of it as the limits allow."""
        self.model.train()
        for batch in self._rest(batches):
            bar.show(self._train(batch, batches), self._steps[-1][-1])
            if every is not None and self.step % every == 0:
                with bar.paused():
                    self._record(batches, validate)
            if self.step >= limit or bar.out_of_time:
                return
        if self.position == 0:
            raise ValueError("fit: there are no batches, expected an iterable that can be gone through once an epoch")
        self.epoch, self.position, self.state = self.epoch + 1, 0, None
        if self.scheduler is not None and self.scheduler_every == "epoch":
            self.scheduler.step()
        if every is None:
            with bar.paused():
                self._record(batches, validate)

    def _rest(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches of the epoch at hand that are still to do."""
        if not isinstance(batches, Batches):
            return itertools.islice(batches, self.position, None)
        if self.position > 0:
            batches.resume(self.position)
        return iter(batches)

    def _train(self, batch: Any, batches: Any) -> dict[str, Any]:
        """One step; what it was like."""
        lr = self.optimizer.param_groups[0]["lr"]
        target, output, state = self._run(batch, batches, self.state)
        loss = self._loss(output, target)
        value = self._finite("loss", loss)
        self.optimizer.zero_grad()
        loss.backward()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = clip_grad_norm_(parameters, math.inf if self.clip_norm is None else self.clip_norm)
        step = (lr, value, self._finite("norm of the gradients", norm), math.prod(np.shape(target)))
        self.optimizer.step()
        if self.scheduler is not None and self.scheduler_every == "step":
            self.scheduler.step()
        self._steps.append(step)
        self.step, self.position, self.state = self.step + 1, self.position + 1, _detached(state)
        return {"step": self.step, "epoch": self.epoch, "loss": value, "lr": lr, "grad_norm": step[2]}

    def _run(self, batch: Any, batches: Any, state: Any) -> tuple[Any, Any, Any]:
        """(target, output, state) of a batch of `batches`."""
        resets, burn_in = getattr(batches, "resets", False), getattr(batches, "burn_in", 0)
        expected = "(x, target, reset)" if resets else "a pair (x, target)"
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 + resets:
            raise ValueError(f"fit: a batch is a {type(batch).__name__}, expected {expected}")
        device = next((p.device for p in self.model.parameters()), "cpu")
        x, target, *rest = (part.to(device) if isinstance(part, Tensor) else part for part in batch)
        options = {"reset": rest[0]} if resets else {}
        states = [state] if getattr(batches, "continuous", False) else []
        if burn_in:
            with no_grad():
                _, state = self.model(x[:burn_in], **{name: part[:burn_in] for name, part in options.items()})
            states, x = [state], x[burn_in:]
            options = {name: part[burn_in:] for name, part in options.items()}
        result = self.model(x, *states, **options)
        if isinstance(result, tuple):
            if len(result) != 2:
                raise ValueError(f"fit: the model gives {len(result)} results, expected an output, or output and state")
            return target, result[0], result[1]
        return target, result, None

    def _loss(self, output: Any, target: Any) -> Tensor:
        loss = self.loss(output, target)
        if loss.numel() != 1:
            raise ValueError(f"fit: the loss has shape {loss.shape}, expected one number")
        return loss

    def _finite(self, what: str, number: Tensor) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(
                f"fit: the {what} is {value} at step {self.step + 1}, in epoch {self.epoch + 1}; the weights are as "
                "before that step. A lower learning rate or clip_norm may help"
            )
        return value

    def evaluate(self, batches: Iterable[Any]) -> float:
        """The mean loss over the targets of all batches, in evaluation mode and without gradients. ValueError where
        there are none. DataLoader and stream_batches give those of epoch 0 and keep their place."""
        total, count, state = 0.0, 0, None
        source = batches
        if isinstance(batches, Batches):
            source = (batches.batch(0, i) for i in range(len(batches)))
        with evaluating(self.model), no_grad():
            for batch in source:
                target, output, state = self._run(batch, batches, state)
                size = math.prod(np.shape(target))
                total += float(self._loss(output, target)) * size
                count += size
        if count == 0:
            raise ValueError("evaluate: there are no batches, expected an iterable that can be gone through every time")
        return total / count

    # --- records and checkpoints --------------------------------------------------------------------------------------
    def _record(self, batches: Iterable[Any], validate: Iterable[Any] | None) -> None:
        """Validates, adds an entry to the history, logs it, saves the checkpoint."""
        rates, losses, norms, sizes = zip(*self._steps, strict=True)
        entry = {
            "step": self.step,
            "epoch": self.epoch,
            "loss": float(np.average(losses, weights=sizes)),
            "val_loss": None if validate is None else self.evaluate(validate),
            "lr": rates[-1],
            "grad_norm": float(np.mean(norms)),
        }
        self._steps.clear()
        for name, value in entry.items():
            self.history[name].append(value)
        if self.scheduler is not None and self.scheduler_every == "record":
            self.scheduler.step(entry["loss"] if validate is None else entry["val_loss"])
        if self.log is not None:
            self.log(entry)
        if self.checkpoint is not None:
            self.save_checkpoint(batches)

    def _parts(self, batches: Any) -> dict[str, Any]:
        """What has a state of its own."""
        parts = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        parts["batches"] = batches if isinstance(batches, Batches) else None
        return parts

    def save_checkpoint(self, batches: Any = None) -> None:
        """Saves all that decides how training goes on: model, optimizer, scheduler, the place in `batches`, the random
        state."""
        if self.checkpoint is None:
            raise ValueError("save_checkpoint: the Trainer has no checkpoint, expected a path")
        states = {name: None if part is None else part.state_dict() for name, part in self._parts(batches).items()}
        save(
            {"trainer": {name: getattr(self, name) for name in OWN}, "random": random.get_state(), **states},
            self.checkpoint,
        )

    def load_checkpoint(self, batches: Any = None) -> None:
        """Goes on where the checkpoint was saved. ValueError where it is no checkpoint of such a Trainer; nothing has
        changed then."""
        if self.checkpoint is None:
            raise ValueError("load_checkpoint: the Trainer has no checkpoint, expected a path")
        found, parts = load(self.checkpoint), self._parts(batches)
        known = isinstance(found, dict) and set(found) == {"trainer", "random", *parts}
        if not known or not isinstance(found["trainer"], dict) or set(found["trainer"]) != set(OWN):
            raise ValueError(f"load_checkpoint: '{self.checkpoint}' is no checkpoint of a Trainer")
        for name, part in parts.items():
            if (part is None) != (found[name] is None):
                has, wants = ("one", "none") if part is None else ("none", "one")
                raise ValueError(f"load_checkpoint: '{self.checkpoint}' has {has} of {name}, expected {wants}")
        present = {name: part for name, part in parts.items() if part is not None}
        before = {name: copy.deepcopy(part.state_dict()) for name, part in present.items()}
        try:
            for name, part in present.items():
                part.load_state_dict(found[name])
        except (ValueError, TypeError) as error:
            for name, part in present.items():
                part.load_state_dict(before[name])
            raise ValueError(f"load_checkpoint: '{self.checkpoint}' does not fit: {error}") from error
        vars(self).update(found["trainer"])
        random.set_state(found["random"])
        self._steps.clear()


def _detached(state: Any) -> Any:
    """A recurrent state, a Tensor or a nest of them, cut from the graph."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, (tuple, list)):
        return type(state)(_detached(part) for part in state)
    return state


class _Progress:
    """The bar, and the clock behind it. It counts steps, or with a limit on the minutes, seconds."""

    def __init__(
        self, trainer: Trainer, batches: Any, epochs: int, limit: float, minutes: float | None, shown: bool
    ) -> None:
        self.trainer, self.shown = trainer, shown
        self.seconds = math.inf if minutes is None else 60 * minutes
        self.targets, self.pauses = 0, 0.0
        left = math.inf
        with suppress(TypeError):  # where batches has no length
            left = (epochs - trainer.epoch) * len(batches) - trainer.position
        self.left = min(left, limit - trainer.step)

    def __enter__(self) -> _Progress:
        from tqdm import tqdm  # type: ignore[import-untyped]

        options: dict[str, Any] = {"total": None if self.left == math.inf else int(self.left), "unit": "step"}
        if self.seconds < math.inf:
            options = {
                "total": round(self.seconds),
                "bar_format": "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            }
        self.bar = tqdm(disable=not self.shown, dynamic_ncols=True, **options)
        self.start = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    @property
    def out_of_time(self) -> bool:
        return self.elapsed >= self.seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that does not count for the rate."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.pauses += time.monotonic() - start

    def show(self, entry: dict[str, Any], targets: int) -> None:
        """Moves the bar by the step of `entry`, which had so many targets, and logs it."""
        self.targets += targets
        entry["rate"] = self.targets / max(self.elapsed - self.pauses, 1e-9)
        text = None if self.trainer.log is None else self.trainer.log(entry)
        if not isinstance(text, str):
            text = f"loss {entry['loss']:.4f}, norm {entry['grad_norm']:.2f}, {entry['rate']:,.0f}/s"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(min(self.elapsed, self.seconds) - self.bar.n if self.seconds < math.inf else 1)
