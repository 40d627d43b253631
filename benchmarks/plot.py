"""One picture a group: how near to the limit jadro and its best peer are, and the ratio of the two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import LABELS, Record, best_peer, groups, ratio, share

JADRO, PEER, LINE = "#1f6f8b", "#c9b18b", "#444444"
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def plot(record: Record, folder: Path) -> list[Path]:
    """Writes <group>.png into the folder for every group with a time of jadro; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = f"{record['machine']['processor']}, {record['threads']} threads"
    paths = []
    for group, cases in groups(record).items():
        timed = [case for case in cases if share(case)]
        if timed:
            paths.append(folder / f"{group}.png")
            draw(f"{group}: {machine}", timed, paths[-1])
    return paths


def draw(title: str, cases: Sequence[Record], path: Path) -> None:
    """Left: shares of the limit. Right: the best peer's time over jadro's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 1.6 + 0.3 * len(cases)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    draw_shares(left, cases)
    draw_ratios(right, cases)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def draw_shares(axes: Any, cases: Sequence[Record]) -> None:
    """Two bars a case: jadro and its best peer."""
    peers = [best_peer(case) for case in cases]
    own = [100 * (share(case) or 0) for case in cases]
    others = [100 * (share(case, peer[0]) or 0) if peer else 0 for case, peer in zip(cases, peers, strict=True)]
    axes.barh([i - 0.2 for i in range(len(cases))], own, 0.4, color=JADRO, label="jadro")
    axes.barh([i + 0.2 for i in range(len(cases))], others, 0.4, color=PEER, label="best peer")
    axes.axvline(100, color=LINE, linewidth=0.8)
    names = [case["name"] for case in cases]
    axes.set(yticks=range(len(cases)), yticklabels=names, xlabel="share of the limit, %")
    axes.set_ylim(len(cases) - 0.4, -0.6)
    axes.legend(loc="lower right")


def draw_ratios(axes: Any, cases: Sequence[Record]) -> None:
    """A bar to the right where jadro is faster, to the left where the peer is, none where there is no peer."""
    axes.set_xscale("log")
    axes.axvline(1, color=LINE, linewidth=0.8)
    values = [1.0]
    for i, case in enumerate(cases):
        value, peer = ratio(case), best_peer(case)
        if value and peer:
            axes.barh(i, value - 1, 0.6, left=1, color=JADRO if value >= 1 else PEER)
            label = f" {value:.2f} {LABELS.get(peer[0], peer[0])}"
            axes.annotate(label, (max(value, 1.0), i), va="center", fontsize=8)
            values.append(value)
    low, high = min(values) / 1.2, max(values) * 4  # room for the names
    axes.set_xlim(low, high)
    axes.set_xticks([t for t in TICKS if low <= t <= high])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("times as fast as the best peer")
