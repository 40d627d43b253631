"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..tensor import Tensor
from .optimizer import Optimizer


class Adagrad(Optimizer):
    """s = s + g^2; p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps) (Duchi et al. 2011).

    g is the gradient, with maximize its negative, plus weight_decay p, t counts steps from 1, s starts at
    initial_accumulator_value. Raises ValueError for options out of range.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        alike: dict[int, list[Tensor]] = {}
        for p in params:
            state = self._entry(p, sum=group["initial_accumulator_value"])
            alike.setdefault(state["step"], []).append(p)
            state["step"] += 1
        for done, members in alike.items():
            lr = group["lr"] / (1 + done * group["lr_decay"])
            options = (lr, group["eps"], group["weight_decay"], group["maximize"])
            self._native("adagrad_step", members, ("sum",), *options)
