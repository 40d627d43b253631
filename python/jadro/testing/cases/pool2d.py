"""Max pooling and its inverse: ties, NaN, and windows at, beyond and between the edges."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jadro.testing import reference
from jadro.testing.cases.base import Array, Arrays, Case, Shapes
from jadro.testing.reference.conv2d import output_size

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


@dataclass(frozen=True)
class MaxPool2dCase(Case):
    """x[n,c,*image]; `values` says what x holds: "normal", few integers ("ties"), NaN here and there ("nan"), or
    -inf.
    """

    n: int
    c: int
    image: Pair
    kernel: Pair
    stride: Pair
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    values: str = "normal"
    op: ClassVar[str] = "pool2d"
    kernels: ClassVar[tuple[str, ...]] = ("max_pool2d_forward", "max_pool2d_backward")
    exact: ClassVar[frozenset[str]] = frozenset({"y", "indices"})

    @property
    def out(self) -> Pair:
        top, bottom, left, right = self.padding
        return (
            output_size(self.image[0], self.kernel[0], self.stride[0], top, bottom, self.dilation[0]),
            output_size(self.image[1], self.kernel[1], self.stride[1], left, right, self.dilation[1]),
        )

    @property
    def differentiable(self) -> bool:
        return self.values == "normal"

    def inputs(self) -> Shapes:
        return {"x": (self.n, self.c, *self.image)}

    def outputs(self) -> Shapes:
        shape = (self.n, self.c, *self.out)
        return {"y": shape, "indices": shape}

    def cotangents(self) -> Shapes:
        return {"dy": self.outputs()["y"]}

    def gradients(self) -> Shapes:
        return {"dx": self.inputs()["x"]}

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        if name == "dy" or self.values == "normal":
            return rng.standard_normal(shape)
        if self.values == "-inf":
            return np.full(shape, -np.inf)
        numbers = rng.integers(-1, 2, shape).astype(np.float64)
        return np.where(rng.random(shape) < 0.1, np.nan, numbers) if self.values == "nan" else numbers

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        options = (self.kernel, self.stride, self.padding, self.dilation)
        core.max_pool2d_forward(inputs["x"], results["y"], results["indices"], *options)
        core.max_pool2d_backward(inputs["dy"], results["indices"], results["dx"])

    def reference(self, inputs: Arrays) -> Arrays:
        x = inputs["x"]
        y, indices = reference.max_pool2d_forward(x, self.kernel, self.stride, self.padding, self.dilation, self.out)
        return {"y": y, "indices": indices, "dx": reference.max_pool2d_backward(inputs["dy"], indices, x.shape)}


Sizes = tuple[int, ...]


@dataclass(frozen=True)
class MaxUnpool2dCase(Case):
    """x[n,c,*space] is pooled, by windows or to `bins`, then unpooled to u, of x's shape; dz is the gradient
    of what was unpooled.
    """

    n: int
    c: int
    space: Sizes
    kernel: Sizes = ()
    stride: Sizes = ()
    padding: Sizes = ()
    dilation: Sizes = ()
    bins: Sizes = ()
    values: str = "normal"
    op: ClassVar[str] = "pool2d"
    exact: ClassVar[frozenset[str]] = frozenset({"y", "indices", "u", "dz"})

    @property
    def kernels(self) -> tuple[str, ...]:  # type: ignore[override]
        forward = "adaptive_max_pool2d_forward" if self.bins else "max_pool2d_forward"
        return forward, "max_pool2d_backward", "max_unpool2d_forward", "max_unpool2d_backward"

    @property
    def window(self) -> tuple[Sizes, ...]:
        axes = len(self.space)
        return self.kernel, self.stride, self.padding or (0, 0) * axes, self.dilation or (1,) * axes

    @property
    def out(self) -> Sizes:
        kernel, stride, padding, dilation = self.window
        around = zip(padding[::2], padding[1::2], strict=True)
        axes = zip(self.space, kernel, stride, around, dilation, strict=True) if not self.bins else ()
        return self.bins or tuple(output_size(m, k, s, *pair, d) for m, k, s, pair, d in axes)

    @property
    def differentiable(self) -> bool:
        return self.values == "normal"

    def inputs(self) -> Shapes:
        return {"x": (self.n, self.c, *self.space)}

    def outputs(self) -> Shapes:
        shape = (self.n, self.c, *self.out)
        return {"y": shape, "indices": shape, "u": self.inputs()["x"]}

    def cotangents(self) -> Shapes:
        return {"dy": self.outputs()["y"], "du": self.inputs()["x"]}

    def gradients(self) -> Shapes:
        return {"dx": self.inputs()["x"], "dz": self.outputs()["y"]}

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        if name == "x" and self.values != "normal":
            numbers = rng.integers(-1, 2, shape).astype(np.float64)
            return np.where(rng.random(shape) < 0.1, np.nan, numbers) if self.values == "nan" else numbers
        return rng.standard_normal(shape)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        x, y, indices = inputs["x"], results["y"], results["indices"]
        if self.bins:
            core.adaptive_max_pool2d_forward(x, y, indices)
        else:
            core.max_pool2d_forward(x, y, indices, *self.window)
        core.max_pool2d_backward(inputs["dy"], indices, results["dx"])
        core.max_unpool2d_forward(y, indices, results["u"])
        core.max_unpool2d_backward(inputs["du"], indices, results["dz"])

    def reference(self, inputs: Arrays) -> Arrays:
        x = inputs["x"]
        if self.bins:
            y, indices = reference.adaptive_max_pool2d_forward(x, self.out)
        else:
            kernel, stride, padding, dilation = self.window
            y, indices = reference.max_pool2d_forward(x, kernel, stride, padding, dilation, self.out)
        return {
            "y": y,
            "indices": indices,
            "dx": reference.max_pool2d_backward(inputs["dy"], indices, x.shape),
            "u": reference.max_unpool2d_forward(y, indices, x.shape),
            "dz": reference.max_unpool2d_backward(inputs["du"], indices),
        }


CASES = [
    MaxPool2dCase("halves", 2, 3, (8, 8), (2, 2), (2, 2)),
    MaxPool2dCase("halves_of_overlapping_vectors", 1, 3, (5, 58), (2, 2), (2, 2)),
    MaxPool2dCase("halves_with_a_rest", 1, 3, (9, 67), (2, 2), (2, 2)),
    MaxPool2dCase("overlapping", 2, 5, (11, 13), (3, 3), (2, 2), (1, 1, 1, 1)),
    MaxPool2dCase("overlapping_wide", 1, 2, (7, 70), (3, 3), (2, 2), (1, 1, 1, 1)),
    MaxPool2dCase("stride_one", 1, 2, (6, 35), (3, 3), (1, 1), (1, 1, 1, 1)),
    MaxPool2dCase("stride_beyond_the_kernel", 1, 2, (13, 14), (2, 3), (4, 5)),
    MaxPool2dCase("stride_beyond_the_image", 1, 2, (4, 4), (2, 2), (9, 9)),
    MaxPool2dCase("kernel_is_the_image", 2, 2, (5, 7), (5, 7), (1, 1)),
    MaxPool2dCase("kernel_is_a_row", 1, 3, (5, 33), (1, 4), (1, 4)),
    MaxPool2dCase("kernel_is_a_column", 1, 3, (33, 5), (4, 1), (3, 1)),
    MaxPool2dCase("column", 2, 3, (71, 1), (3, 1), (2, 1), (1, 1, 0, 0), values="ties"),
    MaxUnpool2dCase("column_of_a_volume", 2, 3, (71, 1, 1), (2, 1, 1), (2, 1, 3)),
    MaxUnpool2dCase("columns_of_a_volume", 2, 3, (6, 39, 1), (3, 2, 1), (1, 2, 1), (1, 1, 0, 0, 0, 0), (1, 2, 1)),
    MaxUnpool2dCase("bins_of_a_column", 2, 3, (43, 1), bins=(7, 1), values="ties"),
    MaxPool2dCase("single_pixel", 2, 3, (1, 1), (1, 1), (1, 1)),
    MaxPool2dCase("single_pixel_padded", 2, 3, (1, 1), (3, 3), (2, 2), (1, 1, 1, 1)),
    MaxPool2dCase("dilation", 1, 2, (12, 15), (3, 2), (1, 2), (2, 2, 1, 1), (2, 3)),
    MaxPool2dCase("asymmetric_padding", 1, 2, (7, 9), (4, 5), (3, 2), (0, 2, 2, 1)),
    MaxPool2dCase("window_past_the_end", 1, 2, (7, 8), (3, 3), (2, 2), (0, 2, 0, 1)),
    MaxPool2dCase("every_tap_in_the_padding", 1, 2, (2, 2), (2, 2), (1, 1), (1, 1, 1, 1), (3, 3)),
    MaxPool2dCase("many_planes", 3, 23, (4, 5), (2, 2), (2, 2)),
    MaxPool2dCase("ties_go_to_the_first", 2, 4, (9, 39), (3, 3), (2, 2), (1, 1, 1, 1), values="ties"),
    MaxPool2dCase("ties_in_halves", 2, 4, (8, 66), (2, 2), (2, 2), values="ties"),
    MaxPool2dCase("nan_propagates", 2, 4, (9, 39), (3, 3), (2, 2), (1, 1, 1, 1), values="nan"),
    MaxPool2dCase("nan_in_halves", 2, 4, (8, 66), (2, 2), (2, 2), values="nan"),
    MaxPool2dCase("all_minus_infinity", 1, 2, (6, 34), (3, 3), (2, 2), (1, 1, 1, 1), values="-inf"),
    MaxPool2dCase("empty_batch", 0, 3, (8, 8), (2, 2), (2, 2)),
    MaxUnpool2dCase("unpooled", 2, 3, (8, 9), (2, 2), (2, 2)),
    MaxUnpool2dCase("unpooled_overlapping", 2, 3, (11, 37), (3, 3), (2, 2), (1, 1, 1, 1)),
    MaxUnpool2dCase("volume", 2, 3, (6, 7, 33), (2, 3, 2), (2, 2, 1), (0, 1, 1, 1, 1, 0), (2, 1, 3)),
    MaxUnpool2dCase("volume_halves", 1, 2, (4, 6, 38), (2, 2, 2), (2, 2, 2)),
    MaxUnpool2dCase("volume_overlapping", 1, 2, (7, 7, 37), (3, 3, 3), (2, 2, 2), (1, 1, 1, 1, 1, 1)),
    MaxUnpool2dCase("volume_few_columns", 2, 3, (5, 6, 3), (2, 2, 3), (1, 2, 1), (1, 1, 0, 0, 1, 1)),
    MaxUnpool2dCase("volume_ties", 1, 2, (7, 7, 37), (3, 3, 3), (2, 2, 2), (1, 1, 1, 1, 1, 1), values="ties"),
    MaxUnpool2dCase("volume_nan", 1, 2, (7, 7, 37), (3, 3, 3), (2, 2, 2), (1, 1, 1, 1, 1, 1), values="nan"),
    MaxUnpool2dCase("volume_more_taps_than_the_ring", 1, 2, (6, 9, 33), (5, 7, 3), (1, 2, 3), values="ties"),
    MaxUnpool2dCase(
        "volume_every_tap_in_the_padding", 1, 2, (2, 1, 20), (2, 2, 1), (1, 1, 1), (1, 1, 2, 2, 0, 0), (3, 4, 1)
    ),
    MaxUnpool2dCase("wide_windows_in_runs", 1, 3, (9, 90), (3, 41), (2, 49), values="ties"),
    MaxUnpool2dCase("wide_windows_with_nan", 1, 3, (9, 90), (3, 41), (2, 49), values="nan"),
    MaxUnpool2dCase("global", 3, 5, (9, 31), bins=(1, 1), values="ties"),
    MaxUnpool2dCase("global_with_nan", 3, 5, (9, 31), bins=(1, 1), values="nan"),
    MaxUnpool2dCase("global_volume", 2, 3, (3, 5, 9), bins=(1, 1, 1)),
    MaxUnpool2dCase("uneven_bins", 2, 3, (8, 37), bins=(3, 7)),
    MaxUnpool2dCase("uneven_bins_with_ties", 2, 3, (8, 37), bins=(3, 7), values="ties"),
    MaxUnpool2dCase("uneven_bins_with_nan", 2, 3, (8, 37), bins=(3, 7), values="nan"),
    MaxUnpool2dCase("bins_of_minus_infinity", 1, 2, (8, 37), bins=(3, 7), values="-inf"),
    MaxUnpool2dCase("stride_three", 2, 3, (13, 110), (3, 3), (3, 3), values="ties"),
    MaxUnpool2dCase("stride_three_padded", 1, 2, (11, 40), (5, 5), (2, 3), (1, 2, 2, 1)),
    MaxUnpool2dCase("few_columns", 2, 9, (7, 7), (2, 2), (2, 2), values="ties"),
    MaxUnpool2dCase("uneven_bins_of_volumes", 1, 2, (5, 7, 43), bins=(2, 3, 2), values="ties"),
    MaxUnpool2dCase("more_bins_than_places", 2, 3, (4, 5), bins=(7, 9)),
    MaxUnpool2dCase("one_plane", 1, 1, (9, 37), (3, 5), (2, 1), (1, 1, 2, 2), values="ties"),
    MaxUnpool2dCase("one_plane_with_nan", 1, 1, (9, 37), (3, 5), (2, 1), (1, 1, 2, 2), values="nan"),
    MaxUnpool2dCase("bands_of_planes", 1, 19, (41, 83), (5, 5), (3, 3), (2, 2, 2, 2), values="ties"),
    MaxUnpool2dCase("bands_of_planes_with_nan", 1, 3, (41, 83), (5, 5), (3, 3), values="nan"),
    MaxUnpool2dCase("bands_of_volumes", 1, 5, (9, 15, 21), (3, 3, 3), (1, 2, 2), (1, 1, 1, 1, 1, 1), values="ties"),
    MaxUnpool2dCase("bands_of_sequences", 1, 9, (1, 3001), (1, 5), (1, 3), (0, 0, 2, 2), values="ties"),
    MaxUnpool2dCase("bands_of_sequences_with_nan", 1, 9, (1, 3001), (1, 5), (1, 3), (0, 0, 2, 2), values="nan"),
    MaxUnpool2dCase("groups_of_planes", 9, 67, (4, 3), (3, 2), (1, 1), (1, 1, 0, 0), values="ties"),
    MaxUnpool2dCase("empty_batch_of_bins", 0, 3, (8, 8), bins=(3, 3)),
]
