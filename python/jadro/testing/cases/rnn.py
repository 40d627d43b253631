"""Recurrent layers: one and many steps, rows, layers and directions, around the edges of the tile."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Allocate, Array, Arrays, Case, Shapes

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
# here -> in the layers
PARAMETERS = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}


@dataclass(frozen=True)
class RnnCase(Case):
    """x[steps,batch,input] through `layers` layers of `hidden` units in one or two directions.

    `state`: with an initial state; `dropout`: between layers, its mask drawn at (seed, offset).
    """

    cell: str
    steps: int
    batch: int
    input: int
    hidden: int
    layers: int = 1
    directions: int = 1
    bias: bool = True
    state: bool = True
    dropout: float = 0.0
    seed: int = 5
    offset: int = 3
    op: ClassVar[str] = "rnn"

    def __str__(self) -> str:
        return f"{self.cell}-{self.name}"

    @property
    def kernels(self) -> tuple[str, ...]:  # type: ignore[override]
        return (f"{self.prefix}_forward", f"{self.prefix}_backward")

    @property
    def prefix(self) -> str:
        return self.cell.split("_")[0]

    @property
    def weight_shapes(self) -> Shapes:
        rows = GATES[self.cell] * self.hidden
        shapes: Shapes = {}
        for k, suffix in enumerate(self.suffixes):
            width = self.directions * self.hidden if k >= self.directions else self.input
            shapes["w_ih" + suffix], shapes["w_hh" + suffix] = (rows, width), (rows, self.hidden)
            if self.bias:
                shapes["b_ih" + suffix] = shapes["b_hh" + suffix] = (rows,)
        return shapes

    @property
    def suffixes(self) -> list[str]:
        """Of the names of each layer's parameters in each direction."""
        directions = ("", "_reverse")[: self.directions]
        return [f"_l{layer}{direction}" for layer in range(self.layers) for direction in directions]

    @property
    def state_shapes(self) -> Shapes:
        shape = (self.layers * self.directions, self.batch, self.hidden)
        return {"h": shape, "c": shape} if self.cell == "lstm" else {"h": shape}

    def inputs(self) -> Shapes:
        states = {name + "0": shape for name, shape in self.state_shapes.items()} if self.state else {}
        return {"x": (self.steps, self.batch, self.input), **states, **self.weight_shapes}

    def outputs(self) -> Shapes:
        states = {name + "n": shape for name, shape in self.state_shapes.items()}
        return {"y": (self.steps, self.batch, self.directions * self.hidden), **states}

    def cotangents(self) -> Shapes:
        return {f"d{name}": shape for name, shape in self.outputs().items()}

    def gradients(self) -> Shapes:
        return {f"d{name}": shape for name, shape in self.inputs().items()}

    @property
    def flops(self) -> int:
        products = sum(rows * width for rows, width in (s for s in self.weight_shapes.values() if len(s) == 2))
        return 2 * self.steps * self.batch * products

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        if name.startswith(("w_", "b_")):
            bound = self.hidden**-0.5
            return rng.uniform(-bound, bound, shape)
        return rng.standard_normal(shape)

    def run(self, core: Any, inputs: Arrays, empty: Allocate = np.empty) -> Arrays:
        x = inputs["x"]
        size = core.rnn_reserve_size(self.cell, *x.shape, self.hidden, self.layers, self.directions, self.dropout)
        reserve = empty((size,), np.float32 if x.itemsize == 2 else x.dtype)
        return super().run(core, {**inputs, "reserve": reserve}, empty)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        x, y, weights = inputs["x"], results["y"], [inputs[name] for name in self.weight_shapes]
        options: tuple[Any, ...] = (
            self.layers,
            self.directions,
            self.bias,
            self.dropout,
            self.seed,
            self.offset,
        )
        if self.prefix == "rnn":
            options = (self.cell.split("_")[1], *options)
        reserve = inputs["reserve"]
        names = list(self.state_shapes)
        first = [inputs.get(name + "0") for name in names]
        getattr(core, f"{self.prefix}_forward")(
            x, *first, weights, y, *(results[name + "n"] for name in names), reserve, *options
        )
        getattr(core, f"{self.prefix}_backward")(
            x,
            *first,
            weights,
            y,
            reserve,
            inputs["dy"],
            *(inputs[f"d{name}n"] for name in names),
            results["dx"],
            *(results.get(f"d{name}0") for name in names),
            [results["d" + name] for name in self.weight_shapes],
            *options,
        )

    def reference(self, inputs: Arrays) -> Arrays:
        zero = np.zeros(self.state_shapes["h"], inputs["x"].dtype)
        depth: dict[str, Any] = {"layers": self.layers, "directions": self.directions}
        noise: dict[str, Any] = {"dropout_p": self.dropout, "seed": self.seed, "offset": self.offset}
        weights = [
            {PARAMETERS[name]: inputs[name + suffix] for name in PARAMETERS if name + suffix in self.weight_shapes}
            for suffix in self.suffixes
        ]
        run = reference.rnn_forward(
            reference.RnnOptions(self.cell), inputs["x"], inputs.get("h0", zero), inputs.get("c0", zero), weights,
            **depth, **noise,
        )  # fmt: skip
        back = reference.rnn_backward(run.runs, inputs["dy"], inputs["dhn"], inputs.get("dcn", zero), **depth, **noise)
        results = {"y": run.y, "hn": run.hn, "cn": run.cn, "dx": back.dx, "dh0": back.dh0, "dc0": back.dc0}
        for suffix, grads in zip(self.suffixes, back.dweights, strict=True):
            results.update({f"d{name}{suffix}": grads[full] for name, full in PARAMETERS.items() if full in grads})
        return {name: results[name] for name in {**self.outputs(), **self.gradients()}}


def _cases(cell: str) -> list[RnnCase]:
    return [
        RnnCase("single_step_single_unit", cell, 1, 1, 1, 1),
        RnnCase("single_step", cell, 1, 5, 7, 6),
        RnnCase("single_step_of_few_rows", cell, 1, 4, 70, 66, layers=2),
        RnnCase("single_token", cell, 1, 1, 19, 37, directions=2),
        RnnCase("two_tokens", cell, 2, 1, 21, 150, layers=2),
        RnnCase("batch_1", cell, 6, 1, 9, 10),
        RnnCase("rows_one_past_the_tile", cell, 3, 15, 4, 9),
        RnnCase("units_one_past_the_tile", cell, 3, 4, 5, 33),
        RnnCase("k_tail", cell, 2, 3, 21, 43, state=False),
        RnnCase("without_bias", cell, 4, 3, 5, 6, bias=False),
        RnnCase("zero_state", cell, 4, 3, 5, 6, state=False),
        RnnCase("many_steps", cell, 40, 2, 3, 5),
        RnnCase("two_layers", cell, 4, 3, 5, 7, layers=2),
        RnnCase("bidirectional", cell, 5, 3, 4, 6, directions=2),
        RnnCase("three_layers_bidirectional", cell, 4, 2, 6, 5, layers=3, directions=2),
        RnnCase("bidirectional_without_bias_or_state", cell, 3, 4, 6, 5, 2, 2, bias=False, state=False),
        RnnCase("dropout_between_layers", cell, 5, 3, 4, 8, layers=3, dropout=0.4),
        RnnCase("dropout_bidirectional", cell, 3, 5, 4, 6, layers=2, directions=2, dropout=0.25),
        RnnCase("no_input_features", cell, 3, 2, 0, 4),
        RnnCase("empty_batch", cell, 3, 0, 4, 5),
    ]


CASES = [case for cell in GATES for case in _cases(cell)]
