"""2-d max pooling: bound by memory, except for the smallest one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class MaxPool2d(Case):
    """x[n,c,ih,iw], a square kernel."""

    n: int
    c: int
    ih: int
    iw: int
    kernel: int
    stride: int
    padding: int = 0

    group: ClassVar[str] = "pool"
    op: ClassVar[str] = "max_pool2d"

    @property
    def label(self) -> str:
        padding = f"p{self.padding}" if self.padding else ""
        return f"maxpool{self.kernel}s{self.stride}{padding} {self.n}x{self.c}x{self.ih}x{self.iw}"

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        oh, ow = ((m + 2 * self.padding - self.kernel) // self.stride + 1 for m in (self.ih, self.iw))
        return self.n, self.c, oh, ow

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        x, y = self.n * self.c * self.ih * self.iw, np.prod(self.output_shape)
        return (2 if self.train else 1) * ITEM * float(x + y)  # forward x -> y, backward dy -> dx

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        arrays = {"x": normal(rng, self.n, self.c, self.ih, self.iw)}
        if self.train:
            arrays["dy"] = normal(rng, *self.output_shape)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x = jadro.tensor(a["x"], requires_grad=self.train)
        return grad_job(lambda: F.max_pool2d(x, self.kernel, self.stride, self.padding), (x,), a.get("dy"))


CASES = both(
    MaxPool2d(False, 32, 64, 112, 112, 3, 2, 1),
    MaxPool2d(False, 128, 32, 28, 28, 2, 2),
    MaxPool2d(False, 1, 3, 32, 32, 2, 2),
)
