"""Start the chat: `python3 examples/chat [PORT]`. Nothing else needs to be set up.

On the first run this makes `.venv` at the project's root, with the project and Flask
in it; the standard library is enough for that.
"""

import argparse
import os
import socket
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tools"))

from environment import prepare  # noqa: E402

DEFAULT_PORT = 8000


def is_free(host: str, port: int) -> bool:
    """Tell whether a server can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gunicorn does: connections that ended a moment ago are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def main() -> None:
    """Read the command line, prepare the environment, become gunicorn."""
    parser = argparse.ArgumentParser(prog="python3 examples/chat", description=__doc__)
    parser.add_argument("port", nargs="?", type=int, help="8000, or the next free one")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to let others in")
    chosen = parser.parse_args()
    first = DEFAULT_PORT if chosen.port is None else chosen.port
    ports = range(first, first + (100 if chosen.port is None else 1))
    port = next((port for port in ports if is_free(chosen.host, port)), None)
    if port is None:
        sys.exit(f"cannot listen on {chosen.host}, port {first}: is it taken?")
    python = prepare(".venv", packages=["flask>=3"])
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    os.chdir(HERE)  # where gunicorn.conf.py is
    os.execv(python, [python, "-m", "gunicorn", "--bind", f"{host}:{port}", "app:app"])


if __name__ == "__main__":
    main()
