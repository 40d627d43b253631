"""Average pooling: windows at and beyond the edges, one to three axes, and the uneven bins of adaptive pooling."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class AvgPoolCase(Case):
    """x[n,c,*space]; without a kernel, to bins of size `out`. padding: (before, after) of each axis; `ceil`: the
    output size rounds up; `values`: "normal", or "special" with NaN and infinities.
    """

    n: int
    c: int
    space: Sizes
    kernel: Sizes = ()
    stride: Sizes = ()
    padding: Sizes = ()
    bins: Sizes = ()
    counts: bool = False
    divisor: int = 0
    ceil: bool = False
    values: str = "normal"
    op: ClassVar[str] = "avg_pool"
    kernels: ClassVar[tuple[str, ...]] = ("avg_pool_forward", "avg_pool_backward")

    @property
    def around(self) -> Sizes:
        return self.padding or (0, 0) * len(self.kernel)

    @property
    def out(self) -> Sizes:
        if self.bins:
            return self.bins
        sizes = []
        for i, (m, k, s) in enumerate(zip(self.space, self.kernel, self.stride, strict=True)):
            rest = m + sum(self.around[2 * i : 2 * i + 2]) - k
            sizes.append((rest + (s - 1 if self.ceil else 0)) // s + 1)
        return tuple(sizes)

    @property
    def differentiable(self) -> bool:
        return self.values == "normal"

    @property
    def options(self) -> tuple[Any, ...]:
        return self.kernel, self.stride, self.around, self.counts, self.divisor

    @property
    def axes(self) -> list[tuple[int, int, int, int]] | None:
        if self.bins:
            return None
        around = zip(self.around[::2], self.around[1::2], strict=True)
        return [(k, s, *pair) for k, s, pair in zip(self.kernel, self.stride, around, strict=True)]

    def inputs(self) -> Shapes:
        return {"x": (self.n, self.c, *self.space)}

    def outputs(self) -> Shapes:
        return {"y": (self.n, self.c, *self.out)}

    def cotangents(self) -> Shapes:
        return {"dy": self.outputs()["y"]}

    def gradients(self) -> Shapes:
        return {"dx": self.inputs()["x"]}

    @property
    def flops(self) -> int:
        return int(np.prod(self.inputs()["x"]))

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        numbers = rng.standard_normal(shape)
        if self.values == "special":
            for i, value in enumerate((np.nan, np.inf, -np.inf)):
                numbers.flat[i * numbers.size // 3] = value
        return numbers

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        core.avg_pool_forward(inputs["x"], results["y"], *self.options)
        core.avg_pool_backward(inputs["dy"], results["dx"], *self.options)

    def reference(self, inputs: Arrays) -> Arrays:
        rest = self.axes, self.counts, self.divisor
        return {
            "y": reference.avg_pool_forward(inputs["x"], self.out, *rest),
            "dx": reference.avg_pool_backward(inputs["dy"], self.space, *rest),
        }


CASES = [
    AvgPoolCase("halves", 2, 3, (8, 34), (2, 2), (2, 2)),
    AvgPoolCase("halves_with_a_rest", 1, 3, (9, 67), (2, 2), (2, 2)),
    AvgPoolCase("halves_divisor", 2, 3, (8, 34), (2, 2), (2, 2), divisor=5),
    AvgPoolCase("thirds_with_rows_between", 2, 3, (13, 35), (2, 3), (4, 3)),
    AvgPoolCase("overlapping", 2, 5, (11, 37), (3, 3), (2, 2), (1, 1, 1, 1)),
    AvgPoolCase("padding_counts", 2, 3, (11, 37), (3, 3), (2, 2), (1, 1, 1, 1), counts=True),
    AvgPoolCase("divisor", 2, 3, (11, 12), (3, 3), (2, 2), (1, 1, 1, 1), divisor=-7),
    AvgPoolCase("stride_one", 1, 2, (6, 35), (3, 3), (1, 1), (1, 1, 1, 1)),
    AvgPoolCase("stride_three", 1, 2, (13, 41), (4, 5), (3, 3), (1, 2, 2, 0), counts=True),
    AvgPoolCase("stride_three_few_rows", 2, 3, (12, 101), (3, 3), (3, 3)),
    AvgPoolCase("few_columns", 2, 9, (7, 7), (2, 2), (2, 2)),
    AvgPoolCase("stride_beyond_the_kernel", 1, 2, (13, 44), (2, 3), (4, 5)),
    AvgPoolCase("stride_beyond_the_phases", 1, 2, (13, 70), (2, 12), (4, 11)),
    AvgPoolCase("kernel_beyond_the_taps", 1, 2, (40, 90), (36, 40), (1, 2)),
    AvgPoolCase("kernel_is_a_row", 1, 3, (5, 33), (1, 4), (1, 4)),
    AvgPoolCase("kernel_is_a_column", 1, 3, (33, 5), (9, 1), (3, 1)),
    AvgPoolCase("column", 2, 3, (71, 1), (3, 1), (2, 1), (1, 1, 0, 0), counts=True),
    AvgPoolCase("columns_of_a_volume", 2, 3, (6, 39, 1), (3, 2, 1), (1, 2, 1)),
    AvgPoolCase("bins_of_a_column", 2, 3, (43, 1, 1), bins=(7, 1, 1)),
    AvgPoolCase("asymmetric_padding", 1, 2, (7, 29), (4, 5), (3, 2), (0, 2, 2, 1), counts=True),
    AvgPoolCase("rounded_up", 1, 3, (8, 40), (3, 3), (2, 2), (1, 1, 0, 1), counts=True, ceil=True),
    AvgPoolCase("sequence", 2, 3, (101,), (3,), (2,), (1, 1)),
    AvgPoolCase("volume", 2, 3, (6, 7, 33), (2, 3, 2), (2, 2, 2), (0, 0, 1, 1, 0, 1)),
    AvgPoolCase("volume_stride_one", 1, 2, (4, 5, 19), (3, 3, 3), (1, 1, 1), (1, 1, 1, 1, 1, 1), counts=True),
    AvgPoolCase("volume_deep_windows", 1, 2, (7, 9, 8), (5, 6, 3), (2, 1, 2)),
    AvgPoolCase("global", 3, 5, (7, 7), bins=(1, 1)),
    AvgPoolCase("global_volume", 2, 3, (3, 5, 17), bins=(1, 1, 1)),
    AvgPoolCase("global_by_windows", 3, 5, (14, 13), (14, 13), (14, 13)),
    AvgPoolCase("global_of_many_places", 2, 9, (16, 17), bins=(1, 1)),
    AvgPoolCase("one_window_of_whole_rows", 3, 5, (5, 8), (3, 8), (3, 8)),
    AvgPoolCase("whole_rows", 3, 5, (14, 33), bins=(5, 1)),
    AvgPoolCase("whole_planes", 2, 3, (5, 6, 7), bins=(3, 1, 1)),
    AvgPoolCase("whole_columns", 3, 5, (14, 33), bins=(1, 5)),
    AvgPoolCase("plane_too_long_for_one_run", 1, 2, (300, 301), bins=(1, 1)),
    AvgPoolCase("uneven_bins", 2, 3, (8, 37), bins=(3, 7)),
    AvgPoolCase("more_bins_than_places", 2, 3, (4, 5), bins=(7, 40)),
    AvgPoolCase("uneven_bins_of_volumes", 1, 2, (5, 7, 23), bins=(2, 3, 5)),
    AvgPoolCase("single_pixel", 2, 3, (1, 1), (1, 1), (1, 1)),
    AvgPoolCase("single_pixel_padded", 2, 3, (1, 1), (3, 3), (2, 2), (1, 1, 1, 1)),
    AvgPoolCase("many_planes", 30, 23, (4, 5), (2, 2), (2, 2)),
    AvgPoolCase("one_plane", 1, 1, (9, 37), (3, 5), (2, 1), (1, 1, 2, 2), counts=True),
    AvgPoolCase("bands_of_planes", 1, 19, (41, 83), (5, 5), (3, 3), (2, 2, 2, 2)),
    AvgPoolCase("bands_of_volumes", 1, 5, (9, 15, 21), (3, 3, 3), (1, 2, 2), (1, 1, 1, 1, 1, 1)),
    AvgPoolCase("bands_of_sequences", 1, 9, (3001,), (5,), (3,), (2, 2), counts=True),
    AvgPoolCase("groups_of_planes", 9, 67, (4, 3), (3, 2), (1, 1), (1, 1, 0, 0)),
    AvgPoolCase("nan_and_infinity", 1, 3, (9, 39), (3, 3), (2, 2), (1, 1, 1, 1), values="special"),
    AvgPoolCase("empty_batch", 0, 3, (8, 8), (2, 2), (2, 2)),
]
