"""Layer, group and instance norm with weight and bias: bound by memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


@dataclass(frozen=True)
class GroupNorm(Case):
    """x[shape], axis 1 in `groups` groups; 0: layer norm over the last axis."""

    groups: int
    shape: tuple[int, ...]

    group: ClassVar[str] = "group_norm"
    op: ClassVar[str] = "group_norm"

    @property
    def label(self) -> str:
        name = f"groupnorm {self.groups}" if self.groups else "layernorm"
        return f"{name} {'x'.join(map(str, self.shape))}"

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        return (5 if self.train else 2) * ITEM * float(math.prod(self.shape))  # x -> y; x, dy -> dx: pieces stay cached

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        channels = self.shape[1 if self.groups else -1]
        arrays = {"x": normal(rng, *self.shape), "w": normal(rng, channels), "b": normal(rng, channels)}
        if self.train:
            arrays["dy"] = normal(rng, *self.shape)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x, w, b = (jadro.tensor(a[k], requires_grad=self.train) for k in "xwb")
        if self.groups:
            return grad_job(lambda: F.group_norm(x, self.groups, w, b), (x, w, b), a.get("dy"))
        return grad_job(lambda: F.layer_norm(x, self.shape[-1], w, b), (x, w, b), a.get("dy"))


CASES = both(
    GroupNorm(False, 0, (64, 128, 768)),
    GroupNorm(False, 0, (64, 128)),
    GroupNorm(False, 32, (32, 64, 56, 56)),
    GroupNorm(False, 64, (32, 64, 56, 56)),
)
