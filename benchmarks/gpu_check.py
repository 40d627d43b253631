"""Everything that a machine with a GPU can say about the CUDA module, in one report of less than ten minutes:

    python -m benchmarks.gpu_check --out DIR

runs the GPU test-suite, compute-sanitizer's memcheck and racecheck on a small set, and the benchmark against PyTorch
with cuDNN where that is installed; writes DIR/gpu_check.md, and the whole output of each part beside it. Exit status 0
where all that ran has passed, 1 otherwise, 2 without a GPU."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import gpu

ROOT = Path(__file__).parents[1]
OPS = "activation avg_pool batch_norm conv2d cross_entropy dropout embedding gemm group_norm optim pool2d rnn softmax"
WHOLE = "module dispatch device narrow rnn_narrow rnn_options tensor_core"
SUITE = [*(f"tests/test_{op}.py" for op in OPS.split()), *(f"tests/test_cuda_{part}.py" for part in WHOLE.split())]
# A case or two a kernel: the sanitizers slow a program down by some hundred times.
SMALL = "one_past or image or several_blocks or two_layers or groups or k_tail or smoothed"
SANITIZED = f"cuda and not cuda_host and float32 and ({SMALL})"
LEFT_OUT = "left out: the time was used up"
LIMITS = {"tests": 200.0, "memcheck": 100.0, "racecheck": 100.0, "benchmark": 150.0}


def missing() -> str | None:
    """Why there is nothing to check, in one sentence; None where there is a GPU."""
    from jadro import backend

    try:
        return None if backend.cuda().device_count() else "No CUDA device is found."
    except RuntimeError as error:
        return f"{error}."


@dataclass(frozen=True)
class Part:
    """One part of the report: whether it passed (None: it did not run), and a line about it."""

    name: str
    passed: bool | None
    line: str


def run_part(name: str, command: Sequence[str], out: Path, **environment: str) -> Part:
    """Runs a command within the part's time; its output goes to `out`."""
    start = time.monotonic()
    with (out / f"{name}.txt").open("w") as log:
        try:
            code = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log, timeout=LIMITS[name]
            ).returncode
        except subprocess.TimeoutExpired:
            return Part(name, False, f"stopped after {LIMITS[name]:.0f} s")
    lines = (out / f"{name}.txt").read_text().strip().splitlines()
    return Part(name, code == 0, f"{lines[-1] if lines else 'no output'} ({time.monotonic() - start:.0f} s)")


def pytest(*options: str) -> list[str]:
    """Warnings of the libraries of a machine that the project does not choose are not its errors."""
    return [sys.executable, "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", *options]


def run_tests(out: Path) -> Part:
    spread = ["-n", str(min(12, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    command = pytest(*spread, "-k", "cuda and not cuda_host", *SUITE)
    return run_part("tests", command, out, JADRO_REQUIRE_GPU="1")


def sanitize(tool: str, out: Path) -> Part:
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        return Part(tool, None, "compute-sanitizer is not installed")
    command = pytest("-x", "-k", SANITIZED, *SUITE[: -len(WHOLE.split())])
    options = ["--tool", tool, "--error-exitcode", "9", "--target-processes", "all"]
    return run_part(tool, [sanitizer, *options, *command], out, JADRO_REQUIRE_GPU="1")


def card(cupy: Any) -> dict[str, str]:
    """What the report says of the card: its name, and its measured limits."""
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    timer = gpu.JadroSide().timer()
    a, b, x = (
        cupy.zeros(1 << 28, cupy.float32),
        cupy.zeros(1 << 28, cupy.float32),
        cupy.ones((4096, 4096), cupy.float32),
    )
    x[...] = cupy.random.standard_normal(x.shape, dtype=cupy.float32)
    copy = 2 * a.nbytes / timer.seconds(lambda _: cupy.copyto(b, a), runs=3)
    product = 2 * 4096**3 / timer.seconds(lambda _: x @ x, runs=3)
    return {
        "card": properties["name"].decode(),
        "multiprocessors": str(properties["multiProcessorCount"]),
        "driver": str(cupy.cuda.runtime.driverGetVersion()),
        "copy": f"{copy / 1e12:.2f} TB/s",
        "float32 matrix product (cuBLAS)": f"{product / 1e12:.1f} TFLOP/s",
    }


@dataclass(frozen=True)
class Row:
    """A case, its seconds on each side, how far apart the results are, and the bytes that the forward pass moves at
    least, where memory is its limit; or the error that ended it."""

    case: str
    jadro: dict[str, float]
    peer: dict[str, float] | None = None
    difference: float | None = None
    tolerance: float = gpu.TOLERANCE["float32"]
    bytes_moved: int = 0
    error: str = ""


def has_torch() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def benchmark() -> list[Row]:
    """Every case, as long as the part's time lasts."""
    end = time.monotonic() + LIMITS["benchmark"]
    ours, torch = gpu.JadroSide(), gpu.TorchSide() if has_torch() else None
    rows = []
    for case in gpu.CASES:
        if time.monotonic() > end:
            rows.append(Row(case.name, {}, error=LEFT_OUT))
            continue
        peer = torch if case.has_peer else None
        try:
            difference = None if peer is None else gpu.largest_difference(case, [ours, peer])
            theirs = None if peer is None else case.measure(peer)
            tolerance = gpu.TOLERANCE[getattr(case, "precision", "float32")]
            rows.append(Row(case.name, case.measure(ours), theirs, difference, tolerance, case.bytes_moved))
        except Exception as error:  # one case must not hide the others
            rows.append(Row(case.name, {}, error=f"{type(error).__name__}: {error}"))
    return rows


def row_text(row: Row) -> str:
    if row.error:
        return f"| {row.case} | {row.error} | | | | | |"
    cells = []
    for kind in ("forward", "train"):
        ours = row.jadro.get(kind)
        cells += (
            ["", ""]
            if ours is None
            else [f"{ours * 1e6:.1f}", "" if row.peer is None else f"{row.peer[kind] / ours:.2f}"]
        )
    seconds = row.jadro.get("forward", row.jadro.get("train", 0.0))
    speed = f"{row.bytes_moved / seconds / 1e12:.2f}" if row.bytes_moved else ""
    difference = "" if row.difference is None else f"{row.difference:.1e}"
    return f"| {row.case} | {' | '.join(cells)} | {speed} | {difference} |"


def report(facts: dict[str, str], parts: Sequence[Part], rows: Sequence[Row]) -> str:
    """The Markdown of the report."""
    words = {True: "passed", False: "FAILED", None: "not run"}
    lines = ["# GPU check", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += ["| part | | |", "|---|---|---|", *(f"| {p.name} | {words[p.passed]} | {p.line} |" for p in parts), ""]
    lines += [
        "float32 without TF32 where a case says nothing; us, PyTorch's time over jadro's (above 1: jadro is faster), "
        "the bytes that a forward pass has to move over its time, the largest difference over the largest element",
        "",
    ]
    lines += ["| case | forward us | ratio | train us | ratio | TB/s | difference |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*lines, *map(row_text, rows), ""])


def passed(parts: Sequence[Part], rows: Sequence[Row]) -> bool:
    agree = all(row.difference is None or row.difference <= row.tolerance for row in rows)
    return (
        agree
        and all(p.passed is not False for p in parts)
        and not any(row.error and row.error != LEFT_OUT for row in rows)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    out = parser.parse_args(arguments).out
    if reason := missing():
        print(reason, file=sys.stderr)
        return 2
    from jadro import backend

    out.mkdir(parents=True, exist_ok=True)
    parts = [run_tests(out), sanitize("memcheck", out), sanitize("racecheck", out)]
    facts, rows = card(backend.cupy()), benchmark()
    text = report(facts, parts, rows)
    (out / "gpu_check.md").write_text(text)
    print(text)
    return 0 if passed(parts, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
