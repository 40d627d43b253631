"""What a case is, and the one rule by which a kernel's results are judged.

The rule: the error of the kernel against the exact result is at most twice the error of the naive implementation in
the same precision, plus `FLOOR_ULPS` units in the last place of the result. The exact result is the reference in a
wider type, the naive implementation the reference in the kernel's own. Both errors are measured over the whole array,
by root mean square and by the largest element: one wrong element moves the second far beyond rounding. An algorithm
that spends accuracy to save arithmetic says by how much: `rounding` multiplies the bound.

The naive implementation may be lucky where an array has few elements. So it runs `NAIVE_RUNS` times, all but the first
with every input moved to a neighbouring number, which draws its rounding errors anew, and its largest error counts.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]
Allocate = Callable[[tuple[int, ...], DTypeLike], Any]

# Half a unit is lost in storing the exact result, and exp, tanh and a division may each cost one or two.
FLOOR_ULPS = 4.0
NAIVE_RUNS = 4
# The type in which the reference counts as exact.
WIDER: dict[Any, np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.float64),
    np.dtype(np.float64): np.dtype(np.longdouble),
}
INTEGERS = {"indices": np.int32, "target": np.int64, "ids": np.int64}


@dataclass(frozen=True)
class Case(ABC):
    """One problem for one op. `name` says what it stresses.

    Inputs, outputs, cotangents (gradients of the outputs, inputs of the backward kernels) and gradients are named as
    in the equations: x w b, y, dy, dx dw db.
    """

    name: str
    op: ClassVar[str]  # the stem
    kernels: ClassVar[tuple[str, ...]]  # what `run` calls
    exact: ClassVar[frozenset[str]] = frozenset()  # results that must be those of the reference, bit for bit
    sums: ClassVar[frozenset[str]] = frozenset()  # results in float32 where the inputs are 16-bit floats

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    @abstractmethod
    def inputs(self) -> Shapes: ...

    @abstractmethod
    def outputs(self) -> Shapes: ...

    def cotangents(self) -> Shapes:
        return {}

    def gradients(self) -> Shapes:
        return {}

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass that no direct algorithm can leave out."""
        return 0

    def bytes(self, dtype: DTypeLike) -> int:
        """Bytes that the forward pass must read or write once."""
        shapes = [*self.inputs().items(), *self.outputs().items()]
        return sum(_size(shape) * np.dtype(INTEGERS.get(name, dtype)).itemsize for name, shape in shapes)

    @property
    def rounding(self) -> float:
        """How many times the bound on the error is, for an algorithm that is known to round more than the naive one."""
        return 1.0

    @property
    def differentiable(self) -> bool:
        """Whether the result has a derivative at these inputs, so that differences can check the gradients."""
        return True

    def make_inputs(self, dtype: DTypeLike) -> Arrays:
        """The inputs and the cotangents, the same in every process."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        arrays = {}
        for name, shape in {**self.inputs(), **self.cotangents()}.items():
            arrays[name] = np.ascontiguousarray(self.draw(rng, name, shape)).astype(INTEGERS.get(name, dtype))
        return arrays

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        return rng.standard_normal(shape)

    def run(self, core: Any, inputs: Arrays, empty: Allocate = np.empty) -> Arrays:
        """Forward and backward by the kernels of `core`, into arrays from `empty`."""
        dtype = next(a.dtype for name, a in inputs.items() if name not in INTEGERS)
        wide = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
        results = {
            name: empty(shape, INTEGERS.get(name, wide if name in self.sums else dtype))
            for name, shape in {**self.outputs(), **self.gradients()}.items()
        }
        self.call(core, inputs, results)
        return results

    @abstractmethod
    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        """Fills `results` from `inputs`."""

    @abstractmethod
    def reference(self, inputs: Arrays) -> Arrays:
        """The results of `run` in plain NumPy, in the precision of the inputs."""


def widen(arrays: Arrays) -> Arrays:
    """The same numbers in the type in which the reference counts as exact."""
    return {name: a.astype(WIDER.get(a.dtype, a.dtype)) for name, a in arrays.items()}


@cache
def expected(case: Case, dtype: np.dtype[Any]) -> tuple[Arrays, list[Arrays]]:
    """The exact results of a case and those of each naive run."""
    inputs = case.make_inputs(dtype)
    rng = np.random.default_rng(0)
    runs = NAIVE_RUNS if case.differentiable else 1  # a step would be another problem, not another rounding
    with np.errstate(all="ignore"):
        moved = [{name: _neighbour(rng, a) for name, a in inputs.items()} for _ in range(runs - 1)]
        return case.reference(widen(inputs)), [case.reference(given) for given in (inputs, *moved)]


def assert_close_to_reference(got: Arrays, case: Case) -> None:
    """Holds every result of a case's `run` to the rule of this module."""
    dtype = next(a.dtype for name, a in got.items() if name not in INTEGERS)
    exact, naive = expected(case, np.dtype(dtype))
    assert got.keys() == exact.keys(), f"{case}: results {sorted(got)}, expected {sorted(exact)}"
    for name, result in got.items():
        if name in case.exact:
            np.testing.assert_array_equal(result, naive[0][name], f"{case}: {name}", strict=True)
        else:
            assert_close(result, exact[name], [run[name] for run in naive], f"{case}: {name}", case.rounding)


def assert_close(got: Array, exact: Array, naive: Sequence[Array], what: str = "", rounding: float = 1.0) -> None:
    """The rule for one array, given the results of the naive runs."""
    shape, dtype = naive[0].shape, naive[0].dtype
    assert (got.shape, got.dtype) == (shape, dtype), f"{what} is {got.dtype}{got.shape}, expected {dtype}{shape}"
    special = ~np.isfinite(exact)
    np.testing.assert_array_equal(got[special], exact[special].astype(dtype), f"{what}: NaN and infinity")
    with np.errstate(invalid="ignore"):
        difference, *allowed = (np.where(special, 0, a - exact) for a in (got, *naive))
    scale = np.where(special, 0, exact)
    for norm in (root_mean_square, largest):
        error = norm(difference)
        bound = rounding * (2 * max(map(norm, allowed)) + FLOOR_ULPS * np.finfo(dtype).eps * norm(scale))
        assert error <= bound, f"{what}: {norm.__name__} error {error:.3g} exceeds {bound:.3g}"


def root_mean_square(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0


def largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0))


def _neighbour(rng: np.random.Generator, x: Array) -> Array:
    """Every floating number of x moved by one unit in its last place, up or down at random."""
    if x.dtype.kind != "f":
        return x
    towards = np.where(rng.random(x.shape) < 0.5, -np.inf, np.inf).astype(x.dtype)
    return np.where(np.isfinite(x) & (x != 0), np.nextafter(x, towards), x)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
