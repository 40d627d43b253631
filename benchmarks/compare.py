"""`python -m benchmarks compare A.json B.json`: what became slower from A to B."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.report import Record, geometric_mean, markdown, median, optional, ratio, share

REGRESSED = "REGRESSED"
# every measure is a cost: larger is slower
MEASURES: dict[str, Callable[[Record], float | None]] = {
    "time": lambda case: median(case, "jadro"),
    "limit": lambda case: 1 / s if (s := share(case)) else None,
    "peer": lambda case: 1 / r if (r := ratio(case)) else None,
}


def compare(before: Record, after: Record, threshold: float, by: str) -> tuple[str, bool]:
    """(table, whether nothing regressed).

    A case regressed when its cost rose by more than threshold, or when it was measured before and failed after. Cases
    that only one record holds are left out.
    """
    measure = MEASURES[by]
    later = {case["name"]: case for case in after["cases"]}
    rows: list[list[str]] = []
    changes: list[float | None] = []
    for case in before["cases"]:
        old = measure(case)
        if old is None or case["name"] not in later:
            continue
        new = measure(later[case["name"]])
        change = new / old if new else None
        verdict = judge(change, failed=median(later[case["name"]], "jadro") is None, threshold=threshold)
        changes.append(change)
        rows.append([case["name"], cost(old, by), cost(new, by), optional(change, ".3f"), verdict])
    good = all(row[-1] != REGRESSED for row in rows)
    text = markdown([f"case, by {by}", "A", "B", "B / A", ""], rows)
    mean = optional(geometric_mean(changes), ".3f")
    return f"{text}\n\n{len(rows)} cases in both, geometric mean of B / A {mean}, threshold {threshold:.0%}.\n", good


def judge(change: float | None, failed: bool, threshold: float) -> str:
    """What a changed cost means; "" within the threshold, or where there is nothing to compare."""
    if failed:
        return REGRESSED
    if change is None or abs(change - 1) <= threshold:
        return ""
    return REGRESSED if change > 1 else "faster"


def cost(value: float | None, by: str) -> str:
    """A time in microseconds, or a plain number."""
    if value is None:
        return "-"
    return f"{value * 1e6:.1f} us" if by == "time" else f"{value:.3f}"
