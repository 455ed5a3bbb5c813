"""The command `wsmiddleware`, which is also `python -m wsmiddleware`.

Each subcommand is a room of its own, imported when it is needed: it has
`add_arguments`, which describes its arguments, and `run`, which returns the exit
status.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

__all__ = ["main"]

# The subcommand, its room, and what it does in a line.
COMMANDS = {
    "connect": ("wsmiddleware.prompt", "connect to a WebSocket server and talk to it"),
    "doctor": ("wsmiddleware.doctor", "say why WebSocket does not work"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="wsmiddleware")
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, (room, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary)
        if given[:1] == [name]:
            module = import_module(room)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    chosen = parser.parse_args(given)
    status: int = chosen.run(chosen)
    return status


if __name__ == "__main__":
    sys.exit(main())
