"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..tensor import Tensor
from .optimizer import Optimizer


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2; d = g / (sqrt(v) + eps); p = p - lr d (Tieleman and Hinton 2012).

    g is the gradient, with maximize its negative, plus weight_decay p. momentum: b = momentum b + d takes the place of
    d. centered: v less the square of the running mean of g takes the place of v, which makes it an estimate of the
    variance (Graves 2013). Raises ValueError for options out of range.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        if not alpha >= 0:
            raise ValueError(f"RMSprop: alpha is {alpha}, expected at least 0")
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        arrays = {
            "square_avg": True,
            "grad_avg": group["centered"],
            "momentum_buffer": group["momentum"] > 0,
        }
        for p in params:
            self._entry(p, **{name: 0.0 for name, kept in arrays.items() if kept})["step"] += 1
        states = tuple(name if kept else "" for name, kept in arrays.items())
        options = [group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum", "maximize")]
        self._native("rmsprop_step", params, states, *options)
