"""Settings of the chat: gunicorn reads this file when it is started in this folder."""

from typing import Any

worker_class = "wsmiddleware.worker.WebSocketWorker"
workers = 1  # the room lives in the memory of this one process
loglevel = "warning"
graceful_timeout = 5


def when_ready(server: Any) -> None:
    """Print where to point a browser."""
    for listener in server.LISTENERS:
        print(f"Open {listener} in two tabs. Ctrl-C ends the chat.", flush=True)
