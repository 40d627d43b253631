"""Learning-rate schedules: they change the options of an optimizer's groups by PyTorch's formulas.

`step()` goes on by one epoch; one batch for OneCycleLR. Every schedule starts from the groups' `lr`, kept as
`initial_lr`, and changes the rate that it finds, so that schedules of one optimizer can be combined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .optimizer import Optimizer


class _Schedule:
    """What all schedules share: the optimizer and the state."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            came = type(optimizer).__name__
            raise TypeError(f"{type(self).__name__}: optimizer is a {came}, expected an Optimizer")
        self.optimizer = optimizer

    def _per_group(self, name: str, value: Any) -> list[Any]:
        """One value a group, from a list of them or one for all; ValueError for another count."""
        groups = len(self.optimizer.param_groups)
        if not isinstance(value, (list, tuple)):
            return [value] * groups
        if len(value) != groups:
            raise ValueError(f"{type(self).__name__}: {name} has {len(value)} values, expected {groups}, one a group")
        return list(value)

    def get_last_lr(self) -> list[float]:
        """The rates in use, one a group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands: its numbers; neither the optimizer nor functions."""
        return {name: value for name, value in vars(self).items() if name not in ("optimizer", "lr_lambdas")}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken; the rates themselves stand in the optimizer's state.

        Raises ValueError for the state of another schedule.
        """
        own = self.state_dict()
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(own):
            expected = ", ".join(own)
            raise ValueError(f"{type(self).__name__}.load_state_dict: the state does not fit, expected {expected}")
        vars(self).update(state_dict)


class LRScheduler(_Schedule):
    """Subclasses define `get_lr`: the new rate of each group at `last_epoch`. last_epoch: -1 to start, else where to
    go on."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        super().__init__(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group["initial_lr"] = group["lr"]
            elif "initial_lr" not in group:
                raise ValueError(f"{type(self).__name__}: last_epoch is {last_epoch}, but group {i} has no initial_lr")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`, from those before."""
        raise TypeError(f"{type(self).__name__}: get_lr is not defined")

    def step(self) -> None:
        """Goes on by one and sets the rates."""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr


class LambdaLR(LRScheduler):
    """lr = initial_lr lr_lambda(epoch); lr_lambda: one function, or one a group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        _Schedule.__init__(self, optimizer)
        self.lr_lambdas = self._per_group("lr_lambda", lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """lr = gamma lr every step_size epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size is {step_size}, expected at least 1")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [lr * self.gamma if due else lr for lr in self.get_last_lr()]


class MultiStepLR(LRScheduler):
    """lr = gamma lr at each epoch in `milestones`."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma ** self.milestones.count(self.last_epoch) for lr in self.get_last_lr()]


class ExponentialLR(LRScheduler):
    """lr = gamma lr every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma if self.last_epoch > 0 else lr for lr in self.get_last_lr()]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (initial_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2 (Loshchilov and Hutter 2016, without
    restarts)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max is {T_max}, expected at least 1")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [self._next(lr, base) for lr, base in zip(self.get_last_lr(), self.base_lrs, strict=True)]

    def _next(self, lr: float, base: float) -> float:
        """The rate after `lr`: the ratio of two neighbouring values of the curve, which at its lowest point is 0 /
        0."""
        t, period = self.last_epoch, self.T_max
        if t == 0:
            return lr
        if (t - 1 - period) % (2 * period) == 0:
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return ratio * (lr - self.eta_min) + self.eta_min


class OneCycleLR(LRScheduler):
    """The rate from max_lr / div_factor up to max_lr and down to max_lr / div_factor / final_div_factor (Smith and
    Topin 2017).

    A step is a batch. total_steps: or epochs and steps_per_epoch. pct_start: the share of the way up. anneal_strategy:
    "cos" or "linear". cycle_momentum: the momentum (of Adam, beta1) goes from max_momentum to base_momentum and back.
    three_phase: down to the initial rate in as many steps as up, then to the final one. max_lr, base_momentum,
    max_momentum: a number, or one a group. Raises ValueError for values out of range, and for a step beyond the last.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
        cycle_momentum: bool = True, base_momentum: Any = 0.85, max_momentum: Any = 0.95, div_factor: float = 25.0,
        final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        _Schedule.__init__(self, optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: total_steps is None, expected it, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1:
            raise ValueError(f"OneCycleLR: total_steps is {total_steps}, expected at least 1")
        if not 0.0 <= pct_start <= 1.0:
            raise ValueError(f"OneCycleLR: pct_start is {pct_start}, expected 0 to 1")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy is {anneal_strategy!r}, expected 'cos' or 'linear'")
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError("OneCycleLR: cycle_momentum is True, but the optimizer has no momentum and no betas")
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        up = float(pct_start * total_steps) - 1
        self._ends = [up, 2 * up, total_steps - 1] if three_phase else [up, total_steps - 1]
        if last_epoch == -1:
            self._plan(max_lr, base_momentum, max_momentum, div_factor, final_div_factor)
        super().__init__(optimizer, last_epoch)

    def _plan(self, max_lr: Any, base_momentum: Any, max_momentum: Any, div: float, final_div: float) -> None:
        """Writes the corners of the cycle into the groups."""
        groups = self.optimizer.param_groups
        highs = self._per_group("max_lr", max_lr)
        momenta = zip(
            self._per_group("base_momentum", base_momentum), self._per_group("max_momentum", max_momentum), strict=True
        )
        for group, high, (low_momentum, high_momentum) in zip(groups, highs, momenta, strict=True):
            group.update(lr=high / div, max_lr=high, min_lr=high / div / final_div)
            if self.cycle_momentum:
                group.update(base_momentum=low_momentum, max_momentum=high_momentum)
                self._set_momentum(group, high_momentum)

    @staticmethod
    def _set_momentum(group: dict[str, Any], momentum: float) -> None:
        if "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {self.last_epoch}, expected at most total_steps, {self.total_steps}")
        rates = []
        for group in self.optimizer.param_groups:
            corners = [group["initial_lr"], group["max_lr"], group["min_lr"]]
            if len(self._ends) == 3:
                corners.insert(2, group["initial_lr"])
            rates.append(self._between(corners))
            if self.cycle_momentum:
                low, high = group["base_momentum"], group["max_momentum"]
                self._set_momentum(group, self._between([high, low] + [high] * (len(self._ends) - 1)))
        return rates

    def _between(self, corners: list[float]) -> float:
        """The value at `last_epoch` of the curve through `corners`, reached at 0 and at each of `_ends`."""
        start = 0.0
        for i, end in enumerate(self._ends):
            if self.last_epoch <= end or i == len(self._ends) - 1:
                share = (self.last_epoch - start) / (end - start) if end > start else 1.0
                break
            start = end
        a, b = corners[i : i + 2]
        if self.anneal_strategy == "linear":
            return (b - a) * share + a
        return b + (a - b) / 2.0 * (math.cos(math.pi * share) + 1)


class ReduceLROnPlateau(_Schedule):
    """lr = factor lr, not below min_lr, when `step(metric)` has not seen a better metric for more than `patience`
    calls.

    mode: "min" or "max", what is better. threshold: by how much to count, relative to the best ("rel") or not ("abs").
    cooldown: calls to wait after a change. min_lr: a number, or one a group. eps: smaller changes are not made.
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0.0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        super().__init__(optimizer)
        call = "ReduceLROnPlateau"
        if not 0.0 <= factor < 1.0:
            raise ValueError(f"{call}: factor is {factor}, expected 0 <= factor < 1")
        if mode not in ("min", "max"):
            raise ValueError(f"{call}: mode is {mode!r}, expected 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"{call}: threshold_mode is {threshold_mode!r}, expected 'rel' or 'abs'")
        self.min_lrs = self._per_group("min_lr", min_lr)
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0

    def _is_better(self, metric: float) -> bool:
        share = self.threshold if self.mode == "max" else -self.threshold
        bound = self.best + share if self.threshold_mode == "abs" else self.best * (1.0 + share)
        return metric > bound if self.mode == "max" else metric < bound

    def step(self, metrics: Any) -> None:
        """Takes the metric of one epoch, and lowers the rates where it is time."""
        metric = float(metrics)
        self.last_epoch += 1
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
