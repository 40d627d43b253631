"""Runs the sides of a case in turn and collects their times.

A B C A B C ...: every side has a process of its own (`worker`), and all but the one that runs are stopped (SIGSTOP), so
no thread pool spins beside another. The first side is the reference that the others' results are held to before any
timing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case

ROOT = Path(__file__).parents[1]  # of the clone
TOLERANCE = 2e-3  # of the largest element: different summation orders in float32 pass, a wrong formula does not
REPLY_SECONDS = 300.0
THREAD_VARIABLES = ("JADRO_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")


@dataclass(frozen=True)
class Plan:
    """How long to measure: rounds of slices, fewer when a case has used up its share."""

    rounds: int = 9
    slice_seconds: float = 0.03
    case_seconds: float = 6.0
    least_rounds: int = 3


QUICK = Plan(rounds=3, slice_seconds=0.01, case_seconds=1.0, least_rounds=2)


class SideError(Exception):
    """The side's process ended, or did not answer in time."""


class Side:
    """One library in one process, stopped unless `awake`."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        ours, theirs = socket.socketpair()
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        command = [sys.executable, "-m", "benchmarks.worker", name, str(threads), str(theirs.fileno())]
        self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], stdout=2, cwd=ROOT)
        theirs.close()
        self._connection: Any = Connection(ours.detach())
        try:
            self.state, self.version = self._receive()
        except SideError as error:
            self.state, self.version = "error", str(error)
        if self.ready:
            self._signal("SIGSTOP")

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    def ask(self, *request: Any) -> tuple[Any, ...]:
        """The answer to one request, during which the process is awake."""
        if not self.ready:
            return ("error", self.version)
        self._signal("SIGCONT")
        try:
            self._connection.send(request)
            return self._receive()
        except (SideError, OSError) as error:
            self.state, self.version = "error", f"{error}"
            return ("error", self.version)
        finally:
            self._signal("SIGSTOP")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _receive(self) -> tuple[Any, ...]:
        try:
            if self._connection.poll(REPLY_SECONDS):
                return self._connection.recv()
        except (EOFError, ConnectionError):
            raise SideError(f"{self.name}: the process ended with status {self._process.wait()}") from None
        self._process.kill()
        raise SideError(f"{self.name}: no answer within {REPLY_SECONDS:.0f} s")

    def _signal(self, name: str) -> None:
        if self._process.poll() is None:
            self._process.send_signal(getattr(signal, name))


@contextmanager
def sides_of(names: Iterable[str], threads: int) -> Iterator[list[Side]]:
    """The sides' processes, on the first `threads` processors, ended on leaving."""
    sides: list[Side] = []
    try:
        with _processors(threads):
            for name in names:
                sides.append(Side(name, threads))
        yield sides
    finally:
        for side in sides:
            side.end()


@contextmanager
def _processors(threads: int) -> Iterator[None]:
    """Children started here may use only so many processors: the one limit that every library obeys."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def competitor(wanted: bool = True) -> Iterator[None]:
    """One other process that never rests."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def measure(case: Case, sides: Sequence[Side], plan: Plan, busy: bool = False) -> dict[str, dict[str, Any]]:
    """Per side: {"median", "q1", "q3", "samples"} in seconds and, with busy, the same again under "busy", beside a
    competing process; or {"status", "reason"} with the status "unsupported", "error" or "wrong"."""
    results: dict[str, dict[str, Any]] = {}
    running: list[Side] = []
    reference = None
    for side in sides:
        reply = side.ask("open", case)
        if reply[0] == "opened":
            reference = reference or (side.name, reply[2])
            wrong = difference(reply[2], reference[1])
            if not wrong:
                running.append(side)
                continue
            reply = ("wrong", f"against {reference[0]}: {wrong}")
        results[side.name] = {"status": reply[0], "reason": " ".join(reply[1:])}
    results |= {name: summary(times) for name, times in in_turn(running, plan).items()}
    if busy:
        with competitor():
            for name, times in in_turn(running, plan).items():
                results[name]["busy"] = summary(times)
    for side in sides:
        side.ask("close")
    return results


def in_turn(sides: Sequence[Side], plan: Plan) -> dict[str, list[float]]:
    """Times of every side, slice by slice: A B C A B C ..."""
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    end = time.perf_counter() + plan.case_seconds
    for done in range(plan.rounds):
        if done >= plan.least_rounds and time.perf_counter() > end:
            break
        for side in sides:
            reply = side.ask("slice", plan.slice_seconds)
            if reply[0] == "times":
                times[side.name] += reply[1]
    return times


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles of one side's times; an error where there are none."""
    if not times:
        return {"status": "error", "reason": "no times"}
    q1, median, q3 = np.quantile(times, (0.25, 0.5, 0.75))
    return {"median": float(median), "q1": float(q1), "q3": float(q3), "samples": len(times)}


def difference(results: Sequence[Any], reference: Sequence[Any]) -> str:
    """How the results differ from the reference beyond TOLERANCE; "" where they agree."""
    if len(results) != len(reference):
        return f"{len(results)} results, expected {len(reference)}"
    for i, ((shape, values), (expected_shape, expected)) in enumerate(zip(results, reference, strict=True)):
        if shape != expected_shape:
            return f"result {i} has shape {shape}, expected {expected_shape}"
        scale = float(np.max(np.abs(expected), initial=0.0)) or 1.0
        error = float(np.max(np.abs(values - expected), initial=0.0)) / scale
        if not error <= TOLERANCE:  # also when it is NaN
            return f"result {i} is off by {error:.1e} of its largest element"
    return ""
