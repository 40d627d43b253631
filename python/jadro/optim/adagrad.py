"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Tensor
from .optimizer import Optimizer, decayed_gradient


class Adagrad(Optimizer):
    """s = s + g^2; p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps) (Duchi et al. 2011).

    g is the gradient plus weight_decay p, t counts steps from 1, s starts at initial_accumulator_value.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10,
    ) -> None:  # fmt: skip
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            state = self._entry(p, sum=group["initial_accumulator_value"])
            g, s = decayed_gradient(p, group["weight_decay"]), state["sum"].data
            lr = group["lr"] / (1 + state["step"] * group["lr_decay"])
            state["step"] += 1
            s += g * g
            p.data -= lr * g / (np.sqrt(s) + group["eps"])
