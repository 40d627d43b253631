"""PyTorch at its best: channels_last for convolution and pooling, fused Adam, and an allocator that keeps freed memory.

The allocator is the C library's, told through mallopt before anything is allocated: no block comes from mmap, and the
top of the heap is never given back, so that a page is touched for the first time only once (glibc; elsewhere nothing
changes).
"""

from __future__ import annotations

import ctypes

from benchmarks.peers import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
NEVER = 2**31 - 1


def keep_memory() -> None:
    """Tells malloc to hold on to everything."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, NEVER)


class Peer(torch.Peer):
    channels_last = True
    fused_adam = True

    def __init__(self, threads: int) -> None:
        keep_memory()
        super().__init__(threads)
