"""Embedding look-up and its scattered gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class Embedding(Case):
    """w[entries,width] at ids[rows]."""

    rows: int
    entries: int
    width: int

    group: ClassVar[str] = "embedding"
    op: ClassVar[str] = "embedding"

    @property
    def label(self) -> str:
        return f"embedding {self.rows} of {self.entries}x{self.width}"

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        rows = self.rows * self.width
        forward = 8 * self.rows + 2 * ITEM * rows  # ids, the rows in and out
        backward = 8 * self.rows + ITEM * (rows + self.entries * self.width)  # ids, dy in, dw out
        return float(forward + backward if self.train else forward)

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        arrays: dict[str, Array] = {"w": normal(rng, self.entries, self.width)}
        arrays["ids"] = rng.integers(0, self.entries, self.rows)
        if self.train:
            arrays["dy"] = normal(rng, self.rows, self.width)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        w, ids = jadro.tensor(a["w"], requires_grad=self.train), jadro.tensor(a["ids"])
        return grad_job(lambda: F.embedding(ids, w), (w,), a.get("dy"))


CASES = both(Embedding(False, 3200, 87, 64), Embedding(False, 8192, 20000, 256))
