"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Tensor
from .optimizer import Optimizer, decayed_gradient


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2; d = g / (sqrt(v) + eps); p = p - lr d (Tieleman and Hinton 2012).

    g is the gradient plus weight_decay p. momentum: b = momentum b + d takes the place of d. centered: v less the
    square of the running mean of g takes the place of v, which makes it an estimate of the variance (Graves 2013).
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False,
    ) -> None:  # fmt: skip
        if not alpha >= 0:
            raise ValueError(f"RMSprop: alpha is {alpha}, expected at least 0")
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        alpha, momentum, centered = group["alpha"], group["momentum"], group["centered"]
        arrays = {"momentum_buffer": 0.0} if momentum > 0 else {}
        arrays.update({"grad_avg": 0.0} if centered else {})
        for p in params:
            state = self._entry(p, square_avg=0.0, **arrays)
            state["step"] += 1
            g, v = decayed_gradient(p, group["weight_decay"]), state["square_avg"].data
            v *= alpha
            v += (1 - alpha) * (g * g)
            if centered:
                mean = state["grad_avg"].data
                mean += (1 - alpha) * (g - mean)
                v = v - mean * mean
            d = g / (np.sqrt(v) + group["eps"])
            if momentum > 0:
                b = state["momentum_buffer"].data
                b *= momentum
                b += d
                d = b
            p.data -= group["lr"] * d
