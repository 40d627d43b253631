"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..ops.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Optimizer


class SGD(Optimizer):
    """b = momentum b + (1 - dampening) g, b = g in the first step; p = p - lr b, with nesterov p - lr (g + momentum b).

    g is the gradient, with maximize its negative, plus weight_decay p. Raises ValueError for options out of range, and
    for nesterov without momentum or with dampening.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        momentum, dampening = options["momentum"], options["dampening"]
        if options["nesterov"] and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"SGD: momentum is {momentum} and dampening {dampening}, expected > 0 and 0: nesterov is True"
            )

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        options = (group["weight_decay"], group["nesterov"], group["maximize"])
        lr, momentum, dampening = group["lr"], group["momentum"], group["dampening"]
        if momentum == 0:
            return self._native("sgd_step", params, ("",), lr, 0.0, 0.0, *options)
        first, later = [], []
        for p in params:
            state = self.state.setdefault(p, {})
            if state.get("momentum_buffer") is None:  # as None in PyTorch's states
                state["momentum_buffer"] = zeros_like(p)
                first.append(p)
            else:
                later.append(p)
        # b = g in the first step, whatever the dampening: b starts at 0
        self._native("sgd_step", first, ("momentum_buffer",), lr, momentum, 0.0, *options)
        self._native("sgd_step", later, ("momentum_buffer",), lr, momentum, dampening, *options)
