"""Pooling layers; they have no parameters. Options and equations stand at the functions of the same names."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .module import Options


class _MaxPool(Options):
    _shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool):
    """The maxima of windows of sequences [N, C, L] or [C, L]; options as in F.max_pool1d."""

    def forward(self, x: Any) -> Any:
        return F.max_pool1d(x, *self._options())


class MaxPool2d(_MaxPool):
    """The maxima of windows of images [N, C, H, W] or [C, H, W]; options as in F.max_pool2d."""

    def forward(self, x: Any) -> Any:
        return F.max_pool2d(x, *self._options())


class MaxPool3d(_MaxPool):
    """The maxima of windows of volumes [N, C, D, H, W] or [C, D, H, W]; options as in F.max_pool3d."""

    def forward(self, x: Any) -> Any:
        return F.max_pool3d(x, *self._options())


class _MaxUnpool(Options):
    _shown = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding = padding


class MaxUnpool1d(_MaxUnpool):
    """Sequences with the maxima of MaxPool1d at their indices, zeros elsewhere; options as in F.max_unpool1d."""

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Tensor:
        return F.max_unpool1d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Images with the maxima of MaxPool2d at their indices, zeros elsewhere; options as in F.max_unpool2d."""

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Tensor:
        return F.max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    """Volumes with the maxima of MaxPool3d at their indices, zeros elsewhere; options as in F.max_unpool3d."""

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Tensor:
        return F.max_unpool3d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AvgPool(Options):
    _shown = ("kernel_size", "stride", "padding")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def _options(self) -> tuple[Any, ...]:
        return (self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool1d(_AvgPool):
    """The means of windows of sequences [N, C, L] or [C, L]; options as in F.avg_pool1d."""

    def forward(self, x: Any) -> Tensor:
        return F.avg_pool1d(x, *self._options())


class _AvgPoolOverride(_AvgPool):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def _options(self) -> tuple[Any, ...]:
        return (*super()._options(), self.divisor_override)


class AvgPool2d(_AvgPoolOverride):
    """The means of windows of images [N, C, H, W] or [C, H, W]; options as in F.avg_pool2d."""

    def forward(self, x: Any) -> Tensor:
        return F.avg_pool2d(x, *self._options())


class AvgPool3d(_AvgPoolOverride):
    """The means of windows of volumes [N, C, D, H, W] or [C, D, H, W]; options as in F.avg_pool3d."""

    def forward(self, x: Any) -> Tensor:
        return F.avg_pool3d(x, *self._options())


class _LPPool(Options):
    _shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return (self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """The norms of windows of sequences [N, C, L] or [C, L]; options as in F.lp_pool1d."""

    def forward(self, x: Any) -> Tensor:
        return F.lp_pool1d(x, *self._options())


class LPPool2d(_LPPool):
    """The norms of windows of images [N, C, H, W] or [C, H, W]; options as in F.lp_pool2d."""

    def forward(self, x: Any) -> Tensor:
        return F.lp_pool2d(x, *self._options())


class _AdaptivePool(Options):
    _shown = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptivePool):
    """The means of output_size bins of sequences [N, C, L] or [C, L]."""

    def forward(self, x: Any) -> Tensor:
        return F.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The means of output_size bins of images [N, C, H, W] or [C, H, W]."""

    def forward(self, x: Any) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveAvgPool3d(_AdaptivePool):
    """The means of output_size bins of volumes [N, C, D, H, W] or [C, D, H, W]."""

    def forward(self, x: Any) -> Tensor:
        return F.adaptive_avg_pool3d(x, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of output_size bins of sequences [N, C, L] or [C, L]."""

    def forward(self, x: Any) -> Any:
        return F.adaptive_max_pool1d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of output_size bins of images [N, C, H, W] or [C, H, W]."""

    def forward(self, x: Any) -> Any:
        return F.adaptive_max_pool2d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maxima of output_size bins of volumes [N, C, D, H, W] or [C, D, H, W]."""

    def forward(self, x: Any) -> Any:
        return F.adaptive_max_pool3d(x, self.output_size, self.return_indices)
