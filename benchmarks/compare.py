"""`python -m benchmarks compare A.json B.json`: what became slower from A to B."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.report import Record, geometric_mean, markdown, median, optional, ratio, share

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
    rows, changes, good = [], [], True
    for case in before["cases"]:
        old = measure(case)
        if old is None or case["name"] not in later:
            continue
        new = measure(later[case["name"]])
        change = new / old if new is not None else None
        regressed = change is None or change > 1 + threshold
        good = good and not regressed
        changes.append(change)
        verdict = "REGRESSED" if regressed else "faster" if change < 1 - threshold else ""
        rows.append([case["name"], *(cost(v, by) for v in (old, new)), optional(change, ".3f"), verdict])
    text = markdown([f"case, by {by}", "A", "B", "B / A", ""], rows)
    mean = optional(geometric_mean(changes), ".3f")
    return f"{text}\n\n{len(rows)} cases in both, geometric mean of B / A {mean}, threshold {threshold:.0%}.\n", good


def cost(value: float | None, by: str) -> str:
    """A time in microseconds, or a plain number."""
    if value is None:
        return "-"
    return f"{value * 1e6:.1f} us" if by == "time" else f"{value:.3f}"
