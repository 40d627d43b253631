"""Layers that add cells around their input; see `functional.pad`.

padding: an int for every side, or (before, after) of the last axis, then of the one before it, and so on; negative
numbers cut cells off.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..ops.common import flat_ints
from ..tensor import Tensor, as_tensor
from . import functional as F
from .options import Options


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
        x = as_tensor(x)
        if x.ndim not in (self._axes + 1, self._axes + 2):
            ranks = f"{self._axes + 2} axes, or {self._axes + 1} without the batch"
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}, expected {ranks}")
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
