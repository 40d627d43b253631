"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ..tensor import Tensor
from .optimizer import Optimizer


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = p - lr m' / (sqrt(v') + eps) (Kingma and Ba 2014).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) undo that m and v start at 0; betas = (b1, b2); g is the gradient, with
    maximize its negative, plus weight_decay p. amsgrad: the largest v so far takes the place of v (Reddi et al. 2018).
    Raises ValueError for options out of range.
    """

    _decoupled: ClassVar[bool] = False

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        betas = options["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas is {betas}, expected two numbers 0 <= beta < 1")

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        alike: dict[int, list[Tensor]] = {}
        states = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else "")
        for p in params:
            state = self._entry(p, **{name: 0.0 for name in states if name})
            state["step"] += 1
            alike.setdefault(state["step"], []).append(p)
        for step, members in alike.items():
            options = (group["lr"], *group["betas"], group["eps"], group["weight_decay"], self._decoupled, step)
            self._native("adam_step", members, states, *options, group["maximize"])


class AdamW(Adam):
    """Adam with the weight decay apart from the gradient: p = p - lr weight_decay p comes first (Loshchilov and Hutter
    2017)."""

    _decoupled = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
