"""What a benchmark case is, and the list of all of them.

A case knows its inputs, its arithmetic and its bytes, and how jadro runs it (`jadro`). How a peer runs it is a method
of that peer, in `peers/`, named by the case's `op`. Cases are small frozen dataclasses: they travel to the worker
processes.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ITEM = 4  # bytes of a float32

# groups of PERFORMANCE's table, run by default, and the smaller ones, run when asked for
DEFAULT_GROUPS = ("gemm", "conv", "pool", "rnn", "step")
SMALL_GROUPS = (
    "layers",
    "drawn",
    "rnn_options",
    "cell",
    "batch_norm",
    "activation",
    "embedding",
    "cross_entropy",
    "dropout",
    "optim",
    "overhead",
    "avg_pool",
    "group_norm",
    "softmax",
)
STEMS = {"conv": "conv2d", "pool": "pool2d"}  # group -> stem of its file, where they differ


class Job(NamedTuple):
    """One side of one case, ready to run."""

    run: Callable[[], Any]  # one complete call; returns when the result is there
    results: Callable[[Any], Sequence[Any]]  # of what `run` returned: NumPy arrays, N C first, in every side's order


class Unsupported(Exception):
    """This side has no such operation."""


@dataclass(frozen=True)
class Case(ABC):
    """One row of the table: `train` is forward and all gradients, otherwise forward without a graph."""

    train: bool
    group: ClassVar[str]
    op: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str:
        """The row's name without its mode."""

    @property
    def name(self) -> str:
        return f"{self.label} {'train' if self.train else 'fwd'}"

    @property
    def base(self) -> str:
        """The name of the case whose time this one's is compared with; "" where there is none."""
        return ""

    @property
    @abstractmethod
    def flops(self) -> float:
        """Multiplications and additions that no direct algorithm can leave out."""

    @property
    @abstractmethod
    def bytes(self) -> float:
        """Bytes that must be read or written once."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """The inputs, the same in every process."""

    @abstractmethod
    def jadro(self) -> Job:
        """jadro's side, through the public interface."""


@dataclass(frozen=True)
class Map(Case):
    """function(x, *options) of `jadro.nn.functional`, shaped as x: bound by memory."""

    function: str
    shape: tuple[int, ...]

    @property
    def options(self) -> tuple[Any, ...]:
        return ()

    @property
    def label(self) -> str:
        return " ".join(map(str, (self.function, *self.options, "x".join(map(str, self.shape)))))

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def bytes(self) -> float:
        return (5 if self.train else 2) * ITEM * float(math.prod(self.shape))  # x -> y; what is kept, dy -> dx

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        return {name: normal(rng, *self.shape) for name in ("x", "dy")[: 1 + self.train]}

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        inputs = [jadro.tensor(a[name], requires_grad=self.train) for name in a if name != "dy"]
        function = getattr(F, self.function)
        return grad_job(lambda: function(*inputs, *self.options), inputs, a.get("dy"))


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    """float32 standard normal numbers times scale."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def both(*cases: Case) -> list[Case]:
    """Each case's forward row, then its training row."""
    return [replace(case, train=train) for case in cases for train in (False, True)]


def group_cases(group: str) -> list[Case]:
    """The cases of one group, from `bench_<stem>.py`."""
    module = importlib.import_module(f"benchmarks.bench_{STEMS.get(group, group)}")
    return list(module.CASES)


def grad_job(forward: Callable[[], Any], inputs: Sequence[Any], dy: Array | None) -> Job:
    """jadro's `forward` alone under no_grad, or with the gradients of all inputs for the output gradient dy."""
    import jadro

    if dy is None:

        def run_forward() -> Any:
            with jadro.no_grad():
                return forward()

        return Job(run_forward, lambda y: [y.numpy()])

    seed = jadro.tensor(dy)

    def run() -> Any:
        y = forward()
        return y, jadro.grad(y, inputs, seed)

    return Job(run, lambda out: [out[0].detach().numpy(), *(g.numpy() for g in out[1])])
