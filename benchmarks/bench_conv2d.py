"""Convolution: residual networks' shapes, LeNet's, the smallest ones, where the call itself is the cost, and the forms
beyond: volumes, padding by the image itself, transposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.cases import ITEM, Array, Case, Job, both, grad_job, normal


def taps(size: int, kernel: int, stride: int, padding: int) -> int:
    """Pairs (output, kernel element) along one dimension whose input lies inside the array, not in the padding."""
    outputs = (size + 2 * padding - kernel) // stride + 1
    first = np.arange(outputs) * stride - padding
    return int(sum(np.count_nonzero((first + k >= 0) & (first + k < size)) for k in range(kernel)))


@dataclass(frozen=True)
class Conv2d(Case):
    """x[n,ic,ih,iw] * w[oc,ic/groups,k,k] + b[oc], padded by k // 2."""

    n: int
    ic: int
    ih: int
    iw: int
    oc: int
    kernel: int
    stride: int = 1
    groups: int = 1

    group: ClassVar[str] = "conv"
    op: ClassVar[str] = "conv2d"

    @property
    def label(self) -> str:
        depthwise = self.groups == self.ic == self.oc and self.groups > 1
        kind = "depthwise" if depthwise else "conv"
        stride = f"s{self.stride}" if self.stride > 1 else ""
        outputs = "" if depthwise else f"->{self.oc}"
        return f"{kind}{self.kernel}x{self.kernel}{stride} {self.n}x{self.ic}x{self.ih}x{self.iw}{outputs}"

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        oh, ow = ((m + 2 * self.padding - self.kernel) // self.stride + 1 for m in (self.ih, self.iw))
        return self.n, self.oc, oh, ow

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.oc, self.ic // self.groups, self.kernel, self.kernel

    @property
    def flops(self) -> float:
        pairs = taps(self.ih, self.kernel, self.stride, self.padding) * taps(
            self.iw, self.kernel, self.stride, self.padding
        )
        return (3 if self.train else 1) * 2.0 * self.n * self.oc * (self.ic // self.groups) * pairs

    @property
    def bytes(self) -> float:
        x, w, y = self.n * self.ic * self.ih * self.iw, np.prod(self.weight_shape), np.prod(self.output_shape)
        return (3 if self.train else 1) * ITEM * float(x + w + y)

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        fan_in = self.ic // self.groups * self.kernel**2
        arrays = {
            "x": normal(rng, self.n, self.ic, self.ih, self.iw),
            "w": normal(rng, *self.weight_shape, scale=fan_in**-0.5),
            "b": normal(rng, self.oc),
        }
        if self.train:
            arrays["dy"] = normal(rng, *self.output_shape)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x, w, b = (jadro.tensor(a[k], requires_grad=self.train) for k in "xwb")
        return grad_job(
            lambda: F.conv2d(x, w, b, stride=self.stride, padding=self.padding, groups=self.groups),
            (x, w, b),
            a.get("dy"),
        )


@dataclass(frozen=True)
class ConvForm(Case):
    """As Conv2d over any number of axes, of size `size` each, with another padding mode or transposed; padded by
    (kernel - 1) // 2."""

    n: int
    ic: int
    axes: int
    size: int
    oc: int
    kernel: int
    stride: int = 1
    mode: str = "zeros"
    transposed: bool = False

    group: ClassVar[str] = "conv"
    op: ClassVar[str] = "conv_form"

    @property
    def label(self) -> str:
        kind = "transposed" if self.transposed else "conv"
        form = "x".join([str(self.kernel)] * self.axes) + (f"s{self.stride}" if self.stride > 1 else "")
        mode = "" if self.mode == "zeros" else f" {self.mode}"
        return f"{kind}{form}{mode} {self.n}x{self.ic}{f'x{self.size}' * self.axes}->{self.oc}"

    @property
    def padding(self) -> int:
        return (self.kernel - 1) // 2

    @property
    def outputs(self) -> int:
        """Along one axis."""
        if self.transposed:
            return (self.size - 1) * self.stride - 2 * self.padding + self.kernel
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def flops(self) -> float:
        """Also for the padding by the image itself; those of the convolution that a transposed one turns round."""
        if self.transposed:
            pairs = taps(self.outputs, self.kernel, self.stride, self.padding)
        elif self.mode != "zeros":
            pairs = self.outputs * self.kernel
        else:
            pairs = taps(self.size, self.kernel, self.stride, self.padding)
        return (3 if self.train else 1) * 2.0 * self.n * self.oc * self.ic * float(pairs) ** self.axes

    @property
    def bytes(self) -> float:
        cells = self.ic * self.size**self.axes + self.oc * self.outputs**self.axes
        return (3 if self.train else 1) * ITEM * float(self.n * cells + self.ic * self.oc * self.kernel**self.axes)

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        rows, columns = (self.ic, self.oc) if self.transposed else (self.oc, self.ic)
        scale = (self.ic * self.kernel**self.axes) ** -0.5
        arrays = {
            "x": normal(rng, self.n, self.ic, *(self.size,) * self.axes),
            "w": normal(rng, rows, columns, *(self.kernel,) * self.axes, scale=scale),
            "b": normal(rng, self.oc),
        }
        if self.train:
            arrays["dy"] = normal(rng, self.n, self.oc, *(self.outputs,) * self.axes)
        return arrays

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F

        a = self.arrays()
        x, w, b = (jadro.tensor(a[k], requires_grad=self.train) for k in "xwb")
        function = getattr(F, f"conv{'_transpose' if self.transposed else ''}{self.axes}d")
        mode = {} if self.transposed else {"padding_mode": self.mode}
        return grad_job(
            lambda: function(x, w, b, stride=self.stride, padding=self.padding, **mode), (x, w, b), a.get("dy")
        )


_SHAPES = (
    # n, ic, ih, iw, oc, kernel, stride, groups
    (32, 64, 56, 56, 64, 3),
    (1, 64, 56, 56, 64, 3),
    (32, 128, 28, 28, 128, 3),
    (32, 256, 14, 14, 256, 3),
    (32, 512, 7, 7, 512, 3),
    (32, 256, 14, 14, 1024, 1),
    (32, 64, 56, 56, 256, 1),
    (8, 3, 224, 224, 64, 7, 2),
    (32, 128, 56, 56, 128, 3, 2),
    (128, 1, 28, 28, 32, 5),
    (128, 32, 14, 14, 64, 5),
    (64, 3, 32, 32, 32, 3),
    (32, 128, 28, 28, 128, 3, 1, 128),
    (1, 1, 28, 28, 8, 3),
    (1, 16, 32, 32, 16, 3),
)
_FORMS = (
    # n, ic, axes, size, oc, kernel, stride, mode, transposed
    (2, 16, 3, 32, 32, 3),
    (2, 32, 3, 32, 64, 3, 2),
    (32, 64, 1, 1000, 64, 9),
    (8, 64, 2, 56, 64, 3, 1, "reflect"),
    (8, 64, 2, 56, 64, 3, 1, "circular"),
    (8, 128, 2, 28, 64, 4, 2, "zeros", True),
    (2, 32, 3, 16, 16, 4, 2, "zeros", True),
)
CASES = both(
    *(Conv2d(False, *shape) for shape in _SHAPES),
    *(ConvForm(False, *shape) for shape in _FORMS),
)
