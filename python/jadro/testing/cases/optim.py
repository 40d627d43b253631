"""The steps of the optimizers: many small parameters, one large one, the first step and a late one, every option."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes

Lists = dict[str, list[Any]]


@dataclass(frozen=True)
class OptimCase(Case):
    """Parameters p of the given sizes with their gradients g and the arrays that the optimizer keeps for each."""

    sizes: tuple[int, ...]
    weight_decay: float = 0.0
    maximize: bool = False
    op: ClassVar[str] = "optim"

    @property
    @abstractmethod
    def states(self) -> str:
        """The names of the kept arrays, single letters."""

    @abstractmethod
    def step(self, core: Any, p: list[Any], g: list[Any], kept: Lists) -> None:
        """The native call."""

    @abstractmethod
    def formula(self, p: Array, g: Array, kept: Arrays) -> tuple[Array, ...]:
        """The new p and the new kept arrays, of one parameter."""

    def _shapes(self, kinds: str) -> Shapes:
        return {f"{kind}{i}": (size,) for kind in kinds.split() for i, size in enumerate(self.sizes)}

    def inputs(self) -> Shapes:
        return self._shapes(f"p g {self.states}")

    def outputs(self) -> Shapes:
        return self._shapes(" ".join(f"new_{kind}" for kind in f"p {self.states}".split()))

    @property
    def flops(self) -> int:
        return 12 * sum(self.sizes)

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        numbers = rng.standard_normal(shape)
        squares = 0.05 + 0.01 * numbers**2
        drawn = {"p": numbers, "g": numbers, "v": squares, "s": squares, "x": squares, "c": 0.02 * numbers}
        return drawn.get(name[0], 0.1 * numbers)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        for name in results:  # updated in place
            results[name][...] = inputs[name.removeprefix("new_")]
        count = range(len(self.sizes))
        lists = {kind: [results[f"new_{kind}{i}"] for i in count] for kind in ("p", *self.states.split())}
        self.step(core, lists.pop("p"), [inputs[f"g{i}"] for i in count], lists)

    def reference(self, inputs: Arrays) -> Arrays:
        results = {}
        states = self.states.split()
        for i in range(len(self.sizes)):
            kept = {kind: inputs[f"{kind}{i}"] for kind in states}
            new = self.formula(inputs[f"p{i}"], inputs[f"g{i}"], kept)
            results.update({f"new_{kind}{i}": array for kind, array in zip(("p", *states), new, strict=True)})
        return results


@dataclass(frozen=True)
class SgdCase(OptimCase):
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    kernels: ClassVar[tuple[str, ...]] = ("sgd_step",)

    @property
    def states(self) -> str:
        return "b" if self.momentum else ""

    @property
    def _options(self) -> tuple[Any, ...]:
        return 0.1, self.momentum, self.dampening, self.weight_decay, self.nesterov, self.maximize

    def step(self, core: Any, p: list[Any], g: list[Any], kept: Lists) -> None:
        core.sgd_step(p, g, kept.get("b", []), *self._options)

    def formula(self, p: Array, g: Array, kept: Arrays) -> tuple[Array, ...]:
        return reference.sgd_step(p, g, kept.get("b"), *self._options)


@dataclass(frozen=True)
class AdagradCase(OptimCase):
    kernels: ClassVar[tuple[str, ...]] = ("adagrad_step",)

    @property
    def states(self) -> str:
        return "s"

    def step(self, core: Any, p: list[Any], g: list[Any], kept: Lists) -> None:
        core.adagrad_step(p, g, kept["s"], 0.1, 1e-8, self.weight_decay, self.maximize)

    def formula(self, p: Array, g: Array, kept: Arrays) -> tuple[Array, ...]:
        return reference.adagrad_step(p, g, kept["s"], 0.1, 1e-8, self.weight_decay, self.maximize)


@dataclass(frozen=True)
class RmspropCase(OptimCase):
    momentum: float = 0.0
    centered: bool = False
    kernels: ClassVar[tuple[str, ...]] = ("rmsprop_step",)

    @property
    def states(self) -> str:
        return "v" + " c" * self.centered + " b" * (self.momentum > 0)

    @property
    def _options(self) -> tuple[Any, ...]:
        return 0.01, 0.9, 1e-6, self.weight_decay, self.momentum, self.maximize

    def step(self, core: Any, p: list[Any], g: list[Any], kept: Lists) -> None:
        core.rmsprop_step(p, g, kept["v"], kept.get("c", []), kept.get("b", []), *self._options)

    def formula(self, p: Array, g: Array, kept: Arrays) -> tuple[Array, ...]:
        return reference.rmsprop_step(p, g, kept["v"], kept.get("c"), kept.get("b"), *self._options)


@dataclass(frozen=True)
class AdamCase(OptimCase):
    count: int = 7
    decoupled: bool = False
    largest: bool = False
    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    kernels: ClassVar[tuple[str, ...]] = ("adam_step",)

    @property
    def states(self) -> str:
        return "m v" + " x" * self.largest

    @property
    def _options(self) -> tuple[Any, ...]:
        return (self.lr, *self.betas, self.eps, self.weight_decay, self.decoupled, self.count, self.maximize)

    def step(self, core: Any, p: list[Any], g: list[Any], kept: Lists) -> None:
        core.adam_step(p, g, kept["m"], kept["v"], kept.get("x", []), *self._options)

    def formula(self, p: Array, g: Array, kept: Arrays) -> tuple[Array, ...]:
        return reference.adam_step(p, g, kept["m"], kept["v"], kept.get("x"), *self._options)


CASES: list[OptimCase] = [
    AdamCase("adam_single_element", (1,)),
    AdamCase("adam_first_step", (40,), count=1),
    AdamCase("adam_late_step", (40,), count=100000),
    AdamCase("adam_one_past_the_vector", (17, 33, 9)),
    AdamCase("adam_one_large", (60001,)),
    AdamCase("adam_large_between_small", (3, 50000, 1, 0, 40)),
    AdamCase("adam_weight_decay", (30, 20), weight_decay=0.1),
    AdamCase("adam_decoupled_weight_decay", (30, 20), weight_decay=0.1, decoupled=True),
    AdamCase("adam_other_betas_and_eps", (50,), betas=(0.5, 0.9), eps=1e-3, lr=0.2),
    AdamCase("adam_largest_v", (33, 8), largest=True),
    AdamCase("adam_uphill", (33,), maximize=True, decoupled=True, weight_decay=0.1, largest=True),
    SgdCase("sgd_plain", (33, 1, 17)),
    SgdCase("sgd_weight_decay_uphill", (33,), weight_decay=0.1, maximize=True),
    SgdCase("sgd_momentum", (17, 33), momentum=0.9),
    SgdCase("sgd_dampening", (33,), momentum=0.9, dampening=0.3, weight_decay=0.1),
    SgdCase("sgd_nesterov", (33, 70), momentum=0.9, nesterov=True),
    AdagradCase("adagrad_one_past_the_vector", (17, 33, 9)),
    AdagradCase("adagrad_weight_decay_uphill", (40,), weight_decay=0.1, maximize=True),
    RmspropCase("rmsprop_plain", (17, 33)),
    RmspropCase("rmsprop_momentum", (33,), momentum=0.8, weight_decay=0.1),
    RmspropCase("rmsprop_centered", (33, 5), centered=True),
    RmspropCase("rmsprop_centered_momentum_uphill", (33, 5), centered=True, momentum=0.8, maximize=True),
]
