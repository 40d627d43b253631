"""Batch norm in training mode, over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class BatchNorm(Case):
    """x[n,c,h,w] with weight w[c] and bias b[c]."""

    n: int
    c: int
    h: int
    w: int

    group: ClassVar[str] = "batch_norm"
    op: ClassVar[str] = "batch_norm"

    @property
    def label(self) -> str:
        return f"batchnorm {self.n}x{self.c}x{self.h}x{self.w}"

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        # forward x for the moments, x -> y; backward x, dy for the sums, x, dy -> dx
        return (8 if self.train else 3) * ITEM * float(self.n * self.c * self.h * self.w)

    def arrays(self) -> dict[str, Array]:
        """`mean` and `var` are the running moments."""
        rng = np.random.default_rng(0)
        shape = (self.n, self.c, self.h, self.w)
        arrays = {"x": normal(rng, *shape), "w": normal(rng, self.c), "b": normal(rng, self.c)}
        arrays |= {"mean": np.zeros(self.c, np.float32), "var": np.ones(self.c, np.float32)}
        if self.train:
            arrays["dy"] = normal(rng, *shape)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x, w, b = (jadro.tensor(a[k], requires_grad=self.train) for k in "xwb")
        mean, var = jadro.tensor(a["mean"]), jadro.tensor(a["var"])
        return grad_job(lambda: F.batch_norm(x, mean, var, w, b, training=True), (x, w, b), a.get("dy"))


CASES = both(BatchNorm(False, 32, 64, 56, 56), BatchNorm(False, 64, 16, 32, 32))
