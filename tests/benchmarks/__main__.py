"""Measure wsmiddleware and its peers: `python3 tests/benchmarks`.

    python3 tests/benchmarks                    every scenario, CPU time and memory
    python3 tests/benchmarks counts             instructions and system calls instead
    ... --servers raw,ours --scenarios pingpong1,batch32      a part of it

docs/performance.md explains the figures.
"""

import argparse
import json
import sys

import counting
from scenarios import SCENARIOS
from servers import SERVERS, Server


def names(known: dict) -> object:
    """Return a parser of a comma-separated list of known names."""

    def parse(text: str) -> list:
        unknown = set(text.split(",")) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}"
            )
        return [known[name] for name in text.split(",")]

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 tests/benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=["counts"], default="counts")
    parser.add_argument("--servers", type=names(SERVERS), default="raw,ours")
    parser.add_argument(
        "--scenarios", type=names(SCENARIOS), default="pingpong1,pingpong64,batch32"
    )
    parser.add_argument("--no-strace", action="store_true")
    parser.add_argument("--no-callgrind", action="store_true")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    servers: list[Server] = chosen.servers
    for server in servers:
        server.install()
    results = {}
    for server in servers:
        suited = [one for one in chosen.scenarios if one.suits(server) and one.counted]
        counts = {} if chosen.no_callgrind else counting.instructions(server, suited)
        calls = {} if chosen.no_strace else counting.system_calls(server, suited)
        results[server.name] = {"instructions": counts, "calls": calls}
        for scenario in suited:
            name = scenario.name
            parts = [f"{server.name:20} {name:14}"]
            if name in counts:
                parts.append(f"{counts[name]:12,.0f} instructions")
            if name in calls:
                total = calls[name]["total"]
                detail = sorted(calls[name].items(), key=lambda item: -item[1])
                shown = " ".join(
                    f"{call}={count:.3f}"
                    for call, count in detail[1:6]
                    if count > 0.001
                )
                parts.append(f"{total:8.3f} calls ({shown})")
            print("  ".join(parts), flush=True)
    json.dump(results, sys.stderr)


if __name__ == "__main__":
    main()
