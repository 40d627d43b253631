"""Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3" (SC 2011), and dropout with its numbers. A number is a function of seed and position, so any thread or device
can draw it.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from jadro.testing.reference.sums import Array

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox4x32(counter: NDArray[Any], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Ten rounds on counter[..., 4], four 32-bit words a block, with a key of two words.

    A round: (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)), then k += Weyl's
    constants.
    """
    c0, c1, c2, c3 = (np.asarray(counter, np.uint64)[..., i] for i in range(4))
    for i in range(10):
        k0, k1 = (np.uint64((k + i * w) & 0xFFFFFFFF) for k, w in zip(key, WEYL, strict=True))
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & LOW, (p0 >> SHIFT) ^ c3 ^ k1, p0 & LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def random_uniform(count: int, dtype: DTypeLike, seed: int, offset: int) -> Array:
    """Numbers offset ... offset + count - 1 of the stream `seed`, in [0, 1).

    Block i has the counter (i mod 2^32, i div 2^32, 0, 0) and the seed's two halves as key. It holds four float32
    numbers, the upper 24 bits of a word times 2^-24, or two float64 numbers, the upper 53 bits of words (low, high)
    times 2^-53.
    """
    per_block = 4 if np.dtype(dtype) == np.float32 else 2
    first = offset // per_block
    blocks = np.array([first + i for i in range(-(-(offset + count) // per_block) - first)], np.uint64)
    counter = np.stack([blocks & LOW, blocks >> SHIFT, np.zeros_like(blocks), np.zeros_like(blocks)], axis=-1)
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)).reshape(-1)
    if per_block == 4:
        numbers = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    else:
        pairs = words.reshape(-1, 2).astype(np.uint64)
        numbers = ((pairs[:, 1] << SHIFT | pairs[:, 0]) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers[offset - first * per_block :][:count]


def dropout_mask(shape: tuple[int, ...], p: float, seed: int, offset: int) -> NDArray[np.bool_]:
    """Element j (in C order) is kept where the float32 number offset + j of the stream is at least p."""
    return (random_uniform(int(np.prod(shape)), np.float32, seed, offset) >= np.float32(p)).reshape(shape)


def dropout(x: Array, p: float, seed: int, offset: int) -> Array:
    """x * mask / (1-p); the backward pass is the same function of dy."""
    return x * dropout_mask(x.shape, p, seed, offset) / x.dtype.type(1 - p)
