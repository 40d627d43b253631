"""The tables: one a group, every row a case, from the record that `__main__` writes as JSON.

`ratio` is the best peer's time over jadro's: above 1, jadro is faster. `of base` is jadro's time over its own for the
case that this one is compared with, such as the cell without an option.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
LABELS = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "torch_tuned": "PyTorch tuned",
    "onnxruntime": "ONNX Runtime",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
}


def seconds(value: float) -> str:
    """12.3 us, 1.25 ms, 138 ms, 2.10 s."""
    if value >= 1:
        return f"{value:.2f} s"
    if value >= 0.1:
        return f"{value * 1e3:.0f} ms"
    return f"{value * 1e3:.2f} ms" if value >= 1e-3 else f"{value * 1e6:.1f} us"


def median(case: Record, side: str, mode: str = "") -> float | None:
    """One side's median seconds, None where it has none; mode "busy" for the time beside a competing process."""
    entry = case["sides"].get(side, {})
    return (entry.get(mode, {}) if mode else entry).get("median")


def best_peer(case: Record) -> tuple[str, float] | None:
    """(side, seconds) of the fastest side other than jadro."""
    times = [(t, side) for side in case["sides"] if side != "jadro" and (t := median(case, side)) is not None]
    return (min(times)[1], min(times)[0]) if times else None


def ratio(case: Record) -> float | None:
    """Best peer's time over jadro's."""
    own, peer = median(case, "jadro"), best_peer(case)
    return peer[1] / own if own and peer else None


def share(case: Record, side: str = "jadro") -> float | None:
    """The limit over the time: 1 is as fast as the machine can be by direct arithmetic."""
    own = median(case, side)
    return case["limit"] / own if own else None


def of_base(case: Record, cases: Iterable[Record]) -> float | None:
    """jadro's time over its time for the case's base, which is another of the cases."""
    base = [median(other, "jadro") for other in cases if other["name"] == case.get("base")]
    own = median(case, "jadro")
    return own / base[0] if own and base and base[0] else None


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Of those that are there."""
    there = [math.log(v) for v in values if v]
    return math.exp(sum(there) / len(there)) if there else None


def groups(record: Record) -> dict[str, list[Record]]:
    """The cases by group, in the record's order."""
    found: dict[str, list[Record]] = {}
    for case in record["cases"]:
        found.setdefault(case["group"], []).append(case)
    return found


def cell(case: Record, side: str) -> str:
    """A time, or why there is none."""
    time = median(case, side)
    if time is not None:
        return seconds(time)
    status = case["sides"].get(side, {}).get("status", "-")
    return "-" if status == "unsupported" else status


def rate(case: Record) -> str:
    """jadro's GFLOP/s, or GB/s where bytes are the limit."""
    own = median(case, "jadro")
    if own is None:
        return "-"
    amount, unit = (case["flops"], "GFLOP/s") if case["kind"] == "F" else (case["bytes"], "GB/s")
    return f"{amount / own / 1e9:.3g} {unit}"


def optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def busy_columns(case: Record, best: tuple[str, float] | None) -> list[str]:
    """Busy over quiet, of jadro and of the best peer."""
    sides = ["jadro", best[0] if best else ""]
    pairs = [(median(case, side), median(case, side, "busy")) for side in sides]
    return [optional(busy / quiet if quiet and busy else None, ".2f") for quiet, busy in pairs]


def row(case: Record, peers: Sequence[str], busy: bool) -> list[str]:
    best = best_peer(case)
    return [
        case["name"],
        f"{seconds(case['limit'])} {case['kind']}",
        cell(case, "jadro"),
        rate(case),
        optional(share(case), ".0%"),
        *(cell(case, side) for side in peers),
        LABELS.get(best[0], best[0]) if best else "-",
        optional(ratio(case), ".2f"),
        *(busy_columns(case, best) if busy else ()),
    ]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with aligned columns."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["| " + " | ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *text[1:]])


def table(group: str, cases: Sequence[Record]) -> str:
    """One group's table and the geometric means below it."""
    peers = [side for side in LABELS if any(side in case["sides"] for case in cases)]
    busy = any("busy" in entry for case in cases for entry in case["sides"].values())
    header = [group, "limit", "jadro", "rate", "of limit", *(LABELS[p] for p in peers), "best peer", "ratio"]
    header += ["jadro busy/quiet", "best peer busy/quiet"] if busy else []
    rows = [row(case, peers, busy) for case in cases]
    if any(case.get("base") for case in cases):
        header.append("of base")
        rows = [[*r, optional(of_base(case, cases), ".2f")] for r, case in zip(rows, cases, strict=True)]
    text = markdown(header, rows)
    means = (geometric_mean(map(share, cases)), geometric_mean(map(ratio, cases)))
    shares, ratios = optional(means[0], ".0%"), optional(means[1], ".2f")
    return f"{text}\n\nGeometric means of {group}: {shares} of the limit, {ratios} times as fast as the best peer.\n"


def summary(record: Record) -> str:
    """One line a group: how many cases have a peer, in how many jadro is ahead, and the ratios' mean and range."""
    rows = []
    for group, cases in groups(record).items():
        found = sorted((r, case["name"]) for case in cases if (r := ratio(case)))
        if found:
            (least, last), (most, first) = found[0], found[-1]
            ahead = sum(r > 1 for r, _ in found)
            mean = optional(geometric_mean(r for r, _ in found), ".2f")
            rows.append([group, str(len(found)), str(ahead), mean, f"{least:.2f} ({last})", f"{most:.2f} ({first})"])
    return markdown(["group", "cases", "ahead", "geometric mean", "least", "most"], rows) + "\n" if rows else ""


def limits_table(limits: Record) -> str:
    """The machine's limits, with 1 and with all threads."""
    many = limits["threads"]
    rows = [
        [name, *(f"{limits[f'{key}_{n}'] / 1e9:.1f} {unit}" for n in ("one", "all"))]
        for name, key, unit in (
            ("FMA peak", "fma", "GFLOP/s"),
            ("copy, read and written", "copy", "GB/s"),
            ("read from L2", "cache", "GB/s"),
        )
    ]
    touch = [f"{limits[f'first_touch_{k}'] / 1e9:.1f} GB/s" for k in ("4k", "huge")]
    rows.append(["first touch, 4 KiB pages / huge pages", " / ".join(touch), ""])
    return markdown(["limit", "1 thread", f"{many} threads"], rows) + f"\n\nMeasured by {limits['probe']}.\n"


def problems(record: Record) -> list[str]:
    """A line for every result that was wrong or failed."""
    return [
        f"{case['name']}: {side}: {entry['status']}: {entry['reason']}"
        for case in record["cases"]
        for side, entry in case["sides"].items()
        if entry.get("status") in ("wrong", "error")
    ]


def report(record: Record) -> str:
    """Everything, as Markdown."""
    machine = record["machine"]
    head = f"{machine['processor']}, {record['threads']} threads, {machine['system']}, Python {machine['python']}\n"
    versions = "\n".join(f"- {LABELS.get(side, side)} {version}" for side, version in record["versions"].items())
    parts = [head, versions + "\n", limits_table(record["limits"]), summary(record)]
    parts += [table(group, cases) for group, cases in groups(record).items()]
    failed = problems(record)
    if failed:
        parts.append("Not timed:\n" + "\n".join(f"- {line}" for line in failed) + "\n")
    return "\n".join(parts)
