"""Count what a message costs: instructions with callgrind, system calls with strace.

Both look at the one process that serves and only while messages flow: the counters are
read when every connection is open and warm, and again when the last echo is back.  So
neither the start of the server nor the handshakes are in the figures, and on a noisy
machine they come out the same twice.
"""

import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from environment import BUILD
from load import Load
from scenarios import Scenario
from servers import Running, Server, running

# The interpreter specialises its code in the first calls; those are not the cost of a
# message, so this share of the messages goes ahead uncounted.
WARM_UP = 0.3


def instructions(server: Server, scenarios: list[Scenario]) -> dict[str, float]:
    """Return the user-space instructions of one unit of each scenario."""
    found = {}
    for options in sorted({scenario.options for scenario in scenarios}, key=sorted):
        group = [scenario for scenario in scenarios if scenario.options == options]
        found.update(count_group(server, group))
    return found


def count_group(server: Server, scenarios: list[Scenario]) -> dict[str, float]:
    folder = BUILD / "callgrind" / server.name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.out*"):
        old.unlink()
    valgrind = [
        "valgrind",
        "--tool=callgrind",
        "--trace-children=yes",  # also what gives a forked child its own control
        "--log-file=/dev/null",
        "--compress-strings=no",  # every dump can be annotated by itself
        f"--callgrind-out-file={folder}/%p.out",
    ]
    found = {}
    with running(server, set(scenarios[0].options), valgrind, patience=300) as target:
        for scenario in scenarios:
            found[scenario.name] = count_one(target, scenario, folder)
    return found


def count_one(target: Running, scenario: Scenario, folder: Path) -> float:
    """Run one scenario against a server under callgrind and return its unit cost."""
    arguments = [*scenario.load(target.server), "--patience=300"]
    with Load(target, arguments) as load:
        load.run(max(1, int(scenario.counted * WARM_UP) // scenario.each))
        dump(target.worker, folder)
        units = load.run(max(1, scenario.counted // scenario.each))["messages"]
        counted = dump(target.worker, folder)
        keep = folder / f"{scenario.name}.callgrind"
        counted.rename(keep)
        total = re.search(r"^(?:totals|summary): (\d+)", keep.read_text(), re.MULTILINE)
        assert total is not None
        return int(total[1]) / units


def dump(pid: int, folder: Path) -> Path:
    """Have callgrind write what it counted since the last dump, and return the file."""
    before = set(folder.glob(f"{pid}.out.*"))
    subprocess.run(
        ["callgrind_control", f"--dump={pid}", str(pid)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    new = set(folder.glob(f"{pid}.out.*")) - before
    if len(new) != 1:
        raise RuntimeError(f"callgrind wrote {len(new)} files for process {pid}")
    return new.pop()


def profile(path: Path, per_unit: float, lines: int = 40) -> list[str]:
    """Return where the instructions of a dump went: functions by their own cost.

    callgrind_annotate loses itself in stacks that greenlets switch.
    """
    own: Counter[str] = Counter()
    function, of_a_call = "", False
    for line in path.read_text().splitlines():
        if line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            of_a_call = True
        elif line and line[0] in "0123456789+-*":
            if not of_a_call:
                own[function] += int(line.split()[1])
            of_a_call = False
    total = sum(own.values())
    return [
        f"{cost / total * per_unit:10.1f} {100 * cost / total:5.1f} % {name}"
        for name, cost in own.most_common(lines)
    ]


def system_calls(server: Server, scenarios: list[Scenario]) -> dict[str, dict]:
    """Return the system calls of one unit of each scenario, by name and in total."""
    found = {}
    for scenario in scenarios:
        with running(server, set(scenario.options)) as target:
            with Load(target, scenario.load(server)) as load:
                amount = max(1, scenario.counted // scenario.each)
                load.run(amount)
                with strace(target.worker) as table:
                    units = load.run(amount)["messages"]
            calls = read_table(table)
            per_unit = {name: count / units for name, count in calls.items()}
            found[scenario.name] = {"total": sum(per_unit.values()), **per_unit}
    return found


class strace:  # noqa: N801 - reads as the command that it is
    """Count the system calls of a process while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._table = BUILD / f"strace-{pid}.txt"

    def __enter__(self) -> Path:
        command = ["strace", "-f", "-c", "-o", str(self._table), "-p", str(self._pid)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace does not attach: {line}")
        time.sleep(0.1)  # the other threads
        return self._table

    def __exit__(self, *exception: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=30)


def read_table(path: Path) -> dict[str, int]:
    """Return the calls of an strace summary, by name."""
    calls = {}
    for line in path.read_text().splitlines():
        columns = line.split()
        if len(columns) < 5 or not columns[3].isdigit() or columns[-1] == "total":
            continue
        calls[columns[-1]] = int(columns[3])
    path.unlink()
    return calls
