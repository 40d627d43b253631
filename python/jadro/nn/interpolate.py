"""Layers that resize; options and equations stand at `functional.interpolate`."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .options import Options


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
