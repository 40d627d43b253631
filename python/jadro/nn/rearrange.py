"""Layers that put images in other orders; options and equations stand at the functions of the same names."""

from __future__ import annotations

from typing import Any, ClassVar

from ..tensor import Tensor
from . import functional as F
from .options import Options


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
