"""The process that one side runs in: `python -m benchmarks.worker SIDE THREADS FD`.

Each side has its own process, so that libraries cannot disturb each other's threads, allocator or symbols. It answers
one request at a time over the socket FD: ("open", case), ("slice", seconds), ("close",).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import signal
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.cases import Array, Case, Job, Unsupported

SAMPLE_SECONDS = 50e-6  # shorter calls are timed several at a time
PR_SET_PDEATHSIG = 1  # sys/prctl.h
MAX_SAMPLED = 1 << 16  # elements of one result that are compared
WARM_SECONDS = 0.05  # shorter jobs run once untimed before each slice


class Jadro:
    """jadro's side: the case itself knows how."""

    def __init__(self, threads: int) -> None:
        import jadro
        from jadro import _core

        jadro.set_num_threads(threads)
        self.version = f"{jadro.__version__} ({_core.isa()})"


def load(side: str, threads: int) -> Any:
    """The peer of that name; ImportError where its library is not installed."""
    return Jadro(threads) if side == "jadro" else importlib.import_module(f"benchmarks.peers.{side}").Peer(threads)


def build(peer: Any, case: Case) -> Job:
    """The job of one side; Unsupported where the side has none."""
    if isinstance(peer, Jadro):
        return case.jadro()
    method = getattr(peer, case.op, None)
    if method is None:
        raise Unsupported(case.op)
    return method(case)


def sample(results: Any) -> list[tuple[tuple[int, ...], Array]]:
    """(shape, elements) of every result: all of a small one, drawn ones of a large one, the same on every side."""
    samples = []
    for result in results:
        array = np.asarray(result, np.float64 if np.ndim(result) == 0 else None)
        flat = array.reshape(-1)
        if flat.size > MAX_SAMPLED:
            flat = flat[np.random.default_rng(0).integers(0, flat.size, MAX_SAMPLED)]
        samples.append((array.shape, np.array(flat)))
    return samples


def open_job(peer: Any, case: Case) -> tuple[Job, float, Any]:
    """(job, seconds of a warm call, its results).

    The second call is the one that is checked: it also shows what the first left behind, and that a step's update was
    right.
    """
    job = build(peer, case)
    job.results(job.run())
    start = time.perf_counter()
    out = job.run()
    seconds = time.perf_counter() - start
    return job, seconds, sample(job.results(out))


def time_slice(job: Job, seconds: float, estimate: float) -> list[float]:
    """Seconds per call, for as long as the slice lasts and at least once."""
    inner = max(1, round(SAMPLE_SECONDS / estimate))
    if estimate < WARM_SECONDS:
        job.run()
    times = []
    clock = time.perf_counter
    end = clock() + seconds
    while True:
        start = clock()
        for _ in range(inner):
            job.run()
        now = clock()
        times.append((now - start) / inner)
        if now >= end:
            return times


def serve(connection: Any, peer: Any) -> None:
    """Answers requests until the other end closes."""
    job, estimate = None, 1.0
    while True:
        request, *arguments = connection.recv()
        try:
            if request == "open":
                job, estimate, results = open_job(peer, *arguments)
                gc.freeze()  # what the libraries hold is not searched again and again
                connection.send(("opened", estimate, results))
            elif request == "slice" and job is not None:
                times = time_slice(job, arguments[0], estimate)
                estimate = float(np.median(times))
                connection.send(("times", times))
            else:
                job = None
                gc.unfreeze()
                gc.collect()
                connection.send(("closed",))
        except Unsupported:
            connection.send(("unsupported",))
        except Exception as error:  # a peer's failure is a result, not the end of the run
            job = None
            connection.send(("error", f"{type(error).__name__}: {error}"))


def end_with_parent() -> None:
    """A stopped process cannot see that the other end is gone; Linux can be told to end it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def main() -> None:
    end_with_parent()
    side, threads, handle = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    connection: Any = Connection(handle)
    try:
        peer = load(side, threads)
    except ImportError as error:
        connection.send(("missing", str(error)))
        return
    connection.send(("ready", peer.version))
    try:
        serve(connection, peer)
    except EOFError:
        return


if __name__ == "__main__":
    main()
