"""`wsmiddleware doctor`: say why WebSocket does not work, and what to do about it.

    wsmiddleware doctor --config gunicorn.conf.py app:app
    wsmiddleware doctor wss://example.com/chat

The exit status is 1 when something is wrong, and 0 when there are warnings at most.
"""

import argparse
import re
import textwrap
from typing import Any

from wsmiddleware.checkup import examine_application
from wsmiddleware.probe import examine_url
from wsmiddleware.prompt import add_request_options, plain

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the subcommand."""
    parser.add_argument(
        "target",
        metavar="APP | URL",
        help="an application, named as for gunicorn, or a ws or wss URL",
    )
    add = parser.add_argument_group(
        "for an application", "GUNICORN_CMD_ARGS is heeded as well"
    ).add_argument
    add("-c", "--config", metavar="FILE", help="gunicorn's settings")
    add("-k", "--worker-class", metavar="CLASS", help="gunicorn's worker class")
    add("--preload", action="store_true", help="gunicorn's option")
    add = parser.add_argument_group("for a URL").add_argument
    seconds: dict[str, Any] = {"metavar": "S", "type": float}
    add("--idle", help="stay silent for so many seconds, to try a proxy", **seconds)
    add("--timeout", default=10.0, help="seconds to wait for an answer (10)", **seconds)
    add_request_options(add)


def run(arguments: argparse.Namespace) -> int:
    """Print what is found, and return the exit status."""
    is_url = re.match("(ws|http)s?://", arguments.target, re.IGNORECASE)
    examine = examine_url if is_url else examine_application
    status = 0
    for kind, text, advice in examine(arguments):
        print(f"{kind:8}{plain(text)}", flush=True)
        for line in textwrap.wrap(plain(advice), 76, break_long_words=False):
            print(f"{'':8}-> {line}", flush=True)
        if kind == "wrong":
            status = 1
    return status
