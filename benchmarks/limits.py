"""The machine's limits: arithmetic, bandwidth of memory and cache, and what the first touch of fresh memory costs.

Each is the best of several trials: other work on the machine can only make a trial slower.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case

Limits = dict[str, Any]
MEGABYTE = 1 << 20
TRIALS = 7


def measure(threads: int, seconds: float = 0.15) -> Limits:
    """All limits in FLOP/s and bytes/s, with 1 and with `threads` threads; runs where jadro can be imported."""
    from jadro import _core

    peak, source = _fma(_core, seconds)
    limits: Limits = {"threads": threads, "fma_source": source, "cache_bytes": threads * l2_bytes()}
    for key, n in (("one", 1), ("all", threads)):
        limits[f"fma_{key}"] = peak(n)
        limits[f"copy_{key}"] = copy_bandwidth(n)
        limits[f"cache_{key}"] = cache_bandwidth(n)
    limits["first_touch_4k"] = first_touch(huge=False)
    limits["first_touch_huge"] = first_touch(huge=True)
    return limits


def limit(case: Case, limits: Limits) -> tuple[float, str]:
    """The smallest possible time in seconds, and its kind: "F" arithmetic at the FMA peak, "B" bytes at the copy bandwidth, or
    at the cache's where everything fits in it."""
    bandwidth = limits["cache_all" if case.bytes <= limits["cache_bytes"] else "copy_all"]
    arithmetic, transfer = case.flops / limits["fma_all"], case.bytes / bandwidth
    return (arithmetic, "F") if arithmetic >= transfer else (transfer, "B")


def _fma(core: Any, seconds: float) -> tuple[Callable[[int], float], str]:
    """FLOP/s by thread count, from the native register loop."""

    def peak(threads: int) -> float:
        return max(core.fma_peak(seconds / TRIALS, threads) for _ in range(TRIALS))

    return peak, "register loop"


def l2_bytes() -> int:
    """Bytes of one core's L2 cache, 1 MiB where the system does not tell."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "level").read_text().strip() == "2":
            return int((index / "size").read_text().strip().removesuffix("K")) * 1024
    return MEGABYTE


def copy_bandwidth(threads: int, megabytes: int = 256) -> float:
    """Bytes read and written per second by a large copy (the C library's, with non-temporal stores where it has them)."""
    n = megabytes * MEGABYTE // 8
    source, target = np.ones(n), np.zeros(n)
    parts = [slice(n * i // threads, n * (i + 1) // threads) for i in range(threads)]
    return 2 * source.nbytes / _fastest(lambda i: np.copyto(target[parts[i]], source[parts[i]]), threads)


def cache_bandwidth(threads: int) -> float:
    """Bytes per second read by dot products of two vectors that fill half of the L2: one core's, times the threads (each core has
    its own)."""
    n = l2_bytes() // 4 // 4
    a, b = np.ones(n, np.float32), np.ones(n, np.float32)

    def dots(_: int) -> None:
        for _ in range(200):
            a.dot(b)

    return threads * 200 * 2 * a.nbytes / _fastest(dots, 1)


def first_touch(huge: bool, megabytes: int = 128) -> float:
    """Bytes per second of the first write to fresh pages; 0 where the system cannot be asked for huge ones."""
    if huge and not hasattr(mmap, "MADV_HUGEPAGE"):
        return 0.0
    best = 0.0
    for _ in range(3):
        with mmap.mmap(-1, megabytes * MEGABYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            if hasattr(mmap, "MADV_HUGEPAGE"):
                memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
            pages = np.frombuffer(memory, np.uint8)
            start = time.perf_counter()
            pages[::4096] = 1
            best = max(best, pages.nbytes / (time.perf_counter() - start))
            del pages
    return best


def _fastest(work: Callable[[int], object], threads: int) -> float:
    """Seconds of the fastest trial in which `threads` threads call work(0), work(1), ... at once."""
    best = float("inf")
    for _ in range(TRIALS):
        gate = threading.Barrier(threads + 1)

        def body(i: int, gate: threading.Barrier = gate) -> None:
            gate.wait()
            work(i)

        team = [threading.Thread(target=body, args=(i,)) for i in range(threads)]
        for thread in team:
            thread.start()
        gate.wait()
        start = time.perf_counter()
        for thread in team:
            thread.join()
        best = min(best, time.perf_counter() - start)
    return best
