"""Measure wsmiddleware and its peers: `python3 tests/benchmarks`.

    python3 tests/benchmarks              CPU time of every scenario, and memory
    python3 tests/benchmarks counts       instructions and system calls
    python3 tests/benchmarks times        ... only CPU time
    python3 tests/benchmarks memory       ... only memory
    python3 tests/benchmarks report       the tables of what was measured last

Each can be limited: --servers raw,ours --scenarios pingpong1,batch32.  Figures are kept
in build/benchmarks/results.json, so that several runs make one report; --write puts it
into docs/performance.md.  That page explains the figures.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Callable
from typing import Any

import counting
import environment
import memory
import report
import timing
from scenarios import MEMORY, SCENARIOS
from servers import SERVERS, Server

KEPT = environment.BUILD / "results.json"


def names(known: dict[str, Any]) -> Callable[[str], list[Any]]:
    """Return a parser of a comma-separated list of known names."""

    def parse(text: str) -> list[Any]:
        wanted = list(known) if text == "all" else text.split(",")
        unknown = set(wanted) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}"
            )
        return [known[name] for name in known if name in wanted]

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 tests/benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = ["all", "times", "memory", "counts", "report"]
    parser.add_argument("what", nargs="?", choices=what, default="all")
    parser.add_argument("--servers", type=names(SERVERS), default="all")
    parser.add_argument("--scenarios", type=names(SCENARIOS), default="all")
    parser.add_argument("--weighed", type=names(MEMORY), default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="a turn's length")
    parser.add_argument("--no-strace", action="store_true")
    parser.add_argument("--no-callgrind", action="store_true")
    parser.add_argument("--profile", action="store_true", help="show what counts")
    parser.add_argument("--fresh", action="store_true", help="forget earlier figures")
    parser.add_argument("--write", action="store_true", help="write docs/performance")
    return parser.parse_args()


def keep(figures: dict[str, Any], kind: str, scenario: str, server: str) -> dict:
    """Return the place of one result."""
    place = figures.setdefault(kind, {}).setdefault(scenario, {})
    result: dict[str, Any] = place.setdefault(server, {})
    return result


def count(chosen: argparse.Namespace, figures: dict[str, Any]) -> None:
    for server in chosen.servers:
        suited = [one for one in chosen.scenarios if one.suits(server) and one.counted]
        counts = {} if chosen.no_callgrind else counting.instructions(server, suited)
        calls = {} if chosen.no_strace else counting.system_calls(server, suited)
        for scenario in suited:
            name = scenario.name
            result = keep(figures, "counts", name, server.name)
            line = [f"{server.name:20} {name:14}"]
            if name in counts:
                result["instructions"] = counts[name]
                line.append(f"{counts[name]:12,.0f} instructions")
            if name in calls:
                result["calls"] = calls[name]
                most = sorted(calls[name].items(), key=lambda item: -item[1])
                shown = [f"{n}={c:.3f}" for n, c in most[1:6] if c > 0.001]
                line.append(f"{most[0][1]:8.3f} calls ({' '.join(shown)})")
            print(*line, flush=True)
            if chosen.profile and name in counts:
                dump = environment.BUILD / "callgrind" / server.name
                print(
                    *counting.profile(dump / f"{name}.callgrind", counts[name]),
                    sep="\n",
                )


def time(chosen: argparse.Namespace, figures: dict[str, Any]) -> None:
    done = timing.measure(
        chosen.servers, chosen.scenarios, chosen.rounds, chosen.seconds
    )
    for scenario in chosen.scenarios:  # ratios are those of one run
        figures.setdefault("times", {}).pop(scenario.name, None)
    for scenario, server, result in done:
        keep(figures, "times", scenario.name, server.name).update(result)
        raw = figures["times"][scenario.name].get("raw")
        relative = f"{result['cpu_us'] / raw['cpu_us']:7.3f} of raw" if raw else ""
        print(
            f"{server.name:20} {scenario.name:14} {result['cpu_us']:10.2f} us CPU a "
            f"{scenario.unit:10} {result['rate']:10,.0f}/s "
            f"p50 {result['p50_us']:6.0f} us p99 {result['p99_us']:6.0f} us {relative}",
            flush=True,
        )


def weigh(chosen: argparse.Namespace, figures: dict[str, Any]) -> None:
    for scenario, server, result in memory.measure(chosen.servers, chosen.weighed):
        keep(figures, "memory", scenario.name, server.name).update(result)
        print(
            f"{server.name:20} {scenario.name:16} {result['rss'] / 1024:8.2f} KiB "
            f"resident a connection ({result['pss'] / 1024:.2f} proportional)",
            flush=True,
        )


def describe(figures: dict[str, Any], servers: list[Server]) -> None:
    """Record when, where and what was measured."""
    processor = "an unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    figures["meta"] = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{processor}, Linux {platform.release().split('-')[0]}",
        "versions": environment.versions(),
        "compiled": environment.extension_modules("peers"),
    }


def main() -> None:
    chosen = arguments()
    figures = {} if chosen.fresh else report.load(KEPT)
    if chosen.what != "report":
        for server in chosen.servers:
            server.install()
        describe(figures, chosen.servers)
    try:
        if chosen.what == "counts":
            count(chosen, figures)
        if chosen.what in ("all", "times"):
            time(chosen, figures)
        if chosen.what in ("all", "memory"):
            weigh(chosen, figures)
    finally:
        KEPT.write_text(json.dumps(figures, indent=1, sort_keys=True))
    print(f"\n{report.target_table(figures)}")
    if chosen.what == "report":
        print(report.tables(figures))
    if chosen.write:
        report.write(figures)


if __name__ == "__main__":
    main()
