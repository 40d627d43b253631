"""Average pooling by windows and over whole planes, and max pooling over them: bound by memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class AvgPool(Case):
    """function(x[n,c,*space], size), "avg_pool2d" or "adaptive_avg_pool2d" with the kernel or the bins as its size."""

    function: str
    n: int
    c: int
    space: tuple[int, ...]
    size: int

    group: ClassVar[str] = "avg_pool"
    op: ClassVar[str] = "avg_pool"

    @property
    def label(self) -> str:
        return f"{self.function.replace('_', '')} {self.size} {'x'.join(map(str, (self.n, self.c, *self.space)))}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        adaptive = self.function.startswith("adaptive")
        return self.n, self.c, *(self.size if adaptive else m // self.size for m in self.space)

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        x, y = self.n * self.c * math.prod(self.space), math.prod(self.output_shape)
        return (2 if self.train else 1) * ITEM * float(x + y)  # forward x -> y, backward dy -> dx

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        arrays = {"x": normal(rng, self.n, self.c, *self.space)}
        if self.train:
            arrays["dy"] = normal(rng, *self.output_shape)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x = jadro.tensor(a["x"], requires_grad=self.train)
        function = getattr(F, self.function)
        return grad_job(lambda: function(x, self.size), (x,), a.get("dy"))


CASES = both(
    AvgPool(False, "avg_pool2d", 32, 64, (112, 112), 2),
    AvgPool(False, "adaptive_avg_pool2d", 32, 512, (28, 28), 1),
    AvgPool(False, "adaptive_avg_pool2d", 32, 256, (32, 32), 7),
    AvgPool(False, "adaptive_max_pool2d", 32, 512, (28, 28), 1),
    AvgPool(False, "avg_pool3d", 8, 32, (16, 56, 56), 2),
    AvgPool(False, "max_pool3d", 8, 32, (16, 56, 56), 2),
    AvgPool(False, "adaptive_avg_pool2d", 1, 64, (8, 8), 1),
)
