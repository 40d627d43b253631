"""Layers that nobody chose: drawn among the sizes of networks by a fixed seed, so that every run measures the same."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.bench_conv2d import Conv2d
from benchmarks.bench_gemm import Linear
from benchmarks.bench_pool2d import MaxPool2d
from benchmarks.bench_rnn import GATES, Rnn
from benchmarks.cases import Case, both

COUNT = 12  # of each kind
MOST_FLOPS = 1e9


@dataclass(frozen=True)
class DrawnConv2d(Conv2d):
    group: ClassVar[str] = "drawn"

    @property
    def label(self) -> str:
        return super().label + (f" g{self.groups}" if 1 < self.groups < self.ic else "")


@dataclass(frozen=True)
class DrawnPool(MaxPool2d):
    group: ClassVar[str] = "drawn"


@dataclass(frozen=True)
class DrawnLinear(Linear):
    group: ClassVar[str] = "drawn"


@dataclass(frozen=True)
class DrawnRnn(Rnn):
    group: ClassVar[str] = "drawn"


def conv2d(rng: random.Random) -> Case:
    ic, size = rng.choice((1, 3, 8, 16, 32, 48, 64, 128, 256)), rng.choice((7, 8, 14, 16, 28, 32, 56, 112))
    groups = rng.choice((1, 1, 1, 1, 2, ic))
    groups = groups if ic % groups == 0 else 1
    oc = ic if groups == ic else rng.choice((8, 16, 32, 64, 96, 128, 256))
    kernel = rng.choice([k for k in (1, 1, 3, 3, 3, 5, 7) if k <= size])
    wide = size + rng.choice((0, 0, 0, 3))
    return DrawnConv2d(False, rng.choice((1, 2, 8, 32)), ic, size, wide, oc, kernel, rng.choice((1, 1, 2)), groups)


def pool(rng: random.Random) -> Case:
    kernel, size = rng.choice((2, 3, 5)), rng.choice((7, 14, 28, 56, 112))
    stride, padding = rng.choice((1, 2, kernel)), rng.choice((0, kernel // 2))
    return DrawnPool(False, rng.choice((1, 8, 32)), rng.choice((3, 16, 64, 200)), size, size, kernel, stride, padding)


def linear(rng: random.Random) -> Case:
    sizes = (1, 2, 4, 8, 16, 32, 50, 64, 100, 128, 256, 512, 1000)
    return DrawnLinear(False, rng.choice(sizes), rng.choice((16, 64, 100, 128, 256, 512, 784, 2048)), rng.choice(sizes))


def rnn(rng: random.Random) -> Case:
    T, B, I, H = (
        rng.choice(s) for s in ((1, 5, 20, 64, 200), (1, 2, 8, 16, 50), (1, 10, 32, 64, 128), (8, 32, 64, 100, 256))
    )
    return DrawnRnn(False, rng.choice(sorted(GATES)), T, B, I, H, rng.choice((1, 1, 2)), rng.choice((1, 1, 2)))


def drawn() -> list[Case]:
    rng = random.Random(0)
    cases: dict[str, Case] = {}
    for kind in (conv2d, pool, linear, rnn):
        found = 0
        while found < COUNT:
            case = kind(rng)
            if case.flops <= MOST_FLOPS and case.name not in cases:
                cases[case.name] = case
                found += 1
    return list(cases.values())


CASES = both(*drawn())
