"""Dropout and its uniform numbers, which must agree with the generator's definition bit for bit."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jadro.testing import reference
from jadro.testing.cases.base import Arrays, Case, Shapes


@dataclass(frozen=True)
class DropoutCase(Case):
    shape: tuple[int, ...]
    p: float = 0.5
    seed: int = 1234
    offset: int = 0
    op: ClassVar[str] = "dropout"
    kernels: ClassVar[tuple[str, ...]] = ("dropout",)

    def inputs(self) -> Shapes:
        return {"x": self.shape}

    def outputs(self) -> Shapes:
        return {"y": self.shape}

    def cotangents(self) -> Shapes:
        return {"dy": self.shape}

    def gradients(self) -> Shapes:
        return {"dx": self.shape}

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        core.dropout(inputs["x"], results["y"], self.p, self.seed, self.offset)
        core.dropout(inputs["dy"], results["dx"], self.p, self.seed, self.offset)

    def reference(self, inputs: Arrays) -> Arrays:
        options = (self.p, self.seed, self.offset)
        return {"y": reference.dropout(inputs["x"], *options), "dx": reference.dropout(inputs["dy"], *options)}


@dataclass(frozen=True)
class UniformCase(Case):
    count: int
    seed: int = 1234
    offset: int = 0
    op: ClassVar[str] = "random_uniform"
    kernels: ClassVar[tuple[str, ...]] = ("random_uniform",)
    exact: ClassVar[frozenset[str]] = frozenset({"out"})

    def inputs(self) -> Shapes:
        return {"like": (0,)}

    def outputs(self) -> Shapes:
        return {"out": (self.count,)}

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        core.random_uniform(results["out"], self.seed, self.offset)

    def reference(self, inputs: Arrays) -> Arrays:
        return {"out": reference.random_uniform(self.count, inputs["like"].dtype, self.seed, self.offset)}


CASES: list[Case] = [
    DropoutCase("single_element", (1,)),
    DropoutCase("one_past_the_block", (17,), offset=1),
    DropoutCase("image", (2, 3, 5, 7), p=0.2, offset=6),
    DropoutCase("several_blocks", (70001,), p=0.7, offset=3),
    DropoutCase("nothing_dropped", (50,), p=0.0),
    DropoutCase("large_seed", (64,), seed=2**63 - 1),
    DropoutCase("empty", (0, 4)),
    UniformCase("first_block", 4),
    UniformCase("within_a_block", 2, offset=1),
    UniformCase("across_blocks", 1001, offset=3),
    UniformCase("offset_beyond_32_bits", 37, offset=2**34 + 5),
    UniformCase("seed_beyond_32_bits", 37, seed=2**40 + 9),
    UniformCase("several_threads", 70003, offset=2),
    UniformCase("empty", 0),
]
