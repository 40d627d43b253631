"""Convolutions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..ops.common import flat_ints
from ..ops.conv2d import NOTHING, PADDING_MODES, Then, conv, conv_transpose, transposed_sizes
from ..ops.creation import empty
from ..ops.windows import per_axis, sides
from ..tensor import Tensor, as_tensor
from . import init
from .checks import integer
from .module import Module, Parameter


class _Conv(Module):
    """What convolutions over `_axes` axes of space share."""

    _axes: ClassVar[int]
    _transposed: ClassVar[bool] = False

    def _set_up(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        call, n = type(self).__name__, self._axes
        (groups,) = per_axis(call, "groups", groups, 1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if integer(call, name, channels) % groups:
                raise ValueError(f"{call}: {name} is {channels}, expected a multiple of groups, {groups}")
        modes = ("zeros",) if self._transposed else PADDING_MODES
        if padding_mode not in modes:
            raise ValueError(f"{call}: padding_mode is {padding_mode!r}, expected {' or '.join(modes)}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = per_axis(call, "kernel_size", kernel_size, n)
        self.stride = per_axis(call, "stride", stride, n)
        self.dilation = per_axis(call, "dilation", dilation, n)
        sides(call, padding, (1,) * n, self.kernel_size, self.stride, self.dilation)  # raises for none of its forms
        self.padding = (padding,) * n if isinstance(padding, int) else padding
        self.padding_mode = padding_mode
        rows, columns = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        weight = empty(rows, columns // groups, *self.kernel_size, device=device, dtype=dtype)
        self.weight = Parameter(weight)
        self.bias = Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values anew."""
        bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        n = self._axes
        defaults = {"padding": (0,) * n, "dilation": (1,) * n, "groups": 1, "padding_mode": "zeros"}
        if self._transposed:
            defaults = {"padding": (0,) * n, "output_padding": (0,) * n, **defaults}
        for name, default in defaults.items():
            value = getattr(self, name)
            parts += [f"{name}={value!r}"] if value != default else []
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))


class _Convolution(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        options = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        self._set_up(in_channels, out_channels, *options, device, dtype)

    def forward(self, x: Any) -> Tensor:
        return self._then(x, self._parameter("bias"), NOTHING)

    def _then(self, x: Any, bias: Tensor | None, then: Then) -> Tensor:
        """The convolution with another bias, and what follows it in the same call."""
        options = (self.stride, self.padding, self.dilation, self.groups, self.padding_mode, "auto")
        return conv(f"conv{self._axes}d", self._axes, x, self._parameter("weight"), bias, *options, then)


class Conv1d(_Convolution):
    """Convolution of sequences [N, C, L] or [C, L]; see Conv2d and `functional.conv1d`.

    Parameters: weight [out_channels, in_channels / groups, K] and bias [out_channels].
    """

    _axes = 1


class Conv2d(_Convolution):
    """Convolution of images [N, C, H, W] or [C, H, W]; options and equation as in `functional.conv2d`.

    Parameters: weight [out_channels, in_channels / groups, K, K'] and bias [out_channels], both from U(-k, k),
    k = 1 / sqrt(in_channels / groups K K'). Raises ValueError where groups does not divide the channels.
    """

    _axes = 2


class Conv3d(_Convolution):
    """Convolution of volumes [N, C, D, H, W] or [C, D, H, W]; see Conv2d and `functional.conv3d`.

    Parameters: weight [out_channels, in_channels / groups, K, K', K''] and bias [out_channels].
    """

    _axes = 3


class _ConvTranspose(_Conv):
    _transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.output_padding = per_axis(type(self).__name__, "output_padding", output_padding, self._axes, 0)
        options = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        self._set_up(in_channels, out_channels, *options, device, dtype)

    def forward(self, x: Any, output_size: Any = None) -> Tensor:
        """output_size: that of the space, or of all axes; one of those that the stride makes possible."""
        x = as_tensor(x)
        more = self.output_padding if output_size is None else self._output_padding(x, output_size)
        return self._then(x, self.bias, NOTHING, more)

    def _then(self, x: Any, bias: Tensor | None, then: Then, more: tuple[int, ...] | None = None) -> Tensor:
        """The convolution with another bias, and what follows it in the same call; `more`: output_padding."""
        options = (self.stride, self.padding, more or self.output_padding, self.groups, self.dilation)
        return conv_transpose(f"conv_transpose{self._axes}d", self._axes, x, self.weight, bias, *options, then)

    def _output_padding(self, x: Tensor, output_size: Any) -> tuple[int, ...]:
        """What leads to `output_size`; ValueError where nothing does."""
        call, n = type(self).__name__, self._axes
        wanted = flat_ints(call, "output_size", (output_size,))
        if len(wanted) not in (n, x.ndim) or x.ndim not in (n + 1, n + 2):
            raise ValueError(f"{call}: output_size is {output_size!r}, expected {n} sizes for x of shape {x.shape}")
        wanted, given = wanted[-n:], x.shape[-n:]
        least = transposed_sizes(call, self.padding, given, self.kernel_size, self.stride, self.dilation, (0,) * n)
        most = tuple(m + s - 1 for m, s in zip(least, self.stride, strict=True))
        if any(not a <= w <= b for a, w, b in zip(least, wanted, most, strict=True)):
            raise ValueError(f"{call}: output_size is {wanted}, expected {least} to {most} for x of shape {x.shape}")
        return tuple(w - m for w, m in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of sequences [N, C, L] or [C, L]; see ConvTranspose2d and `functional.conv_transpose1d`.

    Parameters: weight [in_channels, out_channels / groups, K] and bias [out_channels].
    """

    _axes = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images [N, C, H, W] or [C, H, W]; options and equation as in
    `functional.conv_transpose2d`. In a call output_size may be given, and takes the place of output_padding.

    Parameters: weight [in_channels, out_channels / groups, K, K'] and bias [out_channels], both from U(-k, k),
    k = 1 / sqrt(out_channels / groups K K'). Raises ValueError where groups does not divide the channels.
    """

    _axes = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes [N, C, D, H, W] or [C, D, H, W]; see ConvTranspose2d and
    `functional.conv_transpose3d`.

    Parameters: weight [in_channels, out_channels / groups, K, K', K''] and bias [out_channels].
    """

    _axes = 3
