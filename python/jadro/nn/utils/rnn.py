"""Sequences of unlike lengths as one tensor, and back: the x that recurrent layers take with `lengths`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import backend
from ...ops.common import check_integer
from ...ops.index import Put
from ...ops.shape import cat
from ...tensor import Tensor, as_tensor, wrap


def pad_sequence(
    sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences [L_b, *] side by side, T = max L_b steps each: y[t, b] = sequences[b][t], and `padding_value` beyond.

    Returns [T, B, *], or with `batch_first` [B, T, *]: with padding_side "right" the x of `rnn(x, lengths=[len(s) for s
    in sequences])`; "left" puts the padding first. Gradients reach the sequences.

    Raises ValueError for no sequences, other sides, and shapes that differ behind the first axis, TypeError for dtypes
    that differ.
    """
    given = [as_tensor(s) for s in sequences]
    if not given:
        raise ValueError("pad_sequence: sequences is empty, expected one at least")
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: padding_side is {padding_side!r}, expected 'left' or 'right'")
    first = given[0]
    for i, s in enumerate(given):
        if s.ndim < 1 or first.ndim < 1 or s.shape[1:] != first.shape[1:]:
            raise ValueError(f"pad_sequence: sequences[{i}] has shape {s.shape}, expected (length, *{first.shape[1:]})")
        if s.dtype != first.dtype:
            raise TypeError(f"pad_sequence: sequences[{i}] has dtype {s.dtype}, expected {first.dtype} as the first")
    lengths = np.array([len(s) for s in given])
    steps, batch = int(lengths.max()), len(given)
    rows = np.repeat(np.arange(batch), lengths)
    times = np.concatenate([np.arange(n) + (steps - n if padding_side == "left" else 0) for n in lengths])
    full = backend.empty_like(first.data, ((batch, steps) if batch_first else (steps, batch)) + first.shape[1:])
    full[...] = padding_value
    index = tuple(backend.to_device(i, first.device) for i in ((rows, times) if batch_first else (times, rows)))
    return Put.apply(wrap(full), cat([s.reshape(len(s), *first.shape[1:]) for s in given]), index=index)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The first lengths[b] steps of each row: what `pad_sequence` was given, or the valid part of a layer's output.

    padded_sequences: [T, B, *], or with `batch_first` [B, T, *]. lengths: [B] integers 0 .. T. Returns B tensors
    [lengths[b], *]; gradients pass. Raises ValueError for shapes and lengths that do not fit, TypeError for lengths
    that are not integers.
    """
    x = as_tensor(padded_sequences)
    if x.ndim < 2:
        raise ValueError(f"unpad_sequence: padded_sequences has shape {x.shape}, expected two axes at least")
    counts = backend.to_device(as_tensor(lengths).data, "cpu")
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    if counts.shape != (batch,):
        raise ValueError(f"unpad_sequence: lengths has shape {counts.shape}, expected ({batch},)")
    if batch:
        check_integer("unpad_sequence", "lengths", counts)
        if counts.min() < 0 or counts.max() > steps:
            raise ValueError(f"unpad_sequence: lengths reach {counts.min()}..{counts.max()}, expected 0..{steps}")
    return [x[b, : int(n)] if batch_first else x[: int(n), b] for b, n in enumerate(counts)]
