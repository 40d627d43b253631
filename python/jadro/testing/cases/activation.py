"""Activations, from one element to several threads' worth, and where they saturate."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes
from jadro.testing.reference.activation import FROM_OUTPUT

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 89.0, -89.0, 750.0, -750.0, 1e30, -1e30]
)
# a and b of each function that has them
NUMBERS: dict[str, tuple[float, ...]] = {
    "leaky_relu": (0.125,),
    "elu": (1.5,),
    "hardtanh": (-0.5, 1.25),
    "softplus": (2.0, 12.0),
}


@dataclass(frozen=True)
class ActivationCase(Case):
    """x of any shape; `values`: "normal", "wide" (30 standard deviations) or "special"."""

    function: str
    shape: tuple[int, ...]
    values: str = "normal"
    op: ClassVar[str] = "activation"
    kernels: ClassVar[tuple[str, ...]] = ("activation_forward", "activation_backward")

    def __str__(self) -> str:
        return f"{self.function}-{self.name}"

    @property
    def differentiable(self) -> bool:
        return self.values == "normal"

    def inputs(self) -> Shapes:
        return {"x": self.shape}

    def outputs(self) -> Shapes:
        return {"y": self.shape}

    def cotangents(self) -> Shapes:
        return {"dy": self.shape}

    def gradients(self) -> Shapes:
        return {"dx": self.shape}

    @property
    def flops(self) -> int:
        return int(np.prod(self.shape))

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        if name == "x" and self.values == "special":
            return np.resize(SPECIAL, shape)
        return rng.standard_normal(shape) * (30 if name == "x" and self.values == "wide" else 1)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        numbers = NUMBERS.get(self.function, ())
        core.activation_forward(self.function, inputs["x"], results["y"], *numbers)
        saved = results["y"] if self.function in FROM_OUTPUT else inputs["x"]
        core.activation_backward(self.function, inputs["dy"], saved, results["dx"], *numbers)

    def reference(self, inputs: Arrays) -> Arrays:
        numbers = NUMBERS.get(self.function, ())
        with np.errstate(invalid="ignore"):  # infinity times 0 is NaN
            y = reference.activation_forward(self.function, inputs["x"], *numbers)
            saved = y if self.function in FROM_OUTPUT else inputs["x"]
            return {"y": y, "dx": reference.activation_backward(self.function, inputs["dy"], saved, *numbers)}


def _cases(function: str) -> list[ActivationCase]:
    return [
        ActivationCase("single_element", function, (1,)),
        ActivationCase("one_past_the_vector", function, (17,)),
        ActivationCase("image", function, (2, 3, 5, 7)),
        ActivationCase("several_blocks", function, (50021,)),
        ActivationCase("wide", function, (1000,), values="wide"),
        ActivationCase("special", function, (45,), values="special"),
        ActivationCase("empty", function, (0, 3)),
    ]


@dataclass(frozen=True)
class PReluCase(Case):
    """x[n,c,s], a slope w[c] for each channel."""

    n: int
    c: int
    s: int
    op: ClassVar[str] = "prelu"
    kernels: ClassVar[tuple[str, ...]] = ("prelu_forward", "prelu_backward")

    def inputs(self) -> Shapes:
        return {"x": (self.n, self.c, self.s), "w": (self.c,)}

    def outputs(self) -> Shapes:
        return {"y": (self.n, self.c, self.s)}

    def cotangents(self) -> Shapes:
        return {"dy": (self.n, self.c, self.s)}

    def gradients(self) -> Shapes:
        return {"dx": (self.n, self.c, self.s), "dw": (self.c,)}

    @property
    def flops(self) -> int:
        return self.n * self.c * self.s

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        core.prelu_forward(inputs["x"], inputs["w"], results["y"])
        core.prelu_backward(inputs["dy"], inputs["x"], inputs["w"], results["dx"], results["dw"])

    def reference(self, inputs: Arrays) -> Arrays:
        dx, dw = reference.prelu_backward(inputs["dy"], inputs["x"], inputs["w"])
        return {"y": reference.prelu_forward(inputs["x"], inputs["w"]), "dx": dx, "dw": dw}


FUNCTIONS = (*FROM_OUTPUT, "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "hardtanh", "softplus")
CASES: list[Case] = [
    *(case for function in FUNCTIONS for case in _cases(function)),
    PReluCase("single_element", 1, 1, 1),
    PReluCase("image", 2, 3, 35),
    PReluCase("single_numbers", 5, 67, 1),
    PReluCase("one_slope", 1, 1, 5003),
    PReluCase("several_pieces", 3, 2, 50021),
    PReluCase("many_rows", 700, 3, 1),
    PReluCase("no_rows", 0, 3, 2),
]
