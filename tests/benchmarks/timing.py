"""Time what a message costs: CPU seconds of the server, in rounds that take turns.

The machine is shared and its speed drifts, so every server gets a short turn in every
round, and what is compared are the medians of the turns.
"""

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import processes
from load import Load
from scenarios import Scenario
from servers import Running, Server, running

# The load generator has opened no connection when the first turn begins.
UNOPENED = {"connect", "handshake", "http"}

Results = dict[str, dict[str, Any]]


class Cell:
    """One server under one load, with connections that stay open between the turns."""

    def __init__(self, scenario: Scenario, target: Running, load: Load) -> None:
        self.scenario = scenario
        self.target = target
        self._load = load
        self._turns: list[dict[str, float]] = []
        self._amount = 1

    def calibrate(self, seconds: float) -> None:
        """Find the number of messages that fills a turn; this also warms up."""
        amount = 1
        # What is slow the first time (imports, caches) says nothing of the others.
        for _ in range(20 if self.scenario.name in UNOPENED else 2):
            self._load.run(1)
        while True:
            took = self._load.run(amount)["seconds"]
            enough = amount * self.scenario.each >= self.scenario.most
            if took >= seconds / 4 or enough:
                break
            amount *= 4
        most = max(1, self.scenario.most // self.scenario.each)
        self._amount = min(most, max(1, int(amount * seconds / took)))

    def turn(self) -> None:
        """Exchange one turn's messages."""
        before = processes.cpu_seconds(self.target.pids)
        done = self._load.run(self._amount)
        cpu = processes.cpu_seconds(self.target.pids) - before
        done["cpu_us"] = cpu * 1e6 / done["messages"]
        done["rate"] = done["messages"] / done["seconds"]
        self._turns.append(done)

    def result(self) -> dict[str, Any]:
        """Return the medians of the turns."""
        names = ("cpu_us", "rate", "p50_us", "p99_us")
        found: dict[str, Any] = {
            name: statistics.median(turn[name] for turn in self._turns)
            for name in names
        }
        found["turns"] = [round(turn["cpu_us"], 3) for turn in self._turns]
        return found


def measure(
    servers: list[Server], scenarios: list[Scenario], rounds: int, seconds: float
) -> Iterator[tuple[Scenario, Server, dict[str, Any]]]:
    """Measure servers under loads; the scenarios of one group take turns as well."""
    for _, group in groupby(scenarios, lambda scenario: scenario.group):
        yield from measure_group(servers, list(group), rounds, seconds)


def measure_group(
    servers: list[Server], scenarios: list[Scenario], rounds: int, seconds: float
) -> Iterator[tuple[Scenario, Server, dict[str, Any]]]:
    with ExitStack() as stack:
        cells = []
        for scenario in scenarios:
            for server in servers:
                if not scenario.suits(server):
                    continue
                try:
                    cell = start(stack, scenario, server, seconds)
                except RuntimeError as error:
                    print(f"{scenario.name}: {error}", file=sys.stderr)
                    continue
                cells.append(cell)
        for _ in range(rounds):
            for cell in cells:
                cell.turn()
        for cell in cells:
            yield cell.scenario, cell.target.server, cell.result()


def start(stack: ExitStack, scenario: Scenario, server: Server, seconds: float) -> Cell:
    with ExitStack() as attempt:
        target = attempt.enter_context(running(server, set(scenario.options)))
        load = attempt.enter_context(Load(target, scenario.load(server)))
        cell = Cell(scenario, target, load)
        cell.calibrate(seconds)
        stack.enter_context(attempt.pop_all())
    return cell
