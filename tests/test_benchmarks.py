"""The benchmarks' arithmetic, tables and verdicts, and one run on tiny cases."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is part of the clone, not of the wheel

from benchmarks import cases, compare, limits, report, timing
from benchmarks.__main__ import main
from benchmarks.bench_activation import Activation
from benchmarks.bench_conv2d import Conv2d, ConvForm, taps
from benchmarks.bench_gemm import Linear
from benchmarks.bench_pool2d import MaxPool2d
from benchmarks.bench_rnn import Rnn
from benchmarks.bench_rnn_options import RaggedRnn

PUBLISHED = {"fma_all": 234e9, "copy_all": 47e9, "cache_all": 200e9, "cache_bytes": 2 << 20}
PUBLISHED_LIMITS = {
    "conv3x3 32x64x56x56->64 fwd": "30.87 ms F",
    "conv3x3 1x64x56x56->64 train": "2.89 ms F",
    "conv1x1 32x256x14x14->1024 fwd": "14.05 ms F",
    "conv7x7s2 8x3x224x224->64 fwd": "7.95 ms F",
    "conv3x3s2 32x128x56x56->128 train": "92.61 ms F",
    "conv5x5 128x1x28x28->32 fwd": "628.6 us F",
    "conv3x3 64x3x32x32->32 train": "1.39 ms F",
    "depthwise3x3 32x128x28x28 fwd": "546.7 us B",
    "depthwise3x3 32x128x28x28 train": "1.64 ms B",
    "conv3x3 1x16x32x32->16 fwd": "19.3 us F",
    "maxpool3s2p1 32x64x112x112 fwd": "2.73 ms B",
    "maxpool2s2 128x32x28x28 train": "683.2 us B",
    "maxpool2s2 1x3x32x32 fwd": "0.1 us B",
    "lstm T64 B32 I128 H128 fwd": "2.29 ms F",
    "lstm T128 B64 I256 H256 train": "110 ms F",
    "lstm T1 B1 I64 H64 fwd": "0.7 us B",
    "lstm T1 B1 I64 H64 train": "2.0 us B",
    "gru T200 B16 I64 H64 fwd": "672.2 us F",
    "gru T1 B1 I64 H64 train": "1.5 us B",
    "rnn T64 B50 I87 H128 train": "2.26 ms F",
    "rnn T50 B64 I512 H1024 train": "129 ms F",
    "lstm T64 B32 I128 H128 2-layer bidirectional train": "34.41 ms F",
    "step lenet": "3.76 ms F",
    "step resnet20": "66.55 ms F",
    "step charlm-lstm": "73.66 ms F",
    "step charlm-gru": "55.71 ms F",
}
ROWS = {"conv": 44, "pool": 6, "rnn": 65, "step": 4}


def all_cases():
    return [case for group in (*cases.DEFAULT_GROUPS, *cases.SMALL_GROUPS) for case in cases.group_cases(group)]


def entry(median):
    return {"median": median, "q1": median, "q3": median, "samples": 9}


def record(times, peer=2e-3):
    """A synthetic record: case name -> jadro's seconds, or a status where it has none; every limit is 0.5 ms."""
    made = []
    for name, time in times.items():
        own = entry(time) if isinstance(time, float) else {"status": time, "reason": "for this test"}
        sides = {"jadro": own, "torch": entry(peer), "onnxruntime": {"status": "unsupported", "reason": ""}}
        arithmetic = {"flops": 1e8, "bytes": 1e6, "limit": 5e-4, "kind": "F"}
        made.append({"name": name, "group": "conv", **arithmetic, "sides": sides})
    measured = {f"{key}_{n}": 1e11 for key in ("fma", "copy", "cache") for n in ("one", "all")}
    measured |= {"threads": 2, "probe": "nothing", "first_touch_4k": 2e9, "first_touch_huge": 1e10}
    machine = {"processor": "a processor", "processors": 2, "system": "a system", "python": "3"}
    versions = {"jadro": "0 (avx2)", "torch": "2"}
    return {"machine": machine, "threads": 2, "versions": versions, "limits": measured, "cases": made}


@pytest.mark.parametrize(("name", "expected"), PUBLISHED_LIMITS.items())
def test_limits_are_the_published_ones(name, expected):
    case = next(case for case in all_cases() if case.name == name)
    seconds, kind = limits.limit(case, PUBLISHED)
    assert f"{report.seconds(seconds)} {kind}" == expected


@pytest.mark.parametrize("compiler", [True, False])
def test_limits_are_measured_with_and_without_a_compiler(compiler, monkeypatch):
    if not compiler:
        monkeypatch.setenv("CXX", "no-such-compiler")
    found = limits.measure(threads=1, trials=1)
    assert ("probe.cpp" in found["probe"]) == compiler
    assert all(1e8 < found[f"{key}_all"] < 1e14 for key in ("fma", "copy", "cache"))


def test_every_row_has_its_own_name():
    for group, rows in ROWS.items():
        assert len(cases.group_cases(group)) == rows
    names = [case.name for case in all_cases()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"), [(7, 3, 1, 1), (8, 3, 2, 1), (9, 5, 3, 2), (4, 1, 2, 0), (3, 7, 1, 3)]
)
def test_taps_are_those_of_a_convolution_of_ones(size, kernel, stride, padding):
    padded = np.pad(np.ones(size), padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel)[::stride]
    assert taps(size, kernel, stride, padding) == windows.sum()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.4e-6, "0.4 us"), (628.6e-6, "628.6 us"), (1.5e-3, "1.50 ms"), (0.138, "138 ms"), (2.1, "2.10 s")],
)
def test_seconds(value, expected):
    assert report.seconds(value) == expected


def test_the_table_holds_times_shares_ratios_and_their_means():
    data = record({"conv a fwd": 1e-3, "conv b fwd": 4e-3, "conv c fwd": "wrong"})
    data["cases"][0]["sides"]["jadro"]["busy"] = entry(1.5e-3)
    text = report.report(data)
    lines = [line for line in text.splitlines() if line.startswith("| conv ")]
    summary, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert summary == ["conv", "2", "1", "1.00", "0.50 (conv b fwd)", "2.00 (conv a fwd)"]
    assert rows[0][:5] == ["conv a fwd", "500.0 us F", "1.00 ms", "100 GFLOP/s", "50%"]
    assert rows[0][5:] == ["2.00 ms", "-", "PyTorch", "2.00", "1.50", "-"]
    assert rows[1][2:5] == ["4.00 ms", "25 GFLOP/s", "12%"]
    assert rows[1][8] == "0.50"
    assert rows[2][2:5] == ["wrong", "-", "-"]
    assert "25% of the limit, 1.00 times as fast as the best peer" in text  # sqrt(1/2 * 1/8), sqrt(2 * 1/2)
    assert "conv c fwd: jadro: wrong: for this test" in text


def test_a_case_is_compared_with_its_base():
    data = record({"plain": 1e-3, "with an option": 1.25e-3, "alone": 1e-3})
    data["cases"][1]["base"] = "plain"
    lines = [line.split("|")[-2].strip() for line in report.report(data).splitlines() if "500.0 us F" in line]
    assert lines == ["-", "1.25", "-"]
    names = {case.name for case in cases.group_cases("rnn_options")}
    bases = {case.base for case in cases.group_cases("rnn_options")}
    assert bases - {""} and bases - {""} < names


@pytest.mark.parametrize("kind", ["uniform", "heavy-tailed"])
def test_ragged_rows_are_as_long_together_as_their_base(kind):
    case = RaggedRnn(True, "lstm", 32, 20, 3, 4, kind=kind)
    assert case.lengths.min() >= 1 and case.lengths.max() <= 32
    assert case.lengths.sum() == 32 * case.padded.B
    assert case.flops == case.padded.flops


@pytest.mark.parametrize(
    ("after", "arguments", "status"),
    [
        ({"a": 1.05e-3, "b": 1e-3}, [], 0),
        ({"a": 1.2e-3, "b": 1e-3}, [], 1),
        ({"a": 1.2e-3, "b": 0.5e-3}, [], 1),
        ({"a": 1.2e-3, "b": 1e-3}, ["--threshold", "0.3"], 0),
        ({"a": 1e-3, "b": "error"}, [], 1),
        ({"a": 1e-3}, [], 0),
    ],
)
def test_compare_fails_on_a_regression_only(after, arguments, status, tmp_path, capsys):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, times in zip(paths, ({"a": 1e-3, "b": 1e-3}, after), strict=True):
        path.write_text(json.dumps(record(times)))
    assert main(["compare", *map(str, paths), *arguments]) == status
    assert ("REGRESSED" in capsys.readouterr().out) == bool(status)


def test_compare_by_peer_forgives_a_slow_machine():
    before, slow = record({"a": 1e-3}), record({"a": 2e-3}, peer=4e-3)
    assert not compare.compare(before, slow, 0.1, "time")[1]
    assert compare.compare(before, slow, 0.1, "peer")[1]


def test_a_wrong_result_is_told_from_rounding():
    right = [((2, 2), np.array([1.0, -2.0, 3.0, 4.0]))]
    near = [((2, 2), right[0][1] * (1 + 1e-5))]
    assert timing.difference(near, right) == ""
    off, nan = np.array([1.0, -2.0, 3.0, 4.1]), np.full(4, np.nan)
    for wrong in ([((4,), right[0][1])], [((2, 2), off)], [((2, 2), nan)], []):
        assert timing.difference(wrong, right)


TINY = [
    Linear(True, 3, 5, 4),
    Conv2d(True, 2, 3, 9, 8, 4, 3, 2),
    MaxPool2d(True, 2, 3, 9, 8, 3, 2, 1),
    Activation(False, "relu", (3, 4)),
    *(Rnn(True, cell, 4, 3, 5, 6) for cell in ("lstm", "gru", "rnn")),
]


def test_sides_agree_and_are_timed_in_turn():
    plan = timing.Plan(rounds=2, slice_seconds=1e-3, case_seconds=1.0)
    with timing.sides_of(["jadro", "numpy", "no_such_peer"], threads=1) as sides:
        assert [side.state for side in sides] == ["ready", "ready", "missing"]
        for case in TINY:
            found = timing.measure(case, sides[:2], plan)
            assert found["jadro"]["median"] > 0, found
            if case.op == "activation":
                assert found["numpy"]["status"] == "unsupported"
            else:
                assert found["numpy"]["samples"] >= plan.rounds, found


@pytest.mark.parametrize("form", [(3, 4, 6, 3, 2), (2, 8, 6, 3, 1, "circular"), (2, 5, 6, 4, 2, "zeros", True)])
def test_forms_of_convolution_agree_with_pytorch(form):
    pytest.importorskip("torch")
    case = ConvForm(True, 2, 3, *form)
    with timing.sides_of(["jadro", "torch"], threads=1) as sides:
        found = timing.measure(case, sides, timing.Plan(rounds=1, slice_seconds=1e-3, case_seconds=1.0))
    assert found["jadro"]["median"] > 0 and found["torch"]["median"] > 0, found


def test_a_run_writes_its_record_and_picture(tmp_path, capsys):
    path = tmp_path / "record.json"
    options = ["--op", "gemm", "--case", "1x128", "--peers", "", "--threads", "1", "--quick"]
    assert main([*options, "--json", str(path), "--plot", str(tmp_path)]) == 0
    data = json.loads(path.read_text())
    assert [case["name"] for case in data["cases"]] == ["linear 1x128->512 fwd", "linear 1x128->512 train"]
    assert report.report(data).strip() == capsys.readouterr().out.strip()
    assert (tmp_path / "gemm.png").stat().st_size > 5000
    later = copy.deepcopy(data)
    later["cases"][0]["sides"]["jadro"]["median"] *= 2
    assert not compare.compare(data, later, 0.5, "time")[1]
