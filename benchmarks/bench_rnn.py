"""Recurrent layers: LSTM, GRU and the plain tanh RNN over whole sequences, from one step of one row to H = 1024."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def rnn_shapes(cell: str, inputs: int, hidden: int, layers: int, directions: int) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes as PyTorch's state_dict has them."""
    rows = GATES[cell] * hidden
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        width = inputs if layer == 0 else directions * hidden
        for suffix in ("", "_reverse")[:directions]:
            end = f"_l{layer}{suffix}"
            shapes["weight_ih" + end] = (rows, width)
            shapes["weight_hh" + end] = (rows, hidden)
            shapes["bias_ih" + end] = shapes["bias_hh" + end] = (rows,)
    return shapes


def rnn_flops(shapes: dict[str, tuple[int, ...]], tokens: int) -> float:
    """Of the matrix products, forward."""
    return 2.0 * tokens * sum(s[0] * s[1] for s in shapes.values() if len(s) == 2)


@dataclass(frozen=True)
class Rnn(Case):
    """x[T,B,I] -> y[T,B,D*H] from a zero state; gradients to x and to every parameter."""

    cell: str
    T: int
    B: int
    I: int
    H: int
    layers: int = 1
    directions: int = 1

    group: ClassVar[str] = "rnn"
    op: ClassVar[str] = "rnn"

    @property
    def label(self) -> str:
        depth = f" {self.layers}-layer" if self.layers > 1 else ""
        directions = " bidirectional" if self.directions > 1 else ""
        return f"{self.cell} T{self.T} B{self.B} I{self.I} H{self.H}{depth}{directions}"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return rnn_shapes(self.cell, self.I, self.H, self.layers, self.directions)

    @property
    def flops(self) -> float:
        return (3 if self.train else 1) * rnn_flops(self.shapes, self.T * self.B)

    @property
    def bytes(self) -> float:
        weights = sum(int(np.prod(s)) for s in self.shapes.values())
        return (3 if self.train else 1) * ITEM * float(weights + self.T * self.B * (self.I + self.directions * self.H))

    def weights(self) -> dict[str, Array]:
        rng = np.random.default_rng(1)
        bound = self.H**-0.5
        return {k: rng.uniform(-bound, bound, s).astype(np.float32) for k, s in self.shapes.items()}

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        arrays = {"x": normal(rng, self.T, self.B, self.I)}
        if self.train:
            arrays["dy"] = normal(rng, self.T, self.B, self.directions * self.H)
        return arrays

    def jadro(self) -> Job:
        import jadro
        from jadro import nn

        a, weights = self.arrays(), self.weights()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[self.cell]
        model = layer(
            self.I, self.H, num_layers=self.layers, bidirectional=self.directions == 2, **self.layer_options()
        )
        model.load_state_dict(weights)
        model.train(self.train)
        x = jadro.tensor(a["x"], requires_grad=self.train)
        parameters = dict(model.named_parameters())
        options = self.call_options()
        return grad_job(lambda: model(x, **options)[0], (x, *(parameters[k] for k in weights)), a.get("dy"))

    def layer_options(self) -> dict[str, Any]:
        """jadro's further arguments of the layer."""
        return {}

    def call_options(self) -> dict[str, Any]:
        """jadro's further arguments of the call."""
        return {}


@dataclass(frozen=True)
class Step(Rnn):
    """One step of a stream: `rnn.stepper`, beside the peers' layers over one step."""

    @property
    def label(self) -> str:
        return f"{self.cell} stepper B{self.B} I{self.I} H{self.H}"

    def jadro(self) -> Job:
        from jadro import nn

        model = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[self.cell](self.I, self.H, num_layers=self.layers)
        model.load_state_dict(self.weights())
        stepper, x = model.stepper(self.B), self.arrays()["x"][0]

        def from_zeros(_: Array) -> list[Array]:  # the peers carry no state
            stepper.reset()
            return [stepper(x)[None]]

        return Job(lambda: stepper(x), from_zeros)


_SIZES = (
    (64, 32, 128, 128),
    (128, 64, 256, 256),
    (100, 1, 128, 128),
    (32, 128, 512, 512),
    (50, 64, 512, 1024),
    (1, 1, 64, 64),
    (200, 16, 64, 64),
    (64, 50, 87, 128),
    (1000, 16, 64, 128),
    (16, 32, 512, 2048),
)
CASES = both(
    *(Rnn(False, cell, *size) for cell in GATES for size in _SIZES),
    Rnn(False, "lstm", 64, 32, 128, 128, layers=2, directions=2),
) + [Step(False, cell, 1, 1, 64, 64) for cell in GATES]
