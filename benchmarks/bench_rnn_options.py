"""Recurrent layers with options, each alone and all at once, beside the plain cell; rows of different lengths, beside
padded batches of as many steps and, in PyTorch, packed sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from benchmarks.bench_rnn import GATES, Rnn, rnn_flops
from benchmarks.cases import ITEM, Array, Case, both

# name in the table -> arguments of the layer; "reset", "lengths" and "cells" are arguments of the call
OPTIONS: dict[str, dict[str, Any]] = {
    "layer norm": {"layer_norm": True},
    "zoneout": {"zoneout": 0.1},
    "recurrent dropout, sequence": {"recurrent_dropout": 0.25},
    "recurrent dropout, update": {"recurrent_dropout": 0.25, "recurrent_dropout_mode": "update"},
    "cell clip": {"cell_clip": 1.0},
    "gate clip": {"gate_clip": 3.0},
    "reset": {},
    "lengths": {},
}
LSTM_OPTIONS: dict[str, dict[str, Any]] = {
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "cells": {},
}
GRU_OPTIONS: dict[str, dict[str, Any]] = {"reset before": {"reset_after": False}}
OF_CELL = {"rnn": OPTIONS, "lstm": OPTIONS | LSTM_OPTIONS, "gru": OPTIONS | GRU_OPTIONS}
RESETS = 0.02  # share of the steps that begin an episode


@dataclass(frozen=True)
class RnnOptions(Rnn):
    """A layer with some options; no peer has them. `lengths` are those of full rows: what asking for them costs."""

    options: tuple[str, ...] = ()

    group: ClassVar[str] = "rnn_options"
    op: ClassVar[str] = "rnn_options"

    @property
    def label(self) -> str:
        return f"{super().label} {'all options' if len(self.options) > 1 else self.options[0]}"

    @property
    def base(self) -> str:
        return PlainRnn(self.train, self.cell, self.T, self.B, self.I, self.H).name

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = super().shapes
        if "coupled" in self.options:
            found = {name: (3 * self.H, *shape[1:]) for name, shape in found.items()}
        rows = found["bias_ih_l0"][0]
        if "peephole" in self.options:
            gates = "io" if "coupled" in self.options else "ifo"
            found |= {f"weight_p{gate}_l0": (self.H,) for gate in gates}
        if "layer norm" in self.options:
            found |= {f"{kind}_ln_{side}_l0": (rows,) for side in ("ih", "hh") for kind in ("weight", "bias")}
            if self.cell == "lstm":
                found |= {f"{kind}_ln_c_l0": (self.H,) for kind in ("weight", "bias")}
        return found

    def weights(self) -> dict[str, Array]:
        return {n: np.ones_like(w) if n.startswith("weight_ln") else w for n, w in super().weights().items()}

    def layer_options(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.options:
            found |= OF_CELL[self.cell][name]
        return found

    def call_options(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "reset" in self.options:
            found["reset"] = np.random.default_rng(2).random((self.T, self.B)) < RESETS
        if "lengths" in self.options:
            found["lengths"] = np.full(self.B, self.T)
        if "cells" in self.options:
            found["return_cells"] = True
        return found


@dataclass(frozen=True)
class PlainRnn(Rnn):
    """The layer without options, over full rows: the base of those with."""

    group: ClassVar[str] = "rnn_options"

    @property
    def label(self) -> str:
        return f"{super().label} plain"


@dataclass(frozen=True)
class RaggedRnn(Rnn):
    """Rows of different lengths, up to T; kind: "uniform", each length from 1 to T as likely, or "heavy-tailed", most
    rows short and a few long (Pareto with exponent 1.2). Together they have as many steps as `padded` rows of T."""

    kind: str = "uniform"

    group: ClassVar[str] = "rnn_options"
    op: ClassVar[str] = "ragged_rnn"

    @property
    def label(self) -> str:
        return f"{super().label} {self.kind} lengths"

    @property
    def base(self) -> str:
        return replace(self.padded, train=self.train).name

    @property
    def padded(self) -> PlainRnn:
        """Full rows with the same number of steps."""
        rows = int(self.lengths.sum()) // self.T
        return PlainRnn(self.train, self.cell, self.T, rows, self.I, self.H)

    @cached_property
    def lengths(self) -> Array:
        """[B]; the sum is a multiple of T."""
        rng = np.random.default_rng(3)
        if self.kind == "uniform":
            found = rng.integers(1, self.T + 1, self.B)
        else:
            found = np.minimum(self.T, np.ceil(self.T / 16 * (1 + rng.pareto(1.2, self.B)))).astype(np.int64)
        for _ in range(int(-found.sum() % self.T)):  # a step more for one of the shortest rows
            found[found.argmin()] += 1
        return found

    @property
    def flops(self) -> float:
        return (3 if self.train else 1) * rnn_flops(self.shapes, int(self.lengths.sum()))

    @property
    def bytes(self) -> float:
        weights = sum(int(np.prod(s)) for s in self.shapes.values())
        return (3 if self.train else 1) * ITEM * float(weights + int(self.lengths.sum()) * (self.I + self.H))

    def call_options(self) -> dict[str, Any]:
        return {"lengths": self.lengths}


SIZE = (64, 32, 128, 128)
LARGE = (128, 64, 256, 256)


def _options(cell: str) -> list[Case]:
    names = OF_CELL[cell]
    # both kinds of dropout at once there are not, and coupled gates are a quarter less arithmetic
    every = tuple(n for n in names if n not in ("recurrent dropout, update", "coupled"))
    return [
        PlainRnn(False, cell, *SIZE),
        *(RnnOptions(False, cell, *SIZE, options=(name,)) for name in names),
        RnnOptions(False, cell, *SIZE, options=every),
        PlainRnn(False, cell, *LARGE),
        RnnOptions(False, cell, *LARGE, options=every),
    ]


def _ragged(cell: str) -> list[Case]:
    ragged = [RaggedRnn(False, cell, 128, 64, 128, 256, kind=kind) for kind in ("uniform", "heavy-tailed")]
    return [case for r in ragged for case in (r.padded, r)]


CASES = both(*(case for cell in GATES for case in (*_options(cell), *_ragged(cell))))
