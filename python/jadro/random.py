"""The library's random numbers: one counter-based stream (Philox4x32-10), named by a seed and read from a running
offset.

Number j of the stream depends on the seed and j alone, so the same numbers come out on every device and for any number
of threads. Dropout masks take a range of the stream with `next_offset` and draw it inside their kernels, twice where
needed.
"""

from __future__ import annotations

import math
import operator
import os
import threading
from typing import Any

import numpy as np

from . import _core

_lock = threading.Lock()
_seed = int.from_bytes(os.urandom(8), "little")
_offset = 0


def manual_seed(seed: int) -> None:
    """Restarts the stream at number 0 of `seed`; any integer, taken modulo 2^64. TypeError for what is none."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise TypeError(f"manual_seed: seed is {seed!r}, expected an integer") from None
    set_state((number, 0))


def get_state() -> tuple[int, int]:
    """(seed, offset): where the stream stands."""
    with _lock:
        return _seed, _offset


def set_state(state: tuple[int, int]) -> None:
    """Goes on where `get_state` stood."""
    global _seed, _offset
    try:
        seed, offset = (int(part) for part in state)
    except (TypeError, ValueError):
        raise TypeError(f"set_state: state is {state!r}, expected two integers, (seed, offset)") from None
    if offset < 0:
        raise ValueError(f"set_state: offset is {offset}, expected at least 0")
    with _lock:
        _seed, _offset = seed % 2**64, offset


def next_offset(n: int) -> tuple[int, int]:
    """(seed, offset) of the next n numbers, which nobody else gets."""
    global _offset
    with _lock:
        offset = _offset
        _offset += n
        return _seed, offset


def uniform(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Uniform numbers in [0, 1): 24 bits for float32, 53 for float64."""
    out = np.empty(shape, dtype)
    _core.random_uniform(out, *next_offset(out.size))
    return out


def normal(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Standard normal numbers, by Box and Muller (1958): from uniform u, v both sqrt(-2 log(1-u)) cos(2 pi v) and the
    sine."""
    n = math.prod(shape)
    u, v = uniform((2, (n + 1) // 2), np.float64)
    radius, angle = np.sqrt(-2.0 * np.log1p(-u)), (2.0 * math.pi) * v
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n].reshape(shape).astype(dtype)


def permutation(n: int) -> np.ndarray:
    """0..n-1 in random order, int64."""
    return np.argsort(uniform((n,), np.float64), kind="stable")
