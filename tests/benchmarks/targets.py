"""What the project has set itself to reach, as ratios of one run's figures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A figure and what it may be at most; KeyError: not measured."""

    text: str
    limit: float
    value: Callable[[Figures], float]


def instructions(scenario: str, server: str) -> Callable[[Figures], float]:
    return lambda f: f["counts"][scenario][server]["instructions"]


def calls(scenario: str, server: str = "ours") -> Callable[[Figures], float]:
    return lambda f: f["counts"][scenario][server]["calls"]["total"]


def cpu(scenario: str, server: str) -> Callable[[Figures], float]:
    return lambda f: f["times"][scenario][server]["cpu_us"]


def rss(scenario: str, server: str = "ours") -> Callable[[Figures], float]:
    return lambda f: f["memory"][scenario][server]["rss"] / 1024


def ratio(
    mine: Callable[[Figures], float], theirs: Callable[[Figures], float], by: float = 1
) -> Callable[[Figures], float]:
    return lambda f: mine(f) / theirs(f) / by


def like_raw(
    measure: Callable[[str, str], Callable[[Figures], float]],
    scenario: str,
    server: str = "ours",
    peer: str = "raw",
) -> Callable[[Figures], float]:
    return ratio(measure(scenario, server), measure(scenario, peer))


RAW = "of the raw echo"
TARGETS = [
    Target(
        f"64 connections, instructions {RAW}",
        0.35,
        like_raw(instructions, "pingpong64"),
    ),
    Target("64 connections, system calls a message", 3, calls("pingpong64")),
    Target(
        f"1 connection, instructions {RAW}", 0.7, like_raw(instructions, "pingpong1")
    ),
    Target(
        "32 messages in a segment, instructions of picows",
        0.4,
        like_raw(instructions, "batch32", peer="picows"),
    ),
    Target("32 messages in a segment, system calls a message", 0.1, calls("batch32")),
    Target(f"16 KiB binary, CPU {RAW}", 1.0, like_raw(cpu, "binary16k")),
    Target(f"1 MB binary, CPU {RAW}", 1.2, like_raw(cpu, "binary1m")),
    Target(f"1 MB text (ASCII), CPU {RAW}", 1.6, like_raw(cpu, "text1m")),
    Target(f"1 MB text (mixed), CPU {RAW}", 1.6, like_raw(cpu, "wide1m")),
    Target(
        f"pure, 64 connections, instructions {RAW}",
        1.0,
        like_raw(instructions, "pingpong64", "ours-pure"),
    ),
    Target(
        f"pure, 64 connections, CPU {RAW}",
        1.0,
        like_raw(cpu, "pingpong64", "ours-pure"),
    ),
    Target(
        f"pure, 1 MB binary, CPU {RAW}", 4.0, like_raw(cpu, "binary1m", "ours-pure")
    ),
    Target(f"idle connection, memory {RAW}", 1.25, like_raw(rss, "idle")),
    Target("idle connection with compression, KiB", 30, rss("idle-deflate")),
    Target("the same without context takeover, KiB", 12, rss("idle-no-context")),
    Target(
        "64 of 10,000 connections talk, CPU of 64 alone",
        1.3,
        ratio(cpu("growth", "ours"), cpu("pingpong64", "ours")),
    ),
    Target(
        "10,000 fragments, CPU a byte of that with 1,000",
        1.3,
        ratio(cpu("fragments10k", "ours"), cpu("fragments1k", "ours"), by=10),
    ),
    Target(
        "20,000 bytes one at a time, CPU a byte of that with 2,000",
        1.3,
        ratio(cpu("drip20k", "ours"), cpu("drip2k", "ours"), by=10),
    ),
    Target(
        "handshake, CPU of a plain request",
        1.25,  # at least 0.8 as many a second
        ratio(cpu("handshake", "ours"), cpu("http", "ours")),
    ),
    Target("fan-out, CPU of bare sends", 1.3, like_raw(cpu, "fanout")),
]


def judge(figures: Figures) -> Iterator[tuple[Target, float | None]]:
    """Return what each target came to; None where it was not measured."""
    for target in TARGETS:
        try:
            yield target, target.value(figures)
        except KeyError:
            yield target, None
