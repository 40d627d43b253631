"""Pointwise functions: bound by memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import Array, Map, both


@dataclass(frozen=True)
class Activation(Map):
    """function(x), x of any shape."""

    group: ClassVar[str] = "activation"
    op: ClassVar[str] = "activation"


@dataclass(frozen=True)
class PRelu(Map):
    """prelu(x, w), a slope for each channel of x."""

    group: ClassVar[str] = "activation"
    op: ClassVar[str] = "prelu"

    def arrays(self) -> dict[str, Array]:
        return {**super().arrays(), "w": np.linspace(-0.5, 0.5, self.shape[1], dtype=np.float32)}


IMAGE = (32, 64, 56, 56)
CASES = [
    *both(*(Activation(False, name, shape) for name in ("relu", "tanh", "sigmoid") for shape in (IMAGE, (1, 64)))),
    *both(*(Activation(False, name, IMAGE) for name in ("leaky_relu", "elu", "gelu", "silu", "softplus"))),
    *both(*(PRelu(False, "prelu", shape) for shape in (IMAGE, (1, 64)))),
]
