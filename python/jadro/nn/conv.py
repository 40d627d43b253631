"""Convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from ..ops.creation import empty
from ..ops.windows import per_axis
from ..tensor import Tensor
from . import functional as F
from . import init
from .checks import integer
from .module import Module, Parameter


class _Conv(Module):
    """What convolutions over `_axes` axes of space share."""

    _axes: ClassVar[int]
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        call, n = type(self).__name__, self._axes
        (groups,) = per_axis(call, "groups", groups, 1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if integer(call, name, channels) % groups:
                raise ValueError(f"{call}: {name} is {channels}, expected a multiple of groups, {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = per_axis(call, "kernel_size", kernel_size, n)
        self.stride = per_axis(call, "stride", stride, n)
        self.dilation = per_axis(call, "dilation", dilation, n)
        self.padding = (padding,) * n if isinstance(padding, int) else padding
        self.padding_mode = padding_mode
        weight = empty(out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype)
        self.weight = Parameter(weight)
        self.bias = Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values anew."""
        bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x: Any) -> Tensor:
        options = (self.stride, self.padding, self.dilation, self.groups)
        return type(self)._function(x, self.weight, self.bias, *options, padding_mode=self.padding_mode)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        n = self._axes
        defaults = {"padding": (0,) * n, "dilation": (1,) * n, "groups": 1, "padding_mode": "zeros"}
        for name, default in defaults.items():
            value = getattr(self, name)
            parts += [f"{name}={value!r}"] if value != default else []
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))


class Conv1d(_Conv):
    """Convolution of sequences [N, C, L] or [C, L]; see Conv2d and `functional.conv1d`.

    Parameters: weight [out_channels, in_channels / groups, K] and bias [out_channels].
    """

    _axes, _function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Convolution of images [N, C, H, W] or [C, H, W]; options and equation as in `functional.conv2d`.

    Parameters: weight [out_channels, in_channels / groups, K, K'] and bias [out_channels], both from U(-k, k),
    k = 1 / sqrt(in_channels / groups K K'). Raises ValueError where groups does not divide the channels.
    """

    _axes, _function = 2, staticmethod(F.conv2d)
