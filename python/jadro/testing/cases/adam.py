"""The Adam step: many small parameters, one large one, the first step and a late one."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes


@dataclass(frozen=True)
class AdamCase(Case):
    """Parameters of the given sizes with their gradients and moments."""

    sizes: tuple[int, ...]
    step: int = 7
    weight_decay: float = 0.0
    decoupled: bool = False
    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    op: ClassVar[str] = "adam"
    kernels: ClassVar[tuple[str, ...]] = ("adam_step",)

    def _shapes(self, kinds: str) -> Shapes:
        return {f"{kind}{i}": (size,) for kind in kinds.split() for i, size in enumerate(self.sizes)}

    def inputs(self) -> Shapes:
        return self._shapes("p g m v")

    def outputs(self) -> Shapes:
        return self._shapes("new_p new_m new_v")

    @property
    def flops(self) -> int:
        return 12 * sum(self.sizes)

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        numbers = rng.standard_normal(shape)
        return {"p": numbers, "g": numbers, "m": 0.1 * numbers, "v": 0.01 * numbers**2}[name[0]]

    @property
    def _options(self) -> tuple[Any, ...]:
        return (self.lr, *self.betas, self.eps, self.weight_decay, self.decoupled, self.step)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        for name in results:  # updated in place
            results[name][...] = inputs[name.removeprefix("new_")]
        count = range(len(self.sizes))
        p, m, v = ([results[f"new_{kind}{i}"] for i in count] for kind in "pmv")
        core.adam_step(p, [inputs[f"g{i}"] for i in count], m, v, *self._options)

    def reference(self, inputs: Arrays) -> Arrays:
        results = {}
        for i in range(len(self.sizes)):
            p, g, m, v = (inputs[f"{kind}{i}"] for kind in "pgmv")
            new = reference.adam_step(p, g, m, v, *self._options)
            results.update({f"new_{kind}{i}": array for kind, array in zip("pmv", new, strict=True)})
        return results


CASES = [
    AdamCase("single_element", (1,)),
    AdamCase("first_step", (40,), step=1),
    AdamCase("late_step", (40,), step=100000),
    AdamCase("one_past_the_vector", (17, 33, 9)),
    AdamCase("one_large", (60001,)),
    AdamCase("large_between_small", (3, 50000, 1, 0, 40)),
    AdamCase("weight_decay", (30, 20), weight_decay=0.1),
    AdamCase("decoupled_weight_decay", (30, 20), weight_decay=0.1, decoupled=True),
    AdamCase("other_betas_and_eps", (50,), betas=(0.5, 0.9), eps=1e-3, lr=0.2),
]
