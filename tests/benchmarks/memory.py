"""Weigh an idle connection: what the server's resident memory grows by, a connection.

Each connection has exchanged one message, so what an echo leaves behind counts too.
"""

import sys
import time
from collections.abc import Iterator

import processes
from load import Load
from scenarios import Scenario
from servers import Running, Server, running

CONNECTIONS = 5000


def measure(
    servers: list[Server], scenarios: list[Scenario]
) -> Iterator[tuple[Scenario, Server, dict[str, float]]]:
    """Weigh the connections of each server, with and without compression."""
    for scenario in scenarios:
        for server in servers:
            if not scenario.suits(server):
                continue
            try:
                yield scenario, server, weigh(server, scenario)
            except RuntimeError as error:
                print(f"{scenario.name}: {error}", file=sys.stderr)


def weigh(server: Server, scenario: Scenario) -> dict[str, float]:
    """Return the bytes that one connection adds."""
    with running(server, set(scenario.options)) as target:
        arguments = scenario.load(server)
        few = [a for a in arguments if not a.startswith("--connections=")]
        with Load(target, [*few, "--connections=20"]) as load:
            load.run(1000)  # whatever is loaded or cached on first use
        before = settled(target)
        with Load(target, arguments):
            after = settled(target)
    return {name: (after[name] - before[name]) / CONNECTIONS for name in before}


def settled(target: Running) -> dict[str, int]:
    """Return the memory of a server once it does not change any more."""
    last = processes.memory(target.pids)
    for _ in range(20):
        time.sleep(0.25)
        now = processes.memory(target.pids)
        if abs(now["rss"] - last["rss"]) < 100_000:
            return now
        last = now
    return last
