"""Sequences, which are lists of Tensors, and optional values, which are None where they are not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.shape import cat, split, stack
from ..tensor import wrap
from .operators.registry import array, ints


def _place(position: Any, size: int, last: int) -> int:
    """A position as an index from 0, `last` where it is left out; ValueError beyond it."""
    at = last if position is None else int(array(position).item())
    if not -size <= at <= last:
        raise ValueError(f"onnx: a position is {at}, expected {-size}..{last} in a sequence of {size}")
    return at + size if at < 0 else at


def _at(sequence: Any, position: Any) -> Any:
    return sequence[_place(position, len(sequence), len(sequence) - 1)]


def _insert(sequence: Any, x: Any, position: Any = None) -> Any:
    at = _place(position, len(sequence), len(sequence))
    return [*sequence[:at], x, *sequence[at:]]


def _erase(sequence: Any, position: Any = None) -> Any:
    at = _place(position, len(sequence), len(sequence) - 1)
    return [x for i, x in enumerate(sequence) if i != at]


def _join(sequence: Any, axis: int, new_axis: int = 0) -> Any:
    return (stack if new_axis else cat)(sequence, axis)


def _split(x: Any, sizes: Any = None, axis: int = 0, keepdims: int = 1) -> Any:
    if sizes is None:
        parts = split(x, 1, axis)
        return [part if keepdims else part.squeeze(axis) for part in parts]
    given = ints(sizes) or []
    return list(split(x, given if sizes.ndim else given[0], axis))


# Functions of whatever stands in the graph, and of the attributes.
SEQUENCES: dict[str, Callable[..., Any]] = {
    "SequenceEmpty": lambda dtype=1: [],
    "SequenceConstruct": lambda *xs: list(xs),
    "SequenceAt": _at,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceLength": lambda sequence: wrap(np.asarray(len(sequence), np.int64)),
    "ConcatFromSequence": _join,
    "SplitToSequence": _split,
    "Optional": lambda x=None, type=None: x,
    "OptionalGetElement": lambda x: x,
    "OptionalHasElement": lambda x=None: wrap(np.asarray(x is not None)),
}
