"""Pointwise functions: bound by memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class Activation(Case):
    """function(x), x of any shape."""

    function: str  # its name in jadro.nn.functional
    shape: tuple[int, ...]

    group: ClassVar[str] = "activation"
    op: ClassVar[str] = "activation"

    @property
    def label(self) -> str:
        return f"{self.function} {'x'.join(map(str, self.shape))}"

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        return (5 if self.train else 2) * ITEM * float(math.prod(self.shape))  # x -> y; y, dy -> dx

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        arrays = {"x": normal(rng, *self.shape)}
        if self.train:
            arrays["dy"] = normal(rng, *self.shape)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x = jadro.tensor(a["x"], requires_grad=self.train)
        function = getattr(F, self.function)
        return grad_job(lambda: function(x), (x,), a.get("dy"))


CASES = both(
    *(Activation(False, name, shape) for name in ("relu", "tanh", "sigmoid") for shape in ((32, 64, 56, 56), (1, 64))),
    *(Activation(False, name, (32, 64, 56, 56)) for name in ("leaky_relu", "elu", "gelu", "silu", "softplus")),
)
