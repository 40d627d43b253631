"""Softmax cross-entropy: few and many classes, weights, ignored rows, smoothing, scores that would overflow."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes


@dataclass(frozen=True)
class CrossEntropyCase(Case):
    """x[rows,classes] of standard deviation `spread`; every third row is ignored where `ignored`."""

    rows: int
    classes: int
    weighted: bool = False
    ignored: bool = False
    label_smoothing: float = 0.0
    spread: float = 1.0
    ignore_index: int = -100
    op: ClassVar[str] = "cross_entropy"
    kernels: ClassVar[tuple[str, ...]] = ("cross_entropy_forward", "cross_entropy_backward")
    sums: ClassVar[frozenset[str]] = frozenset({"losses", "lse"})

    def inputs(self) -> Shapes:
        shapes: Shapes = {"x": (self.rows, self.classes), "target": (self.rows,)}
        return {**shapes, "weight": (self.classes,)} if self.weighted else shapes

    def outputs(self) -> Shapes:
        return {"losses": (self.rows,), "lse": (self.rows,)}

    def cotangents(self) -> Shapes:
        return {"dlosses": (self.rows,)}

    def gradients(self) -> Shapes:
        return {"dx": self.inputs()["x"]}

    @property
    def flops(self) -> int:
        return 3 * self.rows * self.classes

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        if name == "target":
            target = rng.integers(0, self.classes, shape)
            target[:: 3 if self.ignored else self.rows + 1] = self.ignore_index if self.ignored else 0
            return target
        if name == "weight":
            return rng.uniform(0.1, 2, shape)
        return rng.standard_normal(shape) * (self.spread if name == "x" else 1)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        given = (inputs["x"], inputs["target"], inputs.get("weight"))
        options = (self.ignore_index, self.label_smoothing)
        core.cross_entropy_forward(*given, results["losses"], results["lse"], *options)
        core.cross_entropy_backward(*given, results["lse"], inputs["dlosses"], results["dx"], *options)

    def reference(self, inputs: Arrays) -> Arrays:
        given = (inputs["x"], inputs["target"], inputs.get("weight"))
        options = (self.ignore_index, self.label_smoothing)
        losses, lse = reference.cross_entropy_forward(*given, *options)
        return {
            "losses": losses,
            "lse": lse,
            "dx": reference.cross_entropy_backward(*given, lse, inputs["dlosses"], *options),
        }


CASES = [
    CrossEntropyCase("one_class", 3, 1),
    CrossEntropyCase("two_classes", 5, 2),
    CrossEntropyCase("ten_classes", 33, 10),
    CrossEntropyCase("one_past_the_vector", 7, 17),
    CrossEntropyCase("characters", 70, 97),
    CrossEntropyCase("many_classes", 3, 5003),
    CrossEntropyCase("classes_of_a_warp_s_registers", 9, 512, True, True, 0.2),
    CrossEntropyCase("more_classes_than_registers", 3, 9001, True, True, 0.2),
    CrossEntropyCase("weighted", 19, 12, weighted=True),
    CrossEntropyCase("ignored", 20, 9, ignored=True),
    CrossEntropyCase("ignored_class_within_range", 20, 9, ignored=True, ignore_index=4),
    CrossEntropyCase("smoothed", 11, 13, label_smoothing=0.1),
    CrossEntropyCase("smoothed_weighted_ignored", 31, 21, True, True, 0.3),
    CrossEntropyCase("fully_smoothed", 4, 6, label_smoothing=1.0),
    CrossEntropyCase("scores_that_would_overflow", 9, 30, spread=1000.0),
    CrossEntropyCase("empty_batch", 0, 10),
]
