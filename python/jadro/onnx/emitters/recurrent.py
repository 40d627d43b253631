"""Recurrent layers: one RNN, LSTM or GRU a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...nn.convert import onnx_attributes, onnx_side
from ...ops import rnn
from .registry import Builder, emits


def _check(options: Any, rows: Any, hidden: int, out: int) -> None:
    """ValueError for what the operators do not have."""
    came = {
        "layer_norm": options.layer_norm, "zoneout": any(options.zoneout), "proj_size": hidden != out,
        "cell_clip": options.cell_clip != math.inf, "reset": rows.reset is not None, "training": options.training,
    }  # fmt: skip
    if any(came.values()):
        names = ", ".join(name for name, there in came.items() if there)
        raise ValueError(f"onnx.export: a recurrent layer with {names}, which ONNX's operators do not have")


def _weights(options: Any, weights: Sequence[Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    """W, R, B and P of one layer, all directions; weights: the native ones of each direction after the other."""
    arrays = [np.asarray(w.cpu().data) for w in weights]
    parts = [dict(zip(names, arrays[i:], strict=False)) for i in range(0, len(arrays), len(names))]
    sides = [onnx_side(options.cell, part) for part in parts]
    return {key: np.stack([side[key] for side in sides]) for key in sides[0]}


@emits(rnn.Recurrent)
def recurrent(
    g: Builder, x: Any, h0: Any, c0: Any, reset_h: Any, reset_c: Any, *weights: Any, plan: Any, rows: Any
) -> tuple[str, ...]:
    """y [T,B,D*H] and the last states [L*D,B,H]."""
    o = plan.options
    out, hidden = weights[1].shape[1], weights[0].shape[0] // rnn.GATES[o.cell]
    _check(o, rows, hidden, out)
    names = rnn.parameters_of(o.cell, o.bias, False, o.peephole, False)
    lengths = "" if rows.lengths is None else g.node("Cast", g.name(rows.lengths), to=6)  # int32
    op, states = o.stem.upper(), 2 if o.is_lstm else 1
    attributes = onnx_attributes(o.cell, hidden, o.directions, None if o.gate_clip == math.inf else o.gate_clip)
    seen, ends = g.name(x), []
    for layer in range(o.layers):
        first = layer * o.directions
        kinds = _weights(o, weights[first * len(names) :][: o.directions * len(names)], names)
        starts = [_layer_state(g, s, first, o) for s in (h0, c0)[:states]]
        given = [g.constant(kinds[k]) if k in kinds else "" for k in "WRB"]
        peephole = [g.constant(kinds["P"])] if "P" in kinds else []
        extra = [*starts, *[""] * (2 - states), *peephole] if peephole else starts
        y, *last = g.node(op, seen, *given, lengths, *extra, outputs=1 + states, **attributes)
        ends.append(last)
        merged = g.node("Transpose", y, perm=[0, 2, 1, 3])  # [T, B, D, H]
        seen = g.node("Reshape", merged, g.ints(0, 0, -1))
    finals = [names[0] if o.layers == 1 else g.node("Concat", *names, axis=0) for names in zip(*ends, strict=True)]
    return (seen, *finals)


def _layer_state(g: Builder, state: Any, first: int, options: Any) -> str:
    """The part of a state [L*D,B,H] that is one layer's."""
    if state is None or options.layers == 1:
        return g.name(state)
    bounds = (first,), (first + options.directions,), (0,)
    return g.node("Slice", g.name(state), *(g.ints(*b) for b in bounds))
