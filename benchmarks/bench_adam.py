"""The Adam step over all parameters of a model at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.bench_step import LEARNING_RATE, resnet20_shapes
from benchmarks.cases import ITEM, Array, Case, Job, normal


@dataclass(frozen=True)
class AdamStep(Case):
    """One step with fixed gradients."""

    title: str
    shapes: tuple[tuple[int, ...], ...]

    group: ClassVar[str] = "adam"
    op: ClassVar[str] = "adam"

    @property
    def label(self) -> str:
        return f"adam {self.title}"

    @property
    def name(self) -> str:
        return self.label

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        return 7 * ITEM * float(sum(map(math.prod, self.shapes)))  # p g m v -> p m v

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        return {f"{kind}{i}": normal(rng, *shape) for i, shape in enumerate(self.shapes) for kind in "pg"}

    def pairs(self) -> list[tuple[Array, Array]]:
        """(parameter, gradient)."""
        a = self.arrays()
        return [(a[f"p{i}"], a[f"g{i}"]) for i in range(len(self.shapes))]

    def jadro(self) -> Job:
        import jadro
        from jadro import nn, optim

        parameters = []
        for p, g in self.pairs():
            parameter = nn.Parameter(jadro.tensor(p))
            parameter.grad = jadro.tensor(g)
            parameters.append(parameter)
        optimizer = optim.Adam(parameters, lr=LEARNING_RATE)
        return Job(optimizer.step, lambda _: [p.detach().numpy() for p in parameters])


CASES = [
    AdamStep(True, "4 of 1024x1024", ((1024, 1024),) * 4),
    AdamStep(True, "resnet20", tuple(resnet20_shapes().values())),
]
