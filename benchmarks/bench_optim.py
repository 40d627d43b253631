"""The step of an optimizer over all parameters of a model at once, and the clipping of their gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.bench_step import LEARNING_RATE, resnet20_shapes
from benchmarks.cases import ITEM, Array, Case, Job, normal


@dataclass(frozen=True)
class OptimStep(Case):
    """One step with fixed gradients: "adam", "sgd" (momentum 0.9), or "clip", the norm with gradients left as they
    are."""

    kind: str
    title: str
    shapes: tuple[tuple[int, ...], ...]

    group: ClassVar[str] = "optim"
    op: ClassVar[str] = "optim"

    @property
    def label(self) -> str:
        return f"{self.kind} {self.title}"

    @property
    def name(self) -> str:
        return self.label

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        arrays = {"adam": 7, "sgd": 5, "clip": 1}[self.kind]  # p g m v -> p m v; p g b -> p b; g
        return arrays * ITEM * float(sum(map(math.prod, self.shapes)))

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
        if self.kind == "clip":
            return Job(lambda: nn.utils.clip_grad_norm_(parameters, HIGH), lambda norm: [norm.numpy()])
        optimizer = (
            optim.Adam(parameters, lr=LEARNING_RATE)
            if self.kind == "adam"
            else optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.9)
        )
        return Job(optimizer.step, lambda _: [p.detach().numpy() for p in parameters])


HIGH = 1e9  # a norm that no gradient here exceeds
MODELS = {"4 of 1024x1024": ((1024, 1024),) * 4, "resnet20": tuple(resnet20_shapes().values())}
CASES = [OptimStep(True, kind, title, shapes) for kind in ("adam", "sgd", "clip") for title, shapes in MODELS.items()]
