"""What is measured: the load of each scenario and how much of it."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from environment import BUILD
from servers import Server


@dataclass(frozen=True)
class Scenario:
    """One load: the arguments of the load generator and the amount to count."""

    name: str
    title: str
    arguments: tuple[str, ...]
    counted: int  # messages under callgrind, where everything is 50 times slower
    most: int  # messages of a timed run at most; it is cut to the time it may take
    unit: str = "message"
    each: int = 1  # units that one message of the sender makes
    needs: str = ""  # what the server must be able to do
    path: str = "/echo"
    group: str = ""  # scenarios of one group are compared, so they take turns
    few: bool = False  # too large to be run for every server
    options: frozenset[str] = frozenset()

    def suits(self, server: Server) -> bool:
        """Return whether a server can be put under this load."""
        if self.few and server.name not in FEW:
            return False
        if server.raw:
            return self.name in RAW_TOO
        return not self.needs or self.needs in server.can

    def load(self, server: Server) -> list[str]:
        """Return the arguments of the load generator for one server."""
        path = [] if server.raw else [f"--path={self.path}"]
        arguments = list(self.arguments)
        if server.raw:
            raw = "--raw-fanout" if "--mode=fanout" in arguments else "--mode=raw"
            arguments = [a for a in arguments if not a.startswith("--mode=")]
            arguments.insert(0, raw)
        if "--messages=json" in arguments:
            arguments.remove("--messages=json")
            arguments.append(f"--messages={json_messages()}")
        return [*arguments, *path]


def json_messages() -> Path:
    """Write 64 messages of JSON as applications send it, the same ones every time."""
    path = BUILD / "messages.jsonl"
    chance = random.Random(6455)
    words = ["order", "trade", "ticker", "book", "update", "user", "status", "close"]
    with path.open("w") as out:
        for number in range(64):
            rows = [
                {
                    "id": chance.randrange(10**9),
                    "type": chance.choice(words),
                    "symbol": chance.choice(["EUR/USD", "BTC/EUR", "ETH/USD"]),
                    "price": round(chance.uniform(0.5, 60000), 4),
                    "quantity": chance.randrange(1, 1000),
                    "flags": [chance.choice(words), chance.choice(words)],
                }
                for _ in range(chance.randrange(2, 8))
            ]
            message = {"event": "update", "sequence": number, "rows": rows}
            out.write(json.dumps(message) + "\n")
    return path


def echo(
    name: str, title: str, *arguments: str, counted: int, most: int, group: str = ""
) -> Scenario:
    return Scenario(name, title, arguments, counted, most, group=group or name)


SCENARIOS = {
    scenario.name: scenario
    for scenario in [
        echo("pingpong1", "1 connection, 32 bytes", counted=3000, most=200_000),
        echo(
            "pingpong64",
            "64 connections, 32 bytes",
            "--connections=64",
            "--rounds",
            counted=6400,
            most=400_000,
            group="growth",
        ),
        echo(
            "batch32",
            "32 messages in one segment",
            "--depth=32",
            counted=9600,
            most=4_000_000,
        ),
        echo(
            "binary16k",
            "16 KiB binary, 16 connections",
            "--binary",
            "--size=16384",
            "--connections=16",
            counted=1600,
            most=100_000,
        ),
        echo(
            "binary1m",
            "1 MB binary",
            "--binary",
            "--size=1000000",
            counted=20,
            most=4000,
        ),
        echo("text1m", "1 MB text, ASCII", "--size=1000000", counted=20, most=4000),
        echo(
            "wide1m",
            "1 MB text, mixed",
            "--size=1000000",
            "--wide",
            counted=20,
            most=4000,
        ),
        Scenario(
            "deflate",
            "JSON, compressed",
            ("--connections=16", "--deflate", "--messages=json"),
            counted=640,
            most=100_000,
            needs="deflate",
            options=frozenset({"deflate"}),
        ),
        Scenario(
            "fanout",
            "fan-out to 1,000",
            ("--mode=fanout", "--connections=1000"),
            counted=5000,
            most=1_000_000,
            unit="delivery",
            each=1000,
            needs="fanout",
            path="/fanout",
            options=frozenset({"fanout"}),
        ),
        Scenario(
            "connect",
            "open and close",
            ("--mode=connect", "--connections=16"),
            group="connect",
            counted=100,
            most=20_000,
            unit="connection",
        ),
        Scenario(
            "handshake",
            "open, and leave without a close",
            ("--mode=connect", "--connections=16", "--abrupt"),
            group="connect",
            counted=100,
            most=20_000,
            unit="connection",
        ),
        Scenario(
            "http",
            "plain HTTP, a connection each",
            ("--mode=http", "--connections=16"),
            group="connect",
            counted=100,
            most=20_000,
            unit="request",
            needs="http",
            path="/",
        ),
        Scenario(
            "growth",
            "10,000 open, 64 talk",
            ("--connections=10000", "--active=64", "--rounds"),
            counted=0,
            most=400_000,
            group="growth",
            few=True,
        ),
        Scenario(
            "crowd",
            "10,000 open, all talk",
            ("--connections=10000", "--rounds"),
            counted=0,
            most=400_000,
            group="growth",
            few=True,
        ),
        Scenario(
            "fragments1k",
            "1,000 fragments of a byte",
            ("--size=1000", "--fragments=1000"),
            counted=30,
            most=20_000,
            needs="fragments",
            group="pieces",
        ),
        Scenario(
            "fragments10k",
            "10,000 fragments of a byte",
            ("--size=10000", "--fragments=10000"),
            counted=3,
            most=2000,
            needs="fragments",
            group="pieces",
        ),
        Scenario(
            "drip2k",
            "2,000 bytes, one at a time",
            ("--size=2000", "--drip=1"),
            counted=30,
            most=10_000,
            needs="fragments",
            group="pieces",
        ),
        Scenario(
            "drip20k",
            "20,000 bytes, one at a time",
            ("--size=20000", "--drip=1"),
            counted=3,
            most=1000,
            needs="fragments",
            group="pieces",
        ),
    ]
}

FEW = {"raw", "ours", "ours-pure", "gevent-websocket", "websockets", "picows"}

MEMORY = {
    scenario.name: scenario
    for scenario in [
        Scenario("idle", "idle", ("--connections=5000",), 0, 0),
        Scenario(
            "idle-deflate",
            "idle, compression negotiated",
            ("--connections=5000", "--deflate", "--messages=json"),
            counted=0,
            most=0,
            needs="deflate",
            options=frozenset({"deflate"}),
        ),
        Scenario(
            "idle-no-context",
            "idle, compression without context takeover",
            ("--connections=5000", "--no-context", "--messages=json"),
            counted=0,
            most=0,
            needs="deflate",
            options=frozenset({"deflate"}),
        ),
    ]
}

RAW_TOO = {
    "idle",
    "pingpong1",
    "pingpong64",
    "batch32",
    "binary16k",
    "binary1m",
    "text1m",
    "wide1m",
    "fanout",
    "growth",
    "crowd",
}
