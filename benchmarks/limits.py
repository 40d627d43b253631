"""The machine's limits: arithmetic, bandwidth of memory and cache, and what the first touch of fresh memory costs.

Each is the best of several trials: other work on the machine can only make a trial slower.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Array, Case

Limits = dict[str, Any]
MEBI = 1 << 20
COPY_BYTES = 256 * MEBI
ROUNDS = 4000  # passes over the cached data in one trial


def measure(threads: int, trials: int = 9) -> Limits:
    """All limits in FLOP/s and bytes/s, with 1 and with `threads` threads."""
    probe: CompiledProbe | PlainProbe
    try:
        probe = CompiledProbe(trials)
    except (OSError, subprocess.CalledProcessError):
        probe = PlainProbe(trials)
    limits: Limits = {"threads": threads, "probe": probe.description, "cache_bytes": threads * l2_bytes()}
    for key, n in (("one", 1), ("all", threads)):
        limits[f"fma_{key}"] = probe.fma(n)
        limits[f"copy_{key}"] = probe.copy(n)
        limits[f"cache_{key}"] = probe.cache(n)
    limits["first_touch_4k"] = first_touch(huge=False)
    limits["first_touch_huge"] = first_touch(huge=True)
    return limits


def limit(case: Case, limits: Limits) -> tuple[float, str]:
    """The smallest possible time in seconds, and its kind: "F" arithmetic at the FMA peak, "B" bytes at the copy
    bandwidth, or at the cache's where everything fits in it."""
    bandwidth = limits["cache_all" if case.bytes <= limits["cache_bytes"] else "copy_all"]
    arithmetic, transfer = case.flops / limits["fma_all"], case.bytes / bandwidth
    return (arithmetic, "F") if arithmetic >= transfer else (transfer, "B")


class CompiledProbe:
    """The loops of probe.cpp, compiled for this machine."""

    description = "probe.cpp: register loop, non-temporal copy, vector reads"

    def __init__(self, trials: int) -> None:
        self.trials = trials
        source = Path(__file__).with_name("probe.cpp")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "probe.so"
            flags = ["-O3", "-march=native", "-shared", "-fPIC"]
            compiler = os.environ.get("CXX", "c++")
            subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True, stderr=subprocess.PIPE)
            self._loops = ctypes.CDLL(str(library))
        self._loops.fma_loop.restype = ctypes.c_double

    def fma(self, threads: int) -> float:
        rounds, sinks, done = 20_000_000, np.zeros(threads, np.float32), [0.0] * threads

        def body(i: int) -> None:
            done[i] = self._loops.fma_loop(ctypes.c_int64(rounds), ctypes.c_float(0.5), _address(sinks[i:]))

        seconds = fastest(body, threads, self.trials)
        return sum(done) / seconds

    def copy(self, threads: int) -> float:
        source, target = aligned(COPY_BYTES, 1), aligned(COPY_BYTES, 0)
        share = COPY_BYTES // threads // 64 * 64

        def body(i: int) -> None:
            part = slice(i * share, (i + 1) * share)
            self._loops.copy_loop(_address(target[part]), _address(source[part]), ctypes.c_size_t(share))

        return 2 * share * threads / fastest(body, threads, self.trials)

    def cache(self, threads: int) -> float:
        size = l2_bytes() // 2
        data, sinks = aligned(size * threads, 0), np.zeros(threads, np.float32)

        def body(i: int) -> None:
            part = data[i * size : (i + 1) * size]
            rounds = ctypes.c_int64(ROUNDS)
            self._loops.read_loop(_address(part), ctypes.c_size_t(size), rounds, _address(sinks[i:]))

        return ROUNDS * size * threads / fastest(body, threads, self.trials)


class PlainProbe:
    """Without a compiler: jadro's own product of matrices that fit in the cache, NumPy's copy and dot product."""

    description = "no compiler: best in-cache matrix product of jadro, NumPy copy and dot product"

    def __init__(self, trials: int) -> None:
        self.trials = trials

    def fma(self, threads: int) -> float:
        import jadro
        from jadro import _core

        n = 384
        a = np.ones((n, n), np.float32)
        out = np.empty_like(a)
        before = jadro.get_num_threads()
        jadro.set_num_threads(threads)
        try:
            return 2.0 * n**3 / fastest(lambda _: _core.gemm(a, a, out), 1, 100 * self.trials)
        finally:
            jadro.set_num_threads(before)

    def copy(self, threads: int) -> float:
        source, target = aligned(COPY_BYTES, 1), aligned(COPY_BYTES, 0)
        share = COPY_BYTES // threads

        def body(i: int) -> None:
            part = slice(i * share, (i + 1) * share)
            np.copyto(target[part], source[part])

        return 2 * share * threads / fastest(body, threads, self.trials)

    def cache(self, threads: int) -> float:
        """One core's rate times the threads: each core has its own cache."""
        a = np.ones(l2_bytes() // 4 // 4, np.float32)
        b = a.copy()

        def body(_: int) -> None:
            for _ in range(ROUNDS):
                a.dot(b)

        return threads * ROUNDS * 2 * a.nbytes / fastest(body, 1, self.trials)


def fastest(work: Callable[[int], object], threads: int, trials: int) -> float:
    """Seconds of the fastest trial in which `threads` threads call work(0), work(1), ... at once."""
    best = float("inf")
    for _ in range(trials):
        spans = [(0.0, 0.0)] * threads
        gate = threading.Barrier(threads)

        def body(i: int, gate: threading.Barrier = gate, spans: list[tuple[float, float]] = spans) -> None:
            gate.wait()
            start = time.perf_counter()
            work(i)
            spans[i] = (start, time.perf_counter())

        team = [threading.Thread(target=body, args=(i,)) for i in range(threads)]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        best = min(best, max(end for _, end in spans) - min(start for start, _ in spans))
    return best


def first_touch(huge: bool, size: int = 128 * MEBI) -> float:
    """Bytes per second of the first write to fresh pages; 0 where the system cannot be asked for the kind of page."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return 0.0
    best = 0.0
    for _ in range(3):
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        pages = np.frombuffer(memory, np.uint8)
        start = time.perf_counter()
        pages[::4096] = 1
        best = max(best, size / (time.perf_counter() - start))
        del pages  # or the mapping cannot be closed
        memory.close()
    return best


def l2_bytes() -> int:
    """Bytes of one core's L2 cache; 1 MiB where the system does not tell."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "level").read_text().strip() == "2":
            return int((index / "size").read_text().strip().removesuffix("K")) * 1024
    return MEBI


def aligned(size: int, value: int) -> Array:
    """size bytes, written once, starting on a multiple of 64."""
    block = np.full(size + 64, value, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + size]


def _address(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
