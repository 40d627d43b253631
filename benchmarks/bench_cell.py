"""One step of `LSTMCell`, `GRUCell` and `RNNCell`, as a loop of one's own makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.bench_rnn import GATES, Rnn
from benchmarks.cases import Array, Job, both, grad_job, normal


@dataclass(frozen=True)
class Cell(Rnn):
    """x[B,I], the state -> h[B,H]; gradients to x and to every parameter."""

    group: ClassVar[str] = "cell"
    op: ClassVar[str] = "rnn_cell"

    @property
    def label(self) -> str:
        return f"{self.cell} cell B{self.B} I{self.I} H{self.H}"

    def weights(self) -> dict[str, Array]:
        return {name.removesuffix("_l0"): w for name, w in super().weights().items()}

    def arrays(self) -> dict[str, Array]:
        arrays = {name: a[0] for name, a in super().arrays().items()}
        return arrays | {"state": normal(np.random.default_rng(2), self.B, self.H)}

    def forward(self, model: Any, x: Any, state: Any) -> Any:
        """h of any library with PyTorch's names."""
        return model(x, (state, state))[0] if self.cell == "lstm" else model(x, state)

    def jadro(self) -> Job:
        import jadro
        from jadro import nn

        a, weights = self.arrays(), self.weights()
        model = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[self.cell](self.I, self.H)
        model.load_state_dict(weights)
        x, state = jadro.tensor(a["x"], requires_grad=self.train), jadro.tensor(a["state"])
        parameters = dict(model.named_parameters())
        inputs = (x, *(parameters[k] for k in weights))
        return grad_job(lambda: self.forward(model, x, state), inputs, a.get("dy"))


_SIZES = [(batch, width) for width in (64, 128, 512) for batch in (1, 4, 16, 64)]
CASES = both(*(Cell(False, cell, 1, batch, width, width) for cell in GATES for batch, width in _SIZES))
