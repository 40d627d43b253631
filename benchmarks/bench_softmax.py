"""Softmax and its logarithm along the last axis and along channels: bound by memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.cases import Map, both


@dataclass(frozen=True)
class Softmax(Map):
    """function(x, axis), "softmax" or "log_softmax"."""

    axis: int

    group: ClassVar[str] = "softmax"
    op: ClassVar[str] = "softmax"

    @property
    def options(self) -> tuple[int]:
        return (self.axis,)


CASES = both(
    Softmax(False, "softmax", (64, 128, 768), 2),
    Softmax(False, "log_softmax", (4096, 1000), 1),
    Softmax(False, "softmax", (16, 21, 128, 128), 1),
    Softmax(False, "softmax", (1, 10), 1),
)
