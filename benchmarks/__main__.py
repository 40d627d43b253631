"""Measures the machine's limits, then jadro and its peers in turn on every case, and prints the tables."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.cases import DEFAULT_GROUPS, SMALL_GROUPS, Case, group_cases
from benchmarks.compare import MEASURES, compare
from benchmarks.limits import Limits, limit
from benchmarks.limits import measure as measure_limits
from benchmarks.plot import plot
from benchmarks.report import LABELS, best_peer, median, optional, ratio, report, seconds
from benchmarks.timing import QUICK, Plan, Side, measure, sides_of

MODULES = {"torch_tuned": "torch"}  # peer -> the library it needs, where they differ
QUICK_LIMIT = 5e-3  # --quick leaves out cases whose limit is longer


def parser() -> argparse.ArgumentParser:
    """The options; without any, the default groups run with every peer that is installed."""
    p = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    everything = (*DEFAULT_GROUPS, *SMALL_GROUPS)
    p.add_argument(
        "--op",
        action="append",
        choices=(*everything, "all"),
        metavar="GROUP",
        help=f"a group, may be repeated: {', '.join(everything)}, all (default: {' '.join(DEFAULT_GROUPS)})",
    )
    p.add_argument("--case", default="", metavar="SUBSTRING", help="only cases whose name contains this")
    p.add_argument("--threads", type=int, default=processors(), help="for every side (default: all processors)")
    p.add_argument(
        "--peers", default=None, metavar="A,B", help=f"of {','.join(LABELS)}; '' for none (default: those installed)"
    )
    p.add_argument(
        "--quick", action="store_true", help=f"few repetitions, no case with a limit above {seconds(QUICK_LIMIT)}"
    )
    p.add_argument("--busy", action="store_true", help="measure each case again beside one process that spins")
    p.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    p.add_argument("--plot", type=Path, metavar="DIR", help="draw a PNG a group")
    return p


def command_parser() -> argparse.ArgumentParser:
    """`compare A B` and `report FILE`, on records written with --json."""
    p = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = p.add_subparsers(dest="command", required=True)
    c = commands.add_parser("compare", help="exit status 1 where B is slower than A beyond the threshold")
    c.add_argument("a", type=Path)
    c.add_argument("b", type=Path)
    c.add_argument("--threshold", type=float, default=0.1, help="allowed rise (default 0.1)")
    c.add_argument(
        "--by",
        choices=tuple(MEASURES),
        default="time",
        help="the time, or the time over the limit or over the best peer's, measured in the same run",
    )
    r = commands.add_parser("report", help="print a record's tables again")
    r.add_argument("file", type=Path)
    r.add_argument("--plot", type=Path, metavar="DIR")
    return p


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_peers() -> list[str]:
    return [peer for peer in LABELS if importlib.util.find_spec(MODULES.get(peer, peer))]


def processor_name() -> str:
    """The model, from the system where it tells."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    return {
        "processor": processor_name(),
        "processors": processors(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    named = options.op or list(DEFAULT_GROUPS)
    names = (*DEFAULT_GROUPS, *SMALL_GROUPS) if "all" in named else dict.fromkeys(named)
    return [case for name in names for case in group_cases(name) if options.case in case.name]


def case_record(case: Case, limits: Limits, sides: dict[str, Any]) -> dict[str, Any]:
    smallest, kind = limit(case, limits)
    return {
        "name": case.name,
        "group": case.group,
        "base": case.base,
        "flops": case.flops,
        "bytes": case.bytes,
        "limit": smallest,
        "kind": kind,
        "sides": sides,
    }


def progress(record: dict[str, Any]) -> str:
    """One line on a finished case."""
    own, best = median(record, "jadro"), best_peer(record)
    jadro = seconds(own) if own else record["sides"]["jadro"]["status"]
    peer = f"{LABELS.get(best[0], best[0])} {seconds(best[1])}" if best else "no peer"
    return f"{record['name']}: jadro {jadro}, {peer}, ratio {optional(ratio(record), '.2f')}"


def measured(cases: Sequence[Case], sides: Sequence[Side], limits: Limits, options: argparse.Namespace) -> list[Any]:
    """The records of all cases, with a line on stderr for each."""
    plan = QUICK if options.quick else Plan()
    records = []
    for i, case in enumerate(cases, 1):
        records.append(case_record(case, limits, measure(case, sides, plan, options.busy)))
        print(f"[{i}/{len(cases)}] {progress(records[-1])}", file=sys.stderr, flush=True)
    return records


def agreed(case: dict[str, Any]) -> bool:
    """Whether jadro was timed and no peer's result differs from its own."""
    return median(case, "jadro") is not None and all(s.get("status") != "wrong" for s in case["sides"].values())


def run(options: argparse.Namespace) -> int:
    """Exit status 1 where jadro failed on a case, or a peer's result was another."""
    cases = chosen_cases(options)
    if options.list or not cases:
        print("\n".join(case.name for case in cases) or "no case matches")
        return 0 if cases else 2
    start = time.perf_counter()
    limits = measure_limits(options.threads, trials=3 if options.quick else 9)
    if options.quick:
        cases = [case for case in cases if limit(case, limits)[0] <= QUICK_LIMIT]
    peers = installed_peers() if options.peers is None else [p for p in options.peers.split(",") if p]
    with sides_of(["jadro", *peers], options.threads) as sides:
        for side in sides:
            if not side.ready:
                print(f"{side.name}: {side.state}: {side.version}", file=sys.stderr)
        if not sides[0].ready:
            return 1
        ready = [side for side in sides if side.ready]
        record = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "threads": options.threads,
            "versions": {side.name: side.version for side in ready},
            "limits": limits,
            "cases": measured(cases, ready, limits, options),
        }
    record["seconds"] = round(time.perf_counter() - start, 1)
    print(report(record))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1))
    if options.plot:
        plot(record, options.plot)
    return 0 if all(agreed(case) for case in record["cases"]) else 1


def run_command(options: argparse.Namespace) -> int:
    if options.command == "report":
        record = json.loads(options.file.read_text())
        print(report(record))
        if options.plot:
            plot(record, options.plot)
        return 0
    text, good = compare(
        json.loads(options.a.read_text()), json.loads(options.b.read_text()), options.threshold, options.by
    )
    print(text)
    return 0 if good else 1


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ("compare", "report"):
        return run_command(command_parser().parse_args(given))
    return run(parser().parse_args(given))


if __name__ == "__main__":
    sys.exit(main())
