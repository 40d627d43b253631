"""Results are the same bits on any number of threads, from any caller, after a fork; kernels let Python go on
meanwhile.
"""

import os
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jadro import _core
from jadro.testing import cases
from jadro.testing.cases import LARGE


def bits(results):
    return {name: array.tobytes() for name, array in results.items()}


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_large_problems_match_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@pytest.mark.parametrize("case", [*cases.ALL, *LARGE], ids=str)
def test_same_bits_on_any_number_of_threads(case, backend, dtype, threads):
    inputs = case.make_inputs(dtype)
    threads(1)
    alone = bits(backend.run(case, inputs))
    for count in (2, 3, 7):
        threads(count)
        together = bits(backend.run(case, inputs))
        assert together == alone, [name for name in alone if alone[name] != together[name]]


def test_concurrent_callers_get_the_same_bits(dtype, threads):
    threads(3)
    work = [(case, case.make_inputs(dtype)) for case in LARGE]
    expected = [bits(case.run(_core, inputs)) for case, inputs in work]
    start = threading.Barrier(4)

    def caller(rank):
        start.wait()
        order = [(i + 5 * rank) % len(work) for i in range(len(work))]
        return all(bits(work[i][0].run(_core, work[i][1])) == expected[i] for i in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(caller, range(4)))


def test_the_number_of_threads_may_change_while_others_work(threads):
    work = [(case, case.make_inputs(np.float32)) for case in LARGE]
    expected = [bits(case.run(_core, inputs)) for case, inputs in work]
    done = threading.Event()

    def change():
        while not done.is_set():
            for count in (1, 4, 2, 7):
                _core.set_num_threads(count)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(5):
            assert [bits(case.run(_core, inputs)) for case, inputs in work] == expected
    finally:
        done.set()
        changer.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_kernels_work_after_fork(threads):
    """The child has none of its parent's threads; it must neither wait for them nor compute anything else."""
    threads(3)
    work = [(case, case.make_inputs(np.float32)) for case in LARGE]
    expected = [bits(case.run(_core, inputs)) for case, inputs in work]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python's, about fork beside threads: the point of the test
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if [bits(case.run(_core, inputs)) for case, inputs in work] == expected else 2
        finally:
            os._exit(status)
    for _ in range(6000):  # a child that hangs is killed after a minute
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child process hangs")
    assert os.waitstatus_to_exitcode(status) == 0
    assert [bits(case.run(_core, inputs)) for case, inputs in work] == expected  # and the parent goes on


class Recorder:
    """Stands for the module and keeps each call of a kernel, to be made again."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, lambda: getattr(_core, name)(*args, **kwargs)))
            return self.calls[-1][1]()

        return call


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_kernels_release_the_gil(case):
    """With Python's own switching off, another thread can run only while a kernel has let go."""
    recorder = Recorder()
    case.run(recorder, case.make_inputs(np.float64))
    interval = sys.getswitchinterval()
    for name, kernel in recorder.calls:
        if name not in case.kernels:
            continue
        gate, seen = threading.Lock(), threading.Event()

        def other(gate=gate, seen=seen):
            with gate:
                seen.set()

        thread = threading.Thread(target=other, daemon=True)
        try:
            with gate:
                thread.start()
                sys.setswitchinterval(1000.0)
            for _ in range(20_000):
                if seen.is_set():
                    break
                kernel()
            else:
                pytest.fail(f"{name} holds the GIL")
        finally:
            sys.setswitchinterval(interval)
            thread.join()
