"""A check that layers, data and text share."""

from __future__ import annotations

import operator
from typing import Any


def integer(call: str, name: str, value: Any, least: int | None = 1) -> int:
    """`value` as an int; TypeError where it is none, ValueError below `least` (None: no bound)."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{call}: {name} is {value!r}, expected an integer") from None
    if least is not None and number < least:
        raise ValueError(f"{call}: {name} is {number}, expected at least {least}")
    return number
