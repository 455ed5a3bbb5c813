"""What a process has cost so far, from /proc: CPU time and memory."""

from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, with those that they started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the user and system time of processes and all their threads.

    schedstat counts nanoseconds where stat has ticks of 10 ms.
    """
    nanoseconds = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                nanoseconds += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                continue  # a thread that has just ended
    return nanoseconds / 1e9


def memory(pids: list[int]) -> dict[str, int]:
    """Return resident and proportional bytes of processes."""
    total = {"rss": 0, "pss": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.lower() in total:
                total[name.lower()] += int(value.split()[0]) * 1024
    return total
