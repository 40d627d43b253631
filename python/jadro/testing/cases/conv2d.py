"""Convolutions: the edges of the image, of the filter and of the tile over output channels and pixels."""

from dataclasses import dataclass
from math import gcd, prod
from typing import Any, ClassVar

import numpy as np

from jadro.ops.conv2d import winograd_serves
from jadro.testing import reference
from jadro.testing.cases.base import Arrays, Case, Shapes
from jadro.testing.reference.conv2d import output_sizes, shown

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Conv2dCase(Case):
    """x[n,ic,*image], w[oc,ic/groups,*kernel]; the image has two axes, or three. padding: (before, after) of each."""

    n: int
    ic: int
    image: Sizes
    oc: int
    kernel: Sizes
    stride: Sizes = ()  # empty: 1 everywhere, and so below
    padding: Sizes = ()
    dilation: Sizes = ()
    groups: int = 1
    bias: bool = True
    relu: bool = False
    slope: bool = False  # of relu, below 0
    most: float = np.inf  # above
    scale: bool = False
    add: bool = False
    algorithm: str = "auto"
    padding_mode: str = "zeros"
    op: ClassVar[str] = "conv2d"
    kernels: ClassVar[tuple[str, ...]] = ("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight")

    def __post_init__(self) -> None:
        axes = len(self.image)
        for name, default in (("stride", (1,) * axes), ("padding", (0,) * 2 * axes), ("dilation", (1,) * axes)):
            object.__setattr__(self, name, getattr(self, name) or default)

    @property
    def out(self) -> Sizes:
        return output_sizes(self.image, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def rounding(self) -> float:
        """Winograd's F(4x4, 3x3) multiplies with sums of 36 pixels: several times the error of direct sums. It may be
        what computes every g-th pixel, where g divides stride and dilation."""
        common = [gcd(*both) for both in zip(self.stride, self.dilation, strict=True)]
        stride, dilation = (
            tuple(a // g for a, g in zip(option, common, strict=True)) for option in (self.stride, self.dilation)
        )
        served = self.winograd_serves or winograd_serves(self.kernel, stride, dilation)
        return 3.0 if served and self.algorithm in ("auto", "winograd") else 1.0

    @property
    def winograd_serves(self) -> bool:
        return winograd_serves(self.kernel, self.stride, self.dilation)

    @property
    def weight(self) -> Sizes:
        return (self.oc, self.ic // self.groups, *self.kernel)

    def inputs(self) -> Shapes:
        shapes: Shapes = {"x": (self.n, self.ic, *self.image), "w": self.weight}
        channels = (self.oc,)
        given = {"b": self.bias, "scale": self.scale, "add": self.add, "slope": self.slope}
        others: Shapes = {"b": channels, "scale": channels, "add": (self.n, self.oc, *self.out), "slope": channels}
        return {**shapes, **{name: shape for name, shape in others.items() if given[name]}}

    @property
    def forward_only(self) -> bool:
        """The gradient of what is fused is the tape's business."""
        return self.relu or self.scale or self.add

    def outputs(self) -> Shapes:
        return {"y": (self.n, self.oc, *self.out)}

    def cotangents(self) -> Shapes:
        return {} if self.forward_only else {"dy": self.outputs()["y"]}

    def gradients(self) -> Shapes:
        return {} if self.forward_only else {f"d{name}": shape for name, shape in self.inputs().items()}

    @property
    def flops(self) -> int:
        return 2 * self.n * self.oc * (self.ic // self.groups) * prod(map(self._taps_inside, range(len(self.image))))

    def _taps_inside(self, axis: int) -> int:
        """Pairs of an output and a filter element, along one axis, that meet a pixel and not a zero of the padding."""
        cells = np.array(shown(self.padding_mode, self.image[axis], *self.padding[2 * axis : 2 * axis + 2]))
        first = np.arange(self.out[axis])[:, None] * self.stride[axis]
        return int(np.count_nonzero(cells[first + np.arange(self.kernel[axis]) * self.dilation[axis]] >= 0))

    def _options(self, *algorithm: str) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups, *algorithm, self.padding_mode

    def _epilogue(self, inputs: Arrays) -> tuple[Any, ...]:
        return self.relu, inputs.get("scale"), inputs.get("add"), inputs.get("slope"), self.most

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        options = self._options(self.algorithm)
        core.conv2d_forward(inputs["x"], inputs["w"], inputs.get("b"), results["y"], *options, *self._epilogue(inputs))
        if not self.forward_only:
            core.conv2d_backward_data(inputs["dy"], inputs["w"], results["dx"], *options)
            core.conv2d_backward_weight(inputs["dy"], inputs["x"], results["dw"], results.get("db"), *options)

    def reference(self, inputs: Arrays) -> Arrays:
        x, w, options = inputs["x"], inputs["w"], self._options()
        results = {"y": reference.conv2d_forward(x, w, inputs.get("b"), *options, *self._epilogue(inputs))}
        if not self.forward_only:
            results["dx"] = reference.conv2d_backward_data(inputs["dy"], w, x.shape, *options)
            results["dw"], db = reference.conv2d_backward_weight(inputs["dy"], x, self.kernel, *options)
            if self.bias:
                results["db"] = db
        return results


@dataclass(frozen=True)
class ConvTransposeCase(Conv2dCase):
    """x[n,ic,*image], w[ic,oc/groups,*kernel] -> y, as the gradient of the data of a convolution from y to x. Padding
    cuts cells of y off; negative, it adds cells that x does not reach."""

    @property
    def out(self) -> Sizes:
        sides = zip(self.padding[::2], self.padding[1::2], strict=True)
        axes = zip(self.image, self.kernel, self.stride, sides, self.dilation, strict=True)
        return tuple((m - 1) * s - sum(p) + d * (k - 1) + 1 for m, k, s, p, d in axes)

    @property
    def weight(self) -> Sizes:
        return (self.ic, self.oc // self.groups, *self.kernel)

    def gradients(self) -> Shapes:
        return {name: shape for name, shape in super().gradients().items() if name in ("dx", "dw")}

    @property
    def flops(self) -> int:
        """Every pixel of x meets every tap, also those whose result the padding cuts off."""
        return 2 * self.n * self.oc * (self.ic // self.groups) * prod(self.image) * prod(self.kernel)

    def call(self, core: Any, inputs: Arrays, results: Arrays) -> None:
        options, epilogue = self._options(self.algorithm), self._epilogue(inputs)
        core.conv2d_backward_data(inputs["x"], inputs["w"], results["y"], *options, inputs.get("b"), *epilogue)
        if not self.forward_only:
            core.conv2d_forward(inputs["dy"], inputs["w"], None, results["dx"], *options)
            core.conv2d_backward_weight(inputs["x"], inputs["dy"], results["dw"], None, *options)

    def reference(self, inputs: Arrays) -> Arrays:
        x, w, options = inputs["x"], inputs["w"], self._options()
        forward = (*options, inputs.get("b"), *self._epilogue(inputs))
        results = {"y": reference.conv2d_backward_data(x, w, self.outputs()["y"], *forward)}
        if not self.forward_only:
            results["dx"] = reference.conv2d_forward(inputs["dy"], w, None, *options)
            results["dw"], _ = reference.conv2d_backward_weight(x, inputs["dy"], self.kernel, *options)
        return results


CASES = [
    Conv2dCase("single_pixel", 1, 1, (1, 1), 1, (1, 1)),
    Conv2dCase("single_pixel_padded", 2, 3, (1, 1), 5, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("kernel_is_the_image", 2, 4, (5, 7), 6, (5, 7)),
    Conv2dCase("same_size", 2, 3, (9, 10), 8, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("without_bias", 2, 3, (9, 10), 8, (3, 3), bias=False),
    Conv2dCase("one_by_one", 2, 37, (5, 6), 33, (1, 1)),
    Conv2dCase("one_by_one_strided", 1, 5, (9, 7), 4, (1, 1), stride=(2, 3)),
    Conv2dCase("one_by_one_strided_padded", 2, 5, (9, 40), 8, (1, 1), (2, 2), (1, 0, 2, 3), relu=True, add=True),
    Conv2dCase("one_by_one_strided_cropped", 1, 3, (9, 40), 4, (1, 1), (3, 2), (-1, -1, -3, 1), (2, 3)),
    Conv2dCase("stride_and_dilation_two", 2, 5, (11, 37), 7, (3, 3), (2, 2), (2, 1, 3, 2), (2, 2), relu=True, add=True),
    Conv2dCase("stride_four_dilation_two", 1, 4, (17, 43), 6, (3, 2), (4, 4), (3, 0, 1, 4), (2, 2), groups=2),
    Conv2dCase("stride_and_dilation_three", 2, 2, (12, 50), 3, (2, 3), (1, 3), (0, 0, 4, 4), (1, 3)),
    Conv2dCase("stride_past_the_image", 1, 2, (3, 2), 3, (2, 2), (2, 2), (1, 1, 3, 2), (2, 2)),
    Conv2dCase("stride_beyond_the_kernel", 2, 3, (14, 17), 5, (2, 3), stride=(4, 5), padding=(1, 0, 2, 1)),
    Conv2dCase("stride_leaves_one_phase", 3, 3, (3, 2), 16, (3, 3), (5, 5), (0, 0, 3, 3), (1, 2)),
    Conv2dCase("stride_three", 2, 3, (14, 67), 18, (3, 4), (3, 3), (1, 1, 2, 2)),
    Conv2dCase("stride_four", 2, 3, (15, 83), 18, (5, 5), (4, 4), (2, 2, 2, 2)),
    Conv2dCase("stride_three_few_phases", 1, 3, (14, 120), 5, (2, 2), (3, 3)),
    Conv2dCase("stride_leaves_a_rest", 1, 2, (10, 11), 3, (3, 3), stride=(2, 2)),
    Conv2dCase("stride_two_padded", 2, 4, (12, 13), 6, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    Conv2dCase("seven_by_seven_stride_two", 1, 3, (23, 20), 9, (7, 7), stride=(2, 2), padding=(3, 3, 3, 3)),
    Conv2dCase("dilation", 1, 3, (11, 12), 4, (3, 3), dilation=(2, 3), padding=(2, 2, 3, 3)),
    Conv2dCase("dilation_with_tiles", 3, 33, (19, 38), 35, (3, 3), padding=(2,) * 4, dilation=(2, 2), relu=True),
    Conv2dCase("dilation_past_the_padding", 2, 19, (14, 40), 18, (3, 3), padding=(1, 3, 2, 0), dilation=(2, 3)),
    Conv2dCase("dilation_beyond_the_image", 1, 17, (7, 9), 18, (3, 3), padding=(12,) * 4, dilation=(12, 12)),
    Conv2dCase("dilation_of_columns", 2, 16, (9, 35), 18, (3, 3), padding=(1, 1, 5, 5), dilation=(1, 5), groups=2),
    Conv2dCase("dilation_of_rows", 2, 16, (18, 21), 17, (3, 3), padding=(2, 2, 1, 1), dilation=(2, 1)),
    Conv2dCase("dilation_with_tiles_of_five", 1, 17, (15, 18), 33, (5, 5), padding=(3, 4, 5, 1), dilation=(2, 2)),
    Conv2dCase("dilation_added_to", 2, 18, (9, 16), 17, (3, 3), (), (2,) * 4, (2, 2), add=True, relu=True),
    Conv2dCase("dilation_and_asymmetric_padding", 2, 2, (9, 8), 3, (3, 2), dilation=(2, 4), padding=(0, 3, 4, 1)),
    Conv2dCase("padding_beyond_the_kernel", 1, 2, (4, 5), 3, (2, 2), padding=(4, 5, 3, 6)),
    Conv2dCase("padding_meets_most_taps", 2, 5, (2, 1), 18, (5, 7), padding=(1, 2, 3, 3)),
    Conv2dCase("padding_meets_most_taps_strided", 3, 17, (2, 2), 33, (3, 3), (2, 2), (1,) * 4),
    Conv2dCase("padding_meets_most_taps_dilated", 2, 4, (3, 4), 6, (5, 5), (1, 3), (6, 6, 5, 6), (3, 3), groups=2),
    Conv2dCase("padding_meets_most_taps_depthwise", 2, 9, (2, 3), 9, (3, 3), (2, 2), (1,) * 4, groups=9),
    Conv2dCase("padding_alone", 1, 2, (2, 3), 3, (2, 2), (9, 1), (3, 5, 1, 1)),
    Conv2dCase("padding_beyond_the_stride", 1, 2, (6, 6), 3, (3, 3), stride=(3, 2), padding=(5, 0, 0, 7)),
    Conv2dCase("groups", 2, 6, (7, 8), 9, (3, 3), padding=(1, 1, 1, 1), groups=3),
    Conv2dCase("groups_strided_and_dilated", 1, 8, (13, 12), 4, (3, 2), (2, 1), (2, 1, 0, 1), (2, 3), groups=4),
    Conv2dCase("groups_depthwise", 2, 17, (9, 11), 17, (3, 3), padding=(1, 1, 1, 1), groups=17),
    Conv2dCase("depthwise_strided", 1, 5, (12, 19), 5, (3, 3), (2, 2), (1, 1, 1, 1), groups=5, bias=False),
    Conv2dCase("depthwise_strided_unpadded", 2, 3, (10, 36), 3, (3, 3), (2, 2), groups=3),
    Conv2dCase("depthwise_strided_wide_padding", 2, 3, (7, 5), 6, (3, 3), (2, 2), (2, 2, 2, 2), groups=3),
    Conv2dCase("depthwise_tall_strided", 2, 4, (12, 13), 4, (6, 3), (2, 1), (2, 2, 1, 1), groups=4),
    Conv2dCase("depthwise_wide_strided", 2, 4, (11, 23), 4, (3, 6), (1, 2), (1, 1, 2, 2), groups=4),
    Conv2dCase("depthwise_long_rows", 1, 3, (9, 150), 3, (3, 3), padding=(1, 1, 1, 1), groups=3),
    Conv2dCase("depthwise_long_rows_strided", 1, 3, (9, 290), 3, (3, 3), (2, 2), (1, 1, 1, 1), groups=3),
    Conv2dCase("depthwise_five_by_five", 2, 5, (17, 19), 5, (5, 5), padding=(2, 2, 2, 2), groups=5),
    Conv2dCase("depthwise_seven_by_seven", 1, 4, (23, 37), 8, (7, 7), padding=(3, 3, 3, 3), groups=4),
    Conv2dCase("depthwise_strided_and_dilated", 2, 4, (13, 40), 4, (3, 3), (2, 2), (2, 2, 1, 2), (2, 2), groups=4),
    Conv2dCase("depthwise_dilated", 2, 5, (19, 37), 5, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2), groups=5),
    Conv2dCase("depthwise_dilated_far", 1, 4, (14, 40), 4, (3, 3), padding=(5, 0, 4, 5), dilation=(5, 5), groups=4),
    Conv2dCase("depthwise_two_dilations", 1, 4, (14, 40), 4, (3, 3), padding=(1, 1, 4, 4), dilation=(1, 4), groups=4),
    Conv2dCase("depthwise_seven_by_seven_long_rows", 1, 2, (9, 141), 2, (7, 7), padding=(5, 1, 6, 0), groups=2),
    Conv2dCase("depthwise_small_planes", 3, 19, (7, 6), 19, (5, 5), padding=(2, 2, 2, 2), groups=19),
    Conv2dCase("depthwise_small_planes_strided", 2, 18, (9, 8), 18, (4, 5), (1, 2), (1, 2, 2, 2), (2, 1), 18),
    Conv2dCase("depthwise_many_taps", 2, 3, (20, 31), 3, (4, 6), padding=(1, 2, 3, 2), groups=3),
    Conv2dCase("depthwise_one_by_one", 2, 9, (13, 11), 9, (1, 1), groups=9),
    Conv2dCase("depthwise_row", 2, 5, (1, 203), 5, (1, 31), padding=(0, 0, 9, 9), groups=5),
    Conv2dCase("depthwise_row_strided", 2, 5, (1, 203), 10, (1, 5), (1, 2), (0, 0, 2, 2), groups=5),
    Conv2dCase("depthwise_row_outside", 1, 3, (3, 40), 3, (1, 3), (7, 1), (2, 1, 1, 1), groups=3),
    Conv2dCase("depthwise_multiplier", 2, 5, (8, 9), 15, (5, 3), padding=(2, 2, 1, 1), groups=5),
    Conv2dCase("channels_one_past_the_tile", 1, 15, (6, 7), 15, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("channels_and_pixels_one_past_the_tile", 1, 2, (3, 11), 33, (1, 1)),
    Conv2dCase("row_of_one_past_the_tile", 2, 3, (1, 33), 5, (1, 3), padding=(0, 0, 1, 1)),
    Conv2dCase("column_image", 2, 3, (33, 1), 5, (3, 1), padding=(1, 1, 0, 0)),
    Conv2dCase("column_strided", 2, 3, (70, 1), 6, (9, 1), (4, 3), (3, 5, 0, 0), (2, 1), groups=3, relu=True),
    Conv2dCase("column_that_wraps", 1, 3, (20, 1), 5, (7, 1), (2, 1), (6, 3, 0, 0), padding_mode="circular"),
    Conv2dCase("column_of_a_volume", 2, 3, (40, 1, 1), 5, (8, 1, 1), (2, 1, 1), (3, 4, 0, 0, 0, 0)),
    Conv2dCase("columns_of_a_volume", 2, 3, (6, 9, 1), 5, (3, 3, 1), (1, 2, 1), (1, 1, 1, 1, 0, 0)),
    Conv2dCase("k_tail", 1, 45, (5, 5), 7, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("k_of_two_blocks", 1, 100, (4, 6), 3, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("many_channels_on_one_pixel", 2, 65, (1, 1), 66, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("one_channel", 3, 1, (12, 14), 8, (5, 5), padding=(2, 2, 2, 2)),
    Conv2dCase("three_channels", 2, 3, (16, 16), 16, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("tiles_and_channels", 2, 35, (13, 18), 34, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("tiles_of_grouped_channels", 2, 36, (9, 10), 40, (3, 3), padding=(2, 0, 1, 2), groups=2),
    Conv2dCase("row_of_tiles", 1, 18, (3, 67), 17, (3, 3), padding=(0, 1, 0, 0), relu=True),
    Conv2dCase("pixels_of_tiles", 9, 33, (2, 1), 18, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("tiles_cut_off", 1, 40, (7, 7), 40, (3, 3), padding=(0, 0, 0, 0)),
    Conv2dCase("tiles_of_five_by_five", 2, 19, (9, 14), 35, (5, 5), padding=(2, 2, 2, 2)),
    Conv2dCase("row_of_tiles_of_five_by_five", 1, 33, (5, 35), 18, (5, 5), padding=(0, 1, 3, 4), bias=False),
    Conv2dCase("tiles_of_a_gpu", 2, 9, (9, 13), 70, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("tiles_of_two_by_two", 2, 19, (9, 14), 35, (2, 2), padding=(1, 0, 0, 1)),
    Conv2dCase("tiles_of_a_stride", 2, 19, (19, 30), 35, (3, 3), (2, 2), (1,) * 4),
    Conv2dCase("whole_tiles", 2, 3, (5, 66), 17, (3, 3), relu=True, scale=True),
    Conv2dCase("whole_tiles_leaky", 1, 3, (3, 68), 15, (3, 5), relu=True, slope=True, most=1.5),
    Conv2dCase("whole_tiles_of_pixels", 2, 5, (8, 16), 9, (1, 1), bias=False),
    Conv2dCase("whole_tiles_of_a_stride", 1, 1, (9, 67), 20, (5, 5), (2, 2), (1, 1, 2, 2), relu=True, add=True),
    Conv2dCase("tiles_of_a_stride_four", 2, 16, (18, 37), 33, (4, 4), (2, 2), (1,) * 4, relu=True, scale=True),
    Conv2dCase("tiles_of_a_stride_five", 1, 5, (21, 80), 18, (5, 5), (2, 2), (2, 1, 2, 3)),
    Conv2dCase("tiles_of_a_stride_six", 2, 34, (17, 13), 7, (6, 6), (2, 2), (3, 2, 0, 3)),
    Conv2dCase("tiles_of_a_stride_in_groups", 1, 40, (16, 16), 36, (4, 4), (2, 2), (1,) * 4, groups=2),
    Conv2dCase("tiles_that_reach_back", 2, 2, (3, 63), 9, (3, 3), padding=(1,) * 4),
    Conv2dCase("tiles_that_reach_back_add", 1, 3, (4, 65), 7, (3, 3), relu=True, scale=True, add=True),
    Conv2dCase("relu", 2, 3, (8, 9), 7, (3, 3), padding=(1, 1, 1, 1), relu=True),
    Conv2dCase("leaky", 2, 3, (8, 9), 7, (3, 3), padding=(1, 1, 1, 1), relu=True, slope=True),
    Conv2dCase("relu_bounded", 2, 3, (8, 9), 7, (3, 3), padding=(1, 1, 1, 1), relu=True, most=1.5),
    Conv2dCase("leaky_tiles", 3, 19, (9, 14), 35, (3, 3), padding=(1,) * 4, relu=True, slope=True, most=2.0),
    Conv2dCase("leaky_strided", 2, 7, (9, 31), 8, (3, 3), (2, 2), relu=True, slope=True, scale=True, add=True),
    Conv2dCase("leaky_pixels", 1, 70, (5, 6), 40, (1, 1), relu=True, slope=True, most=3.0),
    Conv2dCase("leaky_depthwise", 2, 6, (7, 19), 6, (3, 3), groups=6, relu=True, slope=True, most=1.0),
    Conv2dCase("leaky_small_planes", 3, 20, (4, 5), 20, (3, 3), padding=(1,) * 4, groups=20, relu=True, slope=True),
    Conv2dCase("leaky_depthwise_dilated", 1, 3, (9, 40), 3, (3, 2), (), (1,) * 4, (2, 3), 3, relu=True, slope=True),
    Conv2dCase("relu_without_bias", 1, 4, (6, 6), 5, (3, 3), bias=False, relu=True),
    Conv2dCase("scale", 2, 5, (8, 9), 7, (3, 3), padding=(1, 1, 1, 1), scale=True),
    Conv2dCase("scale_add_relu", 3, 19, (9, 14), 35, (3, 3), padding=(1, 1, 1, 1), relu=True, scale=True, add=True),
    Conv2dCase("add_one_by_one", 2, 5, (5, 6), 9, (1, 1), bias=False, add=True),
    Conv2dCase("scale_add_deep", 1, 300, (5, 6), 17, (3, 3), bias=False, scale=True, add=True),
    Conv2dCase("scale_add_relu_strided", 2, 7, (9, 11), 8, (3, 3), (2, 2), relu=True, scale=True, add=True),
    Conv2dCase("depthwise_scale_add_relu", 2, 6, (7, 19), 6, (3, 3), groups=6, relu=True, scale=True, add=True),
    Conv2dCase("batch_1", 1, 8, (13, 13), 16, (3, 3), padding=(1, 1, 1, 1)),
    Conv2dCase("batch_of_pixels", 37, 2, (2, 2), 3, (2, 2)),
    Conv2dCase("empty_batch", 0, 3, (5, 5), 4, (3, 3)),
    Conv2dCase("volume", 2, 3, (5, 6, 7), 4, (3, 3, 3), padding=(1,) * 6),
    Conv2dCase("volume_one_voxel", 2, 3, (1, 1, 1), 5, (3, 3, 3), padding=(1,) * 6),
    Conv2dCase("volume_kernel_is_the_volume", 1, 2, (4, 3, 5), 3, (4, 3, 5)),
    Conv2dCase("volume_of_points", 2, 19, (3, 4, 5), 17, (1, 1, 1)),
    Conv2dCase("volume_of_flat_kernels", 2, 5, (4, 7, 6), 9, (1, 3, 3), padding=(0, 0, 1, 1, 1, 1)),
    Conv2dCase("volume_of_deep_kernels", 2, 5, (7, 4, 6), 9, (3, 1, 1), padding=(1, 1, 0, 0, 0, 0)),
    Conv2dCase("volume_flat", 1, 17, (1, 9, 10), 18, (1, 3, 3), padding=(0, 0, 1, 1, 1, 1)),
    Conv2dCase("volume_all_options", 2, 6, (8, 9, 7), 4, (3, 2, 3), (2, 3, 1), (2, 1, 0, 3, 1, 4), (2, 1, 3), groups=2),
    Conv2dCase("volume_stride_beyond_the_kernel", 1, 2, (9, 8, 10), 3, (2, 2, 1), (4, 3, 2), (1, 0, 0, 1, 2, 0)),
    Conv2dCase("volume_padding_beyond_the_kernel", 1, 2, (2, 3, 2), 3, (2, 2, 2), padding=(3, 4, 2, 3, 4, 2)),
    Conv2dCase("volume_many_channels", 1, 67, (3, 4, 5), 35, (3, 3, 3), padding=(1,) * 6),
    Conv2dCase("volume_rows_past_the_block", 1, 2, (3, 4, 300), 3, (2, 2, 3), padding=(0, 1, 1, 0, 1, 1)),
    Conv2dCase("volume_tiles", 2, 18, (5, 9, 19), 33, (3, 3, 3), padding=(1,) * 6),
    Conv2dCase("volume_tiles_deep", 1, 3, (7, 6, 8), 17, (4, 3, 3), padding=(2, 3, 1, 1, 1, 1), groups=1),
    Conv2dCase("volume_tiles_flat", 2, 4, (3, 9, 8), 6, (1, 3, 3), padding=(1, 0, 1, 1, 0, 2), groups=2),
    Conv2dCase("volume_tiles_five", 1, 5, (4, 9, 8), 6, (2, 5, 5), padding=(0, 1, 2, 2, 2, 2)),
    Conv2dCase("volume_tiles_add", 1, 6, (4, 9, 8), 18, (3, 3, 3), padding=(1,) * 6, relu=True, scale=True, add=True),
    Conv2dCase("volume_tiles_strided_depth", 1, 6, (7, 9, 8), 18, (3, 3, 3), (2, 1, 1), (1,) * 6),
    Conv2dCase("volume_of_depth_alone", 2, 5, (7, 3, 6), 9, (3, 1, 1), (2, 1, 1), (1, 2, 0, 0, 0, 0), (2, 1, 1)),
    Conv2dCase("volume_of_depth_alone_strided_planes", 2, 5, (7, 5, 8), 9, (3, 1, 1), (1, 2, 3), (1, 1, 0, 0, 0, 0)),
    Conv2dCase("volume_depthwise_of_depth_alone", 2, 5, (7, 3, 6), 5, (3, 1, 1), padding=(1, 1, 0, 0, 0, 0), groups=5),
    Conv2dCase("volume_depthwise", 2, 5, (4, 6, 7), 5, (3, 3, 3), padding=(1,) * 6, groups=5),
    Conv2dCase("volume_strided_and_dilated", 2, 3, (7, 8, 19), 5, (2, 2, 3), (2, 2, 2), (1, 2, 1, 0, 3, 2), (2, 2, 2)),
    Conv2dCase("volume_dilated_with_tiles", 2, 5, (4, 9, 14), 18, (2, 3, 3), (), (1, 2, 2, 2, 3, 1), (3, 2, 2)),
    Conv2dCase("volume_that_padding_hides", 2, 4, (1, 2, 3), 5, (3, 5, 3), padding=(1, 1, 3, 2, 1, 1)),
    Conv2dCase("volume_depthwise_strided", 1, 4, (7, 8, 9), 8, (3, 2, 3), (2, 1, 2), (1, 1, 0, 1, 2, 0), groups=4),
    Conv2dCase("volume_depthwise_dilated", 1, 3, (6, 5, 9), 3, (2, 3, 2), (1, 2, 1), (1,) * 6, (3, 1, 2), groups=3),
    Conv2dCase("volume_scale_add_relu", 2, 7, (4, 5, 6), 8, (2, 3, 3), (1, 2, 1), relu=True, scale=True, add=True),
    Conv2dCase("volume_empty_batch", 0, 3, (5, 5, 5), 4, (3, 3, 3)),
    *(
        case
        for mode in ("reflect", "replicate", "circular")
        for case in (
            Conv2dCase(f"{mode}", 2, 3, (9, 10), 8, (3, 3), padding=(1,) * 4, padding_mode=mode),
            Conv2dCase(f"{mode}_tiles", 2, 18, (9, 13), 34, (3, 3), padding=(1, 2, 2, 1), padding_mode=mode),
            Conv2dCase(f"{mode}_tiles_of_five_by_five", 1, 17, (7, 6), 33, (5, 5), padding=(2,) * 4, padding_mode=mode),
            Conv2dCase(f"{mode}_as_far_as_it_goes", 1, 2, (4, 5), 3, (3, 2), padding=(3, 3, 4, 4), padding_mode=mode),
            Conv2dCase(f"{mode}_strided", 1, 4, (8, 11), 6, (3, 3), (2, 3), (1, 2, 3, 0), (2, 1), 2, padding_mode=mode),
            Conv2dCase(f"{mode}_stride_two", 2, 3, (10, 37), 9, (5, 5), (2, 2), (2,) * 4, padding_mode=mode),
            Conv2dCase(f"{mode}_depthwise", 2, 6, (7, 9), 6, (3, 3), padding=(1, 1, 2, 2), groups=6, padding_mode=mode),
            Conv2dCase(f"{mode}_planes_strided", 1, 3, (8, 9), 6, (3, 3), (2, 2), (1,) * 4, (), 3, padding_mode=mode),
            Conv2dCase(f"{mode}_row", 2, 3, (1, 40), 5, (1, 5), padding=(0, 0, 4, 4), padding_mode=mode),
            Conv2dCase(f"{mode}_volume", 2, 3, (4, 5, 6), 4, (3, 3, 2), (), (1, 2, 0, 3, 1, 1), padding_mode=mode),
            Conv2dCase(
                f"{mode}_deep_planes", 1, 4, (4, 6, 5), 4, (3,) * 3, (2, 1, 1), (1,) * 6, (), 4, padding_mode=mode
            ),
            Conv2dCase(f"{mode}_relu", 2, 5, (6, 7), 6, (3, 3), padding=(1,) * 4, relu=True, padding_mode=mode),
        )
    ),
    Conv2dCase("replicate_far", 1, 2, (2, 3), 3, (3, 3), padding=(5, 6, 7, 4), padding_mode="replicate"),
    Conv2dCase("replicate_one_pixel", 2, 3, (1, 1), 4, (3, 3), padding=(1,) * 4, padding_mode="replicate"),
    Conv2dCase("circular_one_pixel", 2, 3, (1, 1), 4, (3, 3), padding=(1,) * 4, padding_mode="circular"),
    Conv2dCase("cropped", 1, 3, (9, 10), 4, (3, 3), padding=(-1, -2, 1, -3)),
    ConvTransposeCase("transposed", 2, 3, (5, 6), 4, (3, 3), padding=(1,) * 4),
    ConvTransposeCase("transposed_one_pixel", 1, 2, (1, 1), 3, (1, 1)),
    ConvTransposeCase("transposed_stride_two", 2, 5, (6, 7), 9, (4, 4), (2, 2), (1,) * 4),
    ConvTransposeCase("transposed_output_padding", 1, 3, (4, 5), 2, (3, 3), (2, 3), (1, 0, 1, -1)),
    ConvTransposeCase("transposed_stride_beyond_the_kernel", 2, 3, (3, 4), 4, (2, 1), (3, 4), (0, -2, 0, -3)),
    ConvTransposeCase("transposed_dilated_groups", 2, 6, (5, 4), 4, (3, 2), (2, 1), (1, 0, 2, 1), (2, 3), groups=2),
    ConvTransposeCase("transposed_past_the_stride", 1, 3, (5, 6), 4, (3, 3), (), (0, -2, 1, -1), (3, 2)),
    ConvTransposeCase("transposed_depthwise", 2, 5, (6, 7), 5, (3, 3), (2, 2), (1, 0, 1, 0), groups=5),
    ConvTransposeCase("transposed_tiles", 2, 35, (9, 10), 34, (3, 3), padding=(1,) * 4),
    ConvTransposeCase("transposed_tiles_apart", 2, 35, (9, 20), 34, (4, 4), (2, 2), (1,) * 4, relu=True, add=True),
    ConvTransposeCase("transposed_tiles_apart_six", 1, 17, (9, 7), 20, (6, 6), (2, 2), (2, 1, 0, 3)),
    ConvTransposeCase("transposed_tiles_dilated", 2, 17, (9, 20), 34, (3, 3), (), (1, 2, 2, 3), (2, 2), relu=True),
    ConvTransposeCase("transposed_volume", 2, 4, (3, 4, 5), 3, (3, 3, 3), (2, 1, 2), (1, 0, 1, 1, 0, 1)),
    ConvTransposeCase("transposed_volume_depthwise", 1, 3, (3, 4, 5), 6, (2, 3, 2), (2, 2, 1), (), groups=3),
    ConvTransposeCase("transposed_relu", 2, 3, (5, 6), 4, (3, 3), (2, 2), (1,) * 4, relu=True),
    ConvTransposeCase("transposed_leaky", 2, 3, (5, 6), 4, (3, 3), (2, 2), (1,) * 4, relu=True, slope=True, most=2.0),
    ConvTransposeCase("transposed_depthwise_leaky", 1, 6, (5, 9), 6, (3, 3), (2, 2), groups=6, relu=True, slope=True),
    ConvTransposeCase("transposed_scale_add_relu", 2, 3, (5, 6), 17, (3, 3), relu=True, scale=True, add=True),
    ConvTransposeCase("transposed_stride_and_dilation", 2, 3, (5, 18), 4, (3, 2), (2, 2), (1, 0, 1, 2), (2, 2)),
    ConvTransposeCase("transposed_strided_add", 2, 30, (5, 6), 17, (3, 3), (2, 2), scale=True, add=True, relu=True),
    ConvTransposeCase("transposed_deep_strided", 1, 300, (4, 5), 5, (3, 3), (2, 2), scale=True, add=True),
    ConvTransposeCase("transposed_depthwise_add", 1, 6, (5, 9), 6, (3, 3), (2, 2), groups=6, add=True, relu=True),
]
