"""Adam and AdamW: one native call for all parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from .. import backend
from ..tensor import Tensor
from .optimizer import Optimizer


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = p - lr m' / (sqrt(v') + eps) (Kingma and Ba 2014).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) undo that m and v start at 0; betas = (b1, b2); g is the gradient plus
    weight_decay p. Raises ValueError for options out of range.
    """

    _decoupled: ClassVar[bool] = False

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check_options(self, options: Mapping[str, Any]) -> None:
        super()._check_options(options)
        betas = options["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas is {betas}, expected two numbers 0 <= beta < 1")

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        alike: dict[tuple[Any, ...], list[Tensor]] = {}
        for p in params:
            state = self._entry(p, exp_avg=0.0, exp_avg_sq=0.0)
            state["step"] += 1
            alike.setdefault((state["step"], p.device, p.dtype), []).append(p)
        for (step, _, _), members in alike.items():
            self._run(group, step, members)

    def _run(self, group: dict[str, Any], step: int, params: list[Tensor]) -> None:
        """One native call for parameters of one step count, device and dtype."""
        values = [backend.contiguous(p.data) for p in params]
        grads = [backend.contiguous(p.grad.data) for p in params if p.grad is not None]
        m, v = ([self.state[p][name].data for p in params] for name in ("exp_avg", "exp_avg_sq"))
        options = (group["lr"], *group["betas"], group["eps"], group["weight_decay"], self._decoupled, step)
        backend.kernel(values[0], "adam_step")(values, grads, m, v, *options)
        for p, value in zip(params, values, strict=True):
            if value is not p.data:
                p.data[...] = value


class AdamW(Adam):
    """Adam with the weight decay apart from the gradient: p = p - lr weight_decay p comes first (Loshchilov and Hutter
    2017)."""

    _decoupled = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)
