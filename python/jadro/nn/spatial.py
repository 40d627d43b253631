"""Layers that resize, pad and rearrange; options and equations stand at the functions of the same names."""

from __future__ import annotations

from typing import Any, ClassVar

from ..ops.common import flat_ints
from ..tensor import Tensor, as_tensor
from . import functional as F
from .module import Options


class Upsample(Options):
    """Sequences [N, C, L], images [N, C, H, W] or volumes [N, C, D, H, W] of `size`, or `scale_factor` times as large;
    see F.interpolate."""

    _shown = ("size", "scale_factor", "mode", "align_corners")

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x: Any) -> Tensor:
        options = self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        return F.interpolate(x, *options)


class UpsamplingNearest2d(Upsample):
    """Images [N, C, H, W] with each cell shown several times; size or scale_factor as in F.interpolate."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Images [N, C, H, W] interpolated between their cells, corner on corner; size or scale_factor as in
    F.interpolate."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Options):
    """Pixels out of channels: [..., C r r, H, W] -> [..., C, H r, W r], r = upscale_factor; see F.pixel_shuffle."""

    _shown = ("upscale_factor",)

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, x: Any) -> Tensor:
        return F.pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Options):
    """The inverse of PixelShuffle, r = downscale_factor."""

    _shown = ("downscale_factor",)

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, x: Any) -> Tensor:
        return F.pixel_unshuffle(x, self.downscale_factor)


class ChannelShuffle(Options):
    """The channels of [N, C, ...] dealt out of `groups`; see F.channel_shuffle."""

    _shown = ("groups",)

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Any) -> Tensor:
        return F.channel_shuffle(x, self.groups)


class Unfold(Options):
    """The windows of images as columns: [N, C, H, W] -> [N, C K K', L]; see F.unfold."""

    _shown: ClassVar[tuple[str, ...]] = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, x: Any) -> Tensor:
        return F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Unfold):
    """The sums of columns where their windows lie: [N, C K K', L] -> [N, C, *output_size]; see F.fold."""

    _shown = ("output_size", *Unfold._shown)

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, x: Any) -> Tensor:
        return F.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)


class _Pad(Options):
    _shown: ClassVar[tuple[str, ...]] = ("padding",)
    _axes: ClassVar[int]  # of space
    _mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        call, n = type(self).__name__, 2 * self._axes
        self.padding = flat_ints(call, "padding", (padding,) if isinstance(padding, (tuple, list)) else (padding,) * n)
        if len(self.padding) != n:
            raise ValueError(f"{call}: padding is {padding!r}, expected an integer or {n}")

    def forward(self, x: Any) -> Tensor:
        x, n = as_tensor(x), self._axes + 1
        if x.ndim not in (n, n + 1):
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}, expected {n} or {n + 1} axes")
        return F.pad(x, self.padding, self._mode)


class _ConstantPad(_Pad):
    _shown = ("padding", "value")

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, x: Any) -> Tensor:
        return F.pad(x, self.padding, "constant", self.value)


class _ZeroPad(_Pad):
    def forward(self, x: Any) -> Tensor:
        return F.pad(x, self.padding)


class ConstantPad1d(_ConstantPad):
    """Sequences [N, C, L] or [C, L] amid cells of `value`."""

    _axes = 1


class ConstantPad2d(_ConstantPad):
    """Images [N, C, H, W] or [C, H, W] amid cells of `value`."""

    _axes = 2


class ConstantPad3d(_ConstantPad):
    """Volumes [N, C, D, H, W] or [C, D, H, W] amid cells of `value`."""

    _axes = 3


class ZeroPad1d(_ZeroPad):
    """Sequences [N, C, L] or [C, L] amid zeros."""

    _axes = 1


class ZeroPad2d(_ZeroPad):
    """Images [N, C, H, W] or [C, H, W] amid zeros."""

    _axes = 2


class ZeroPad3d(_ZeroPad):
    """Volumes [N, C, D, H, W] or [C, D, H, W] amid zeros."""

    _axes = 3


class ReflectionPad1d(_Pad):
    """Sequences [N, C, L] or [C, L] amid its own cells reflected, without the edge cell."""

    _axes, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Images [N, C, H, W] or [C, H, W] amid its own cells reflected, without the edge cell."""

    _axes, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes [N, C, D, H, W] or [C, D, H, W] amid its own cells reflected, without the edge cell."""

    _axes, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Sequences [N, C, L] or [C, L] amid its edge cells repeated."""

    _axes, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Images [N, C, H, W] or [C, H, W] amid its edge cells repeated."""

    _axes, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Volumes [N, C, D, H, W] or [C, D, H, W] amid its edge cells repeated."""

    _axes, _mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Sequences [N, C, L] or [C, L] amid its own cells wrapped around."""

    _axes, _mode = 1, "circular"


class CircularPad2d(_Pad):
    """Images [N, C, H, W] or [C, H, W] amid its own cells wrapped around."""

    _axes, _mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes [N, C, D, H, W] or [C, D, H, W] amid its own cells wrapped around."""

    _axes, _mode = 3, "circular"
