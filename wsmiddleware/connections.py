"""The open WebSockets of a process: counted, limited, and closed when it stops.

A gunicorn worker says that it stops by `alive = False`, whatever the reason (a
signal, a reload, `max_requests`, a dead arbiter). Our own worker tells us; a stock
worker has to be asked, as long as there is anything to close.
"""

import os
import signal
from collections import Counter
from functools import partial
from time import monotonic
from typing import Any

from wsmiddleware.deadlines import still_takes
from wsmiddleware.handshake import Refusal
from wsmiddleware.options import Options
from wsmiddleware.reactor import GeventReactor
from wsmiddleware.websocket import WebSocket

__all__ = ["Connections", "connections"]

RETRY_AFTER = 2
# How often a stock worker is asked; gunicorn exits 0.1 s after SIGINT and SIGQUIT.
POLL_INTERVAL = 0.04
# How long a peer may take to answer the close, so that it delays nothing.
CLOSE_TIME = 1.0


class Connections:
    """Hold the open WebSockets of a process."""

    def __init__(self) -> None:
        self.open: set[WebSocket] = set()
        self.is_draining = False
        self._addresses: Counter[str] = Counter()
        self._worker: Any = None
        self._polls = False
        self._is_polling = False

    def __len__(self) -> int:
        return len(self.open)

    # Opening

    def check(self, address: str, limit: int | None, options: Options) -> None:
        """Raise Refusal when there is no room for one more connection.

        `limit` is the most that the server may hold, `address` the client's.
        """
        if self.is_draining or self._worker_stops():
            raise _unavailable("This server is going away, connect again.")
        if limit is not None and len(self.open) >= limit:
            raise _unavailable("This server has as many WebSockets as it may have.")
        most = options.max_connections_per_address
        if most is not None and self._addresses[address] >= most:
            raise _unavailable(f"There are {most} WebSockets from {address} already.")

    @property
    def worker(self) -> Any:
        """Return gunicorn's worker, False where there is none."""
        if self._worker is None:
            self._find_worker()
        return self._worker

    def add(self, websocket: WebSocket, address: str) -> None:
        """Count a connection, from its handshake on."""
        self.open.add(websocket)
        self._addresses[address] += 1
        if self.worker and self._polls and not self._is_polling:
            self._poll()

    def discard(self, websocket: WebSocket, address: str) -> None:
        """Count a connection no longer; the second time does nothing."""
        if websocket not in self.open:
            return
        self.open.remove(websocket)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    # The end of the process

    def attach(self, worker: Any) -> None:
        """Learn of a worker that calls `drain` by itself."""
        self._worker = worker
        self._polls = self._is_polling = False
        self.is_draining = False

    def _find_worker(self) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        self._worker = getattr(handler, "__self__", False)
        self._polls = hasattr(self._worker, "alive")

    def _poll(self) -> None:
        self._is_polling = False
        if not self.open:
            return
        if self._worker_stops():
            self.drain()
            return
        self._is_polling = True
        GeventReactor.current().call_at(monotonic() + POLL_INTERVAL, self._poll)

    def _worker_stops(self) -> bool:
        worker = self.worker
        if not worker or not self._polls:
            return False
        return not worker.alive or worker.ppid != os.getppid()

    def drain(self) -> None:
        """Close every connection, at once or spread over `drain_window` seconds."""
        if self.is_draining:
            return
        self.is_draining = True
        reactor = GeventReactor.current()
        now = monotonic()
        count = len(self.open)
        for position, websocket in enumerate(list(self.open)):
            delay = websocket.options.drain_window * position / count
            if delay:
                reactor.call_at(now + delay, websocket.go_away)
            else:
                websocket.go_away()
            _, taken = websocket.outstanding()
            give_up = partial(_abort, websocket, taken)
            reactor.call_at(now + delay + CLOSE_TIME, give_up)


def _abort(websocket: WebSocket, taken: int) -> None:
    if not websocket.accepted:
        return
    takes, taken = still_takes(websocket, taken)
    if takes:
        again = partial(_abort, websocket, taken)
        GeventReactor.current().call_at(monotonic() + CLOSE_TIME, again)
    else:
        websocket.abort("the server went away")


def _unavailable(text: str) -> Refusal:
    headers = [("Retry-After", str(RETRY_AFTER))]
    return Refusal("503 Service Unavailable", text, headers)


connections = Connections()
"""The connections of this process."""
