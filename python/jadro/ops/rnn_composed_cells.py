"""One step of each recurrent cell, with every option, made of differentiable operations.

The equations are those of `jadro.nn`'s layers: A = LN(W x) + b, B = LN(U (d_h h)) + b', and so on. h[N,P], c[N,H].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..tensor import Tensor
from .activation import relu, sigmoid, tanh
from .group_norm import layer_norm

Params = Mapping[str, Tensor]  # of one layer in one direction, by the layer's names without their endings


class Cell(NamedTuple):
    """What a step knows besides its arrays."""

    kind: str  # "rnn_tanh", "rnn_relu", "lstm" or "gru"
    reset_after: bool = True
    coupled: bool = False
    cell_clip: float | None = None
    gate_clip: float | None = None


class Masks(NamedTuple):
    """Of one step, as tensors or numbers: shares of the old h and c that zoneout keeps, factors of recurrent dropout on
    the h that enters U and on what the step writes."""

    keep_h: Any = None
    keep_c: Any = None
    drop_h: Any = None
    drop_n: Any = None


class Affine:
    """v -> LN(W v) + b for the rows `rows` of one side's weights, "ih" or "hh"."""

    def __init__(self, p: Params, side: str, rows: slice = slice(None)) -> None:
        self.turned = p["weight_" + side][rows].T
        names = ("weight_ln_" + side, "bias_ln_" + side, "bias_" + side)
        self.gain, self.shift, self.bias = (p[name][rows] if name in p else None for name in names)

    def __call__(self, v: Tensor) -> Tensor:
        y = v @ self.turned
        if self.gain is not None:
            y = layer_norm(y, y.shape[-1], self.gain, self.shift)
        return y if self.bias is None else y + self.bias


Step = Callable[[Any, Tensor, Any, Masks], tuple[Tensor, Any]]  # (A of each block, h, c, masks) -> (h', c')


def make_step(cell: Cell, p: Params) -> tuple[list[Affine], Step]:
    """What turns x into the A of each block of gates, and the step."""
    if cell.kind == "gru":
        return _gru(cell, p)
    return _lstm(cell, p) if cell.kind == "lstm" else _rnn(cell, p)


def _bounded(v: Tensor, limit: float | None) -> Tensor:
    return v if limit is None or math.isinf(limit) else v.clamp(-limit, limit)


def _mixed(keep: Any, old: Tensor, new: Tensor) -> Tensor:
    return new if keep is None else keep * old + (1 - keep) * new  # exact where keep is 0 or 1


def _dropped(v: Tensor, factor: Any) -> Tensor:
    return v if factor is None else v * factor


def _rnn(cell: Cell, p: Params) -> tuple[list[Affine], Step]:
    f, recurrent = relu if cell.kind == "rnn_relu" else tanh, Affine(p, "hh")

    def step(a: Any, h: Tensor, c: Any, m: Masks) -> tuple[Tensor, Any]:
        n = f(_bounded(a[0] + recurrent(_dropped(h, m.drop_h)), cell.gate_clip))
        return _mixed(m.keep_h, h, _bounded(_dropped(n, m.drop_n), cell.cell_clip)), c

    return [Affine(p, "ih")], step


def _gru(cell: Cell, p: Params) -> tuple[list[Affine], Step]:
    hidden = p["weight_hh"].shape[1]
    blocks = slice(0, 2 * hidden), slice(2 * hidden, None)
    gates, candidate = (Affine(p, "hh", rows) for rows in blocks)

    def step(a: Any, h: Tensor, c: Any, m: Masks) -> tuple[Tensor, Any]:
        entering = _dropped(h, m.drop_h)
        r, z = sigmoid(_bounded(a[0] + gates(entering), cell.gate_clip)).chunk(2, 1)
        b = r * candidate(entering) if cell.reset_after else candidate(r * entering)
        n = _dropped(tanh(_bounded(a[1] + b, cell.gate_clip)), m.drop_n)
        return _mixed(m.keep_h, h, _bounded(n + z * (h - n), cell.cell_clip)), c

    return [Affine(p, "ih", rows) for rows in blocks], step


def _lstm(cell: Cell, p: Params) -> tuple[list[Affine], Step]:
    recurrent, project = Affine(p, "hh"), p["weight_hr"].T if "weight_hr" in p else None

    def gate(a: Tensor, name: str, c: Tensor) -> Tensor:
        seen = a + p[name] * c if name in p else a
        return sigmoid(_bounded(seen, cell.gate_clip))

    def step(a: Any, h: Tensor, c: Any, m: Masks) -> tuple[Tensor, Any]:
        i, *f, g, o = (a[0] + recurrent(_dropped(h, m.drop_h))).chunk(3 if cell.coupled else 4, 1)
        i = gate(i, "weight_pi", c)
        forget = 1 - i if cell.coupled else gate(f[0], "weight_pf", c)
        g = _dropped(tanh(_bounded(g, cell.gate_clip)), m.drop_n)
        new = _bounded(forget * c + i * g, cell.cell_clip)
        o = gate(o, "weight_po", new)
        shown = layer_norm(new, new.shape[-1], p["weight_ln_c"], p["bias_ln_c"]) if "weight_ln_c" in p else new
        out = o * tanh(shown)
        if project is not None:
            out = out @ project
        return _mixed(m.keep_h, h, out), _mixed(m.keep_c, c, new)

    return [Affine(p, "ih")], step
