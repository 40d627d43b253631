"""What a call costs besides its arithmetic: operators on 4x4 Tensors, beside NumPy and PyTorch; and on large ones.

`fwd` is a call on Tensors that require no gradient, `recorded` one that leaves a graph, `train` the call and the
gradients of all inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, grad_job, normal

SIZE, LARGE = 4, 1000
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "scale": lambda a, b: a * 2.0,
    "matmul": lambda a, b: a @ b,
    "sum": lambda a, b: a.sum(),
    "mean": lambda a, b: a.mean(1),
    "max": lambda a, b: a.max(),
    "relu": lambda a, b: a.relu(),
    "exp": lambda a, b: a.exp(),
    "reshape": lambda a, b: a.reshape(2, 8),
    "index": lambda a, b: a[1],
}
# Where NumPy writes it another way.
NUMPY: dict[str, Callable[[Any, Any], Any]] = {
    **OPERATORS,
    "relu": lambda a, b: np.maximum(a, 0),
    "exp": lambda a, b: np.exp(a),
}
BINARY = ("add", "mul", "matmul")
BY_KERNELS = ("add", "mul", "scale", "sum", "mean", "max", "exp")


@dataclass(frozen=True)
class Overhead(Case):
    """One operator."""

    operator: str
    recorded: bool = False
    size: int = SIZE

    group: ClassVar[str] = "overhead"
    op: ClassVar[str] = "overhead"

    @property
    def label(self) -> str:
        return f"{self.operator} {self.size}x{self.size}"

    @property
    def name(self) -> str:
        return f"{self.label} recorded" if self.recorded else super().name

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        return 2.0 * ITEM * self.size * self.size

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        a, b = normal(rng, self.size, self.size), normal(rng, self.size, self.size)
        return {"a": a, "b": b, "dy": np.asarray(normal(rng, *np.shape(NUMPY[self.operator](a, b))))}

    def jadro(self) -> Job:
        import jadro

        arrays = self.arrays()
        a, b = (jadro.tensor(arrays[k], requires_grad=self.train or self.recorded) for k in "ab")
        function = OPERATORS[self.operator]
        if not self.train:
            return Job(lambda: function(a, b), lambda y: [y.detach().numpy()])
        return grad_job(lambda: function(a, b), [a, b] if self.operator in BINARY else [a], arrays["dy"])


CASES = [
    case
    for operator in OPERATORS
    for case in (Overhead(False, operator), Overhead(False, operator, True), Overhead(True, operator))
] + [Overhead(False, operator, size=LARGE) for operator in BY_KERNELS]
