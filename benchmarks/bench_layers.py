"""The convolutions of two networks for ImageNet, each shape once, for one image and for 32.

resnet50   He et al. 2015, with the stride in the 3x3 convolutions
mobilenet  Howard et al. 2017: depthwise and 1x1 convolutions in turn
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.bench_conv2d import Conv2d
from benchmarks.cases import both


@dataclass(frozen=True)
class Layer(Conv2d):
    """A convolution, under the name of its network."""

    network: str = ""

    group: ClassVar[str] = "layers"

    @property
    def label(self) -> str:
        return f"{self.network} {super().label}"


# pixels a side, channels in, out, kernel, stride
RESNET50 = (
    (224, 3, 64, 7, 2),
    (56, 64, 64, 1, 1), (56, 64, 64, 3, 1), (56, 64, 256, 1, 1), (56, 256, 64, 1, 1),
    (56, 256, 128, 1, 1), (56, 128, 128, 3, 2), (28, 128, 512, 1, 1), (56, 256, 512, 1, 2), (28, 512, 128, 1, 1),
    (28, 128, 128, 3, 1),
    (28, 512, 256, 1, 1), (28, 256, 256, 3, 2), (14, 256, 1024, 1, 1), (28, 512, 1024, 1, 2), (14, 1024, 256, 1, 1),
    (14, 256, 256, 3, 1),
    (14, 1024, 512, 1, 1), (14, 512, 512, 3, 2), (7, 512, 2048, 1, 1), (14, 1024, 2048, 1, 2), (7, 2048, 512, 1, 1),
    (7, 512, 512, 3, 1),
)  # fmt: skip
# pixels a side, channels in, out, stride of the depthwise convolution before the 1x1
MOBILENET = (
    (112, 32, 64, 1), (112, 64, 128, 2), (56, 128, 128, 1), (56, 128, 256, 2), (28, 256, 256, 1), (28, 256, 512, 2),
    (14, 512, 512, 1), (14, 512, 1024, 2), (7, 1024, 1024, 1),
)  # fmt: skip


def resnet50(n: int) -> list[Layer]:
    return [
        Layer(False, n, ic, size, size, oc, kernel, stride, network="resnet50")
        for size, ic, oc, kernel, stride in RESNET50
    ]


def mobilenet(n: int) -> list[Layer]:
    layers = [Layer(False, n, 3, 224, 224, 32, 3, 2, network="mobilenet")]
    for size, ic, oc, stride in MOBILENET:
        out = size // stride
        layers.append(Layer(False, n, ic, size, size, ic, 3, stride, ic, network="mobilenet"))
        layers.append(Layer(False, n, ic, out, out, oc, 1, network="mobilenet"))
    return layers


CASES = both(*(layer for n in (1, 32) for layer in (*resnet50(n), *mobilenet(n))))
