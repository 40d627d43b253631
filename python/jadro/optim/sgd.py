"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..tensor import Tensor, tensor
from .optimizer import Optimizer, decayed_gradient


class SGD(Optimizer):
    """b = momentum b + (1 - dampening) g, b = g in the first step; p = p - lr b, with nesterov p - lr (g + momentum b).

    g is the gradient plus weight_decay p. Raises ValueError for options out of range, and for nesterov without
    momentum or with dampening.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False,
    ) -> None:  # fmt: skip
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
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
        momentum = group["momentum"]
        for p in params:
            g = decayed_gradient(p, group["weight_decay"])
            if momentum != 0:
                state = self.state.setdefault(p, {})
                if state.get("momentum_buffer") is None:  # as None in PyTorch's states
                    state["momentum_buffer"] = tensor(g)
                    b = state["momentum_buffer"].data
                else:
                    b = state["momentum_buffer"].data
                    b *= momentum
                    b += (1 - group["dampening"]) * g
                g = g + momentum * b if group["nesterov"] else b
            p.data -= group["lr"] * g
