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
from jadro.testing.cases.activation import ActivationCase
from jadro.testing.cases.adam import AdamCase
from jadro.testing.cases.batch_norm import BatchNormCase
from jadro.testing.cases.conv2d import Conv2dCase
from jadro.testing.cases.cross_entropy import CrossEntropyCase
from jadro.testing.cases.dropout import DropoutCase, UniformCase
from jadro.testing.cases.embedding import EmbeddingCase
from jadro.testing.cases.gemm import GemmCase
from jadro.testing.cases.pool2d import MaxPool2dCase
from jadro.testing.cases.rnn import RnnCase

SAME = (1, 1, 1, 1)
# Large enough for several threads each, in every direction in which the work can be split.
LARGE = [
    GemmCase("square", 250, 260, 270, bias=True),
    GemmCase("deep", 40, 50, 3000),
    GemmCase("tall", 1500, 20, 30, trans_a=True),
    GemmCase("wide", 20, 1500, 30, trans_b=True, accumulate=True),
    Conv2dCase("batch", 9, 8, (14, 15), 16, (3, 3), padding=SAME),
    Conv2dCase("one_image", 1, 16, (40, 40), 32, (3, 3), padding=SAME),
    Conv2dCase("many_channels", 2, 130, (6, 7), 70, (3, 3), padding=SAME),
    Conv2dCase("depthwise", 3, 40, (20, 21), 40, (3, 3), padding=SAME, groups=40),
    Conv2dCase("few_channels", 4, 3, (32, 32), 16, (5, 5), stride=(2, 2), padding=(2, 2, 2, 2)),
    MaxPool2dCase("planes", 8, 16, (24, 25), (3, 3), (2, 2), SAME),
    MaxPool2dCase("one_plane", 1, 1, (200, 210), (2, 2), (2, 2)),
    RnnCase("batch", "lstm", 5, 40, 30, 50, layers=2, directions=2),
    RnnCase("few_rows", "lstm", 6, 2, 70, 130, layers=2),
    RnnCase("batch", "gru", 5, 40, 30, 50, layers=2, directions=2),
    RnnCase("few_rows", "gru", 6, 2, 70, 130, directions=2),
    RnnCase("batch", "rnn_tanh", 5, 40, 30, 50, layers=2, dropout=0.5),
    RnnCase("few_rows", "rnn_relu", 6, 3, 70, 200, layers=2),
    BatchNormCase("images", 16, 20, 300),
    BatchNormCase("rows", 3000, 9, 1),
    ActivationCase("large", "tanh", (100003,)),
    CrossEntropyCase("large", 700, 90, weighted=True, label_smoothing=0.1),
    EmbeddingCase("large", 300, 64, 3000),
    DropoutCase("large", (200003,)),
    UniformCase("large", 200003),
    AdamCase("large", (100003, 7, 50000)),
]


def bits(results):
    return {name: array.tobytes() for name, array in results.items()}


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
    case = LARGE[0]
    inputs = case.make_inputs(np.float32)
    expected = bits(case.run(_core, inputs))
    done = threading.Event()

    def change():
        while not done.is_set():
            for count in (1, 4, 2, 7):
                _core.set_num_threads(count)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        assert all(bits(case.run(_core, inputs)) == expected for _ in range(50))
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
