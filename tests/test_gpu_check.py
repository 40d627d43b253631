"""The GPU check as far as a machine without a GPU can hold it: what it says there, its report, and the cases of its
benchmark on the CPU."""

import numpy as np
import pytest
from conftest import cuda_is_here

from benchmarks import gpu, gpu_check
from benchmarks.gpu_check import Part, Row


@pytest.mark.skipif(cuda_is_here(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence(tmp_path, capsys):
    assert gpu_check.main(["--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and not (tmp_path / "out").exists()
    assert len(printed.err.strip().splitlines()) == 1 and printed.err.startswith("CUDA needs CuPy and the native CUDA")


PARTS = [Part("tests", True, "10 passed (3 s)"), Part("memcheck", None, "compute-sanitizer is not installed")]
ROWS = [
    Row("conv", {"forward": 1e-4, "train": 3e-4}, {"forward": 2e-4, "train": 1.5e-4}, 1e-6),
    Row("pool", {"forward": 1e-5, "train": 2e-5}, bytes_moved=30_000_000),
    Row("adam", {"train": 5e-5}, {"train": 1e-4}),
]


def test_the_report_holds_the_card_the_parts_and_every_ratio():
    text = gpu_check.report({"card": "A card"}, PARTS, ROWS)
    assert "- card: A card" in text and "| tests | passed | 10 passed (3 s) |" in text
    assert "| memcheck | not run | compute-sanitizer is not installed |" in text
    assert "| conv | 100.0 | 2.00 | 300.0 | 0.50 |  | 1.0e-06 |" in text
    assert "| pool | 10.0 |  | 20.0 |  | 3.00 |  |" in text
    assert "| adam |  |  | 50.0 | 2.00 |  |  |" in text


def test_a_failed_part_and_a_wrong_result_fail_the_check():
    assert gpu_check.passed(PARTS, ROWS)
    assert not gpu_check.passed([*PARTS, Part("racecheck", False, "stopped")], ROWS)
    assert not gpu_check.passed(PARTS, [*ROWS, Row("lstm", {"forward": 1.0, "train": 1.0}, None, 0.1)])
    assert not gpu_check.passed(PARTS, [*ROWS, Row("lstm", {}, error="RuntimeError: CUDA says no")])
    assert gpu_check.passed(PARTS, [*ROWS, Row("lstm", {}, error=gpu_check.LEFT_OUT)])


def test_a_part_keeps_its_output_and_its_time(tmp_path, monkeypatch):
    done = gpu_check.run_part("tests", ["bash", "-c", "echo one; echo two; exit 3"], tmp_path)
    assert (done.passed, done.line.split(" (")[0]) == (False, "two")
    assert (tmp_path / "tests.txt").read_text() == "one\ntwo\n"
    monkeypatch.setitem(gpu_check.LIMITS, "tests", 0.2)
    assert gpu_check.run_part("tests", ["sleep", "5"], tmp_path).line == "stopped after 0 s"


@pytest.mark.parametrize("case", gpu.CASES, ids=lambda case: case.name)
def test_cases_agree_with_pytorch_on_the_cpu(case):
    pytest.importorskip("torch")
    if not case.has_peer:
        assert np.isfinite(case.smaller().results(gpu.JadroSide("cpu"))[0]).all()
        return
    assert gpu.largest_difference(case.smaller(), [gpu.JadroSide("cpu"), gpu.TorchSide("cpu")]) < 1e-5


def test_times_are_medians_of_slices_over_rotated_inputs():
    clock = iter(np.cumsum([0.0, 100.0, 0.0, 1.0, 0.0, 3.0, 0.0, 2.0]))

    class Event:
        def record(self):
            self.at = next(clock)

    seen = []
    timer = gpu.Timer(Event, lambda a, b: b.at - a.at, lambda e: None)
    assert timer.seconds(seen.append, slices=3, runs=2) == pytest.approx(1e-3)
    assert seen == list(range(8))
    case = gpu.GpuCase("relu", (2, 3, 4))
    assert len(gpu.inputs_of(case, 1000)) == 3 and len(gpu.inputs_of(case)) == gpu.MOST_SETS
