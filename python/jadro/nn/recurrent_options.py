"""The options that recurrent layers share, checked."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .checks import integer


class CellOptions(NamedTuple):
    """What a layer was made with; see `jadro.nn.RNN` and `jadro.nn.LSTM`."""

    layer_norm: bool = False
    zoneout: float | tuple[float, float] = 0.0
    recurrent_dropout: float = 0.0
    recurrent_dropout_mode: str = "sequence"
    cell_clip: float | None = None
    gate_clip: float | None = None
    peephole: bool = False
    coupled: bool = False
    checkpoint: int | None = None


def check_options(call: str, is_lstm: bool, given: dict[str, Any]) -> CellOptions:
    """TypeError for a name that is none or not this layer's, and for a wrong type; ValueError for a wrong value."""
    for name in given:
        if name not in CellOptions._fields or (name in ("peephole", "coupled") and not is_lstm):
            raise TypeError(f"{call}: got an unexpected keyword argument {name!r}")
    options = CellOptions(**given)
    zoneout = options.zoneout
    if isinstance(zoneout, (tuple, list)):
        if len(zoneout) != 2 or not is_lstm:
            expected = "a number or a pair (h, c)" if is_lstm else "one number"
            raise ValueError(f"{call}: zoneout is {zoneout}, expected {expected}")
        zoneout = (_probability(call, "zoneout", zoneout[0]), _probability(call, "zoneout", zoneout[1]))
    else:
        zoneout = _probability(call, "zoneout", zoneout)
    mode = options.recurrent_dropout_mode
    if mode not in ("sequence", "update"):
        raise ValueError(f"{call}: recurrent_dropout_mode is {mode!r}, expected 'sequence' or 'update'")
    if options.checkpoint is not None:
        integer(call, "checkpoint", options.checkpoint)
    return options._replace(
        layer_norm=bool(options.layer_norm),
        zoneout=zoneout,
        recurrent_dropout=_probability(call, "recurrent_dropout", options.recurrent_dropout),
        cell_clip=_bound(call, "cell_clip", options.cell_clip),
        gate_clip=_bound(call, "gate_clip", options.gate_clip),
        peephole=bool(options.peephole),
        coupled=bool(options.coupled),
    )


def _number(call: str, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{call}: {name} is {value!r}, expected a number") from None


def _probability(call: str, name: str, value: Any) -> float:
    p = _number(call, name, value)
    if not 0.0 <= p < 1.0:
        raise ValueError(f"{call}: {name} is {value}, expected 0 <= {name} < 1")
    return p


def _bound(call: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    bound = _number(call, name, value)
    if not bound > 0 or math.isinf(bound):
        raise ValueError(f"{call}: {name} is {value}, expected a number above 0, or None")
    return bound
