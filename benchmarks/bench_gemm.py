"""Linear layers: the bare matrix product of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class Linear(Case):
    """x[rows,inputs] w[outputs,inputs]' + b[outputs]."""

    rows: int
    inputs: int
    outputs: int

    group: ClassVar[str] = "gemm"
    op: ClassVar[str] = "linear"

    @property
    def label(self) -> str:
        return f"linear {self.rows}x{self.inputs}->{self.outputs}"

    @property
    def flops(self) -> float:
        return (3 if self.train else 1) * 2.0 * self.rows * self.inputs * self.outputs

    @property
    def bytes(self) -> float:
        elements = self.rows * self.inputs + self.inputs * self.outputs + self.rows * self.outputs
        return (3 if self.train else 1) * ITEM * float(elements)

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        arrays = {
            "x": normal(rng, self.rows, self.inputs),
            "w": normal(rng, self.outputs, self.inputs, scale=self.inputs**-0.5),
            "b": normal(rng, self.outputs),
        }
        if self.train:
            arrays["dy"] = normal(rng, self.rows, self.outputs)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x, w, b = (jadro.tensor(a[k], requires_grad=self.train) for k in "xwb")
        return grad_job(lambda: F.linear(x, w, b), (x, w, b), a.get("dy"))


CASES = both(
    Linear(False, 1024, 1024, 1024),
    Linear(False, 256, 256, 256),
    Linear(False, 64, 800, 500),
    Linear(False, 1, 128, 512),
    Linear(False, 1, 1024, 1024),
    Linear(False, 8, 1024, 1024),
)
