"""Softmax and its logarithm along the last axis and along channels: bound by memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class Softmax(Case):
    """function(x, axis), "softmax" or "log_softmax"."""

    function: str
    shape: tuple[int, ...]
    axis: int

    group: ClassVar[str] = "softmax"
    op: ClassVar[str] = "softmax"

    @property
    def label(self) -> str:
        return f"{self.function} {self.axis} {'x'.join(map(str, self.shape))}"

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
        return grad_job(lambda: function(x, self.axis), (x,), a.get("dy"))


CASES = both(
    Softmax(False, "softmax", (64, 128, 768), 2),
    Softmax(False, "log_softmax", (4096, 1000), 1),
    Softmax(False, "softmax", (16, 21, 128, 128), 1),
)
