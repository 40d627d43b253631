"""Dropout in training mode: the random numbers are the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job


@dataclass(frozen=True)
class Dropout(Case):
    """x of any shape, p = 0.2. Every library draws its own mask, so results are compared by their sums."""

    shape: tuple[int, ...]
    p: float = 0.2

    group: ClassVar[str] = "dropout"
    op: ClassVar[str] = "dropout"

    @property
    def label(self) -> str:
        return f"dropout {'x'.join(map(str, self.shape))}"

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        return (4 if self.train else 2) * ITEM * float(math.prod(self.shape))  # x -> y, dy -> dx

    def arrays(self) -> dict[str, Array]:
        arrays = {"x": np.ones(self.shape, np.float32)}
        if self.train:
            arrays["dy"] = np.ones(self.shape, np.float32)
        return arrays

    @staticmethod
    def summarise(results: Callable[[Any], Sequence[Any]]) -> Callable[[Any], Sequence[Any]]:
        """One mean a result: 1 for every right mask, to a hundredth."""
        return lambda out: [np.round(np.mean(result, dtype=np.float64), 2) for result in results(out)]

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x = jadro.tensor(a["x"], requires_grad=self.train)
        job = grad_job(lambda: F.dropout(x, self.p, training=True), (x,), a.get("dy"))
        return Job(job.run, self.summarise(job.results))


CASES = both(Dropout(False, (64, 50, 256)), Dropout(False, (32, 64, 56, 56)))
