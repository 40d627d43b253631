"""Softmax along the last axis and along others, short and long."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes


@dataclass(frozen=True)
class SoftmaxCase(Case):
    """x[outer,n,inner] times `scale`."""

    outer: int
    n: int
    inner: int
    log: bool = False
    scale: float = 1.0
    op: ClassVar[str] = "softmax"
    kernels: ClassVar[tuple[str, ...]] = ("softmax_forward", "softmax_backward")

    def inputs(self) -> Shapes:
        return {"x": (self.outer, self.n, self.inner)}

    def outputs(self) -> Shapes:
        return {"y": self.inputs()["x"]}

    def cotangents(self) -> Shapes:
        return {"dy": self.inputs()["x"]}

    def gradients(self) -> Shapes:
        return {"dx": self.inputs()["x"]}

    @property
    def flops(self) -> int:
        return 4 * self.outer * self.n * self.inner

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        return rng.standard_normal(shape) * (self.scale if name == "x" else 1)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        core.softmax_forward(inputs["x"], results["y"], self.log)
        core.softmax_backward(inputs["dy"], results["y"], results["dx"], self.log)

    def reference(self, inputs: Arrays) -> Arrays:
        y = reference.softmax_forward(inputs["x"], self.log)
        return {"y": y, "dx": reference.softmax_backward(inputs["dy"], y, self.log)}


CASES = [
    SoftmaxCase(name + ("_log" if log else ""), *sizes, log=log, scale=scale)
    for log in (False, True)
    for name, sizes, scale in (
        ("rows", (5, 37, 1), 1.0),
        ("short_rows", (9, 3, 1), 1.0),
        ("single", (3, 1, 1), 1.0),
        ("one_past_the_vector", (4, 17, 1), 1.0),
        ("long_rows", (2, 5000, 1), 1.0),
        ("rows_of_a_block_s_registers", (3, 2048, 1), 1.0),
        ("rows_beyond_the_registers", (2, 9001, 1), 1.0),
        ("wide_rows", (3, 40, 1), 30.0),
        ("columns", (2, 7, 37), 1.0),
        ("few_columns", (3, 9, 2), 1.0),
        ("wide_columns", (2, 21, 19), 30.0),
        ("empty", (0, 3, 4), 1.0),
    )
]
