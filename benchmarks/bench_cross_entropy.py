"""Softmax cross-entropy, the mean over the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class CrossEntropy(Case):
    """x[rows,classes], target[rows]."""

    rows: int
    classes: int

    group: ClassVar[str] = "cross_entropy"
    op: ClassVar[str] = "cross_entropy"

    @property
    def label(self) -> str:
        return f"crossentropy {self.rows}x{self.classes}"

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        return (3 if self.train else 1) * ITEM * float(self.rows * self.classes)  # x; x -> dx

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        arrays: dict[str, Array] = {"x": normal(rng, self.rows, self.classes)}
        arrays["target"] = rng.integers(0, self.classes, self.rows)
        if self.train:
            arrays["dy"] = np.array(1.5, np.float32)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x, target = jadro.tensor(a["x"], requires_grad=self.train), jadro.tensor(a["target"])
        return grad_job(lambda: F.cross_entropy(x, target), (x,), a.get("dy"))


CASES = both(CrossEntropy(False, 3200, 87), CrossEntropy(False, 1024, 10000), CrossEntropy(False, 64, 10))
