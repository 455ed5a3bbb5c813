# cython: annotation_typing=False, nonecheck=True
"""When a connection must act although nothing happens.

Keepalive pings, a peer that takes nothing, a close that is not answered, idle and old
connections: one object a connection holds the times, one entry in the reactor's list
of deadlines serves them all.
"""

from math import inf
from time import monotonic
from typing import Any

from wsmiddleware.events import CloseCode
from wsmiddleware.options import Options
from wsmiddleware.reactor import Deadline, Reactor

__all__ = ["Deadlines", "still_takes"]

# How often it is looked, within `idle_timeout`, whether there were messages
IDLE_LOOKS = 4


def still_takes(websocket: Any, before: int) -> tuple[bool, int]:
    """Tell whether a peer takes what waits for it, and how much it has taken in all.

    `before` is how much that was when it was last asked. What is on its way to a peer
    that takes what came before it is not late.
    """
    waiting, taken = websocket.outstanding()
    # Over TLS what we send ourselves may make it less.
    return bool(waiting and taken > before), taken


class Deadlines:
    """Watch over a WebSocket, as its options say.

    The WebSocket sets `heard` when anything was received, and `active` when a message
    went either way.
    """

    __slots__ = (
        "_close_at",
        "_close_by",
        "_entry",
        "_expire_at",
        "_idle_at",
        "_options",
        "_ping_at",
        "_pong_at",
        "_quiet_looks",
        "_reactor",
        "_stall_at",
        "_taken",
        "_taken_at_stall",
        "_websocket",
        "active",
        "heard",
    )

    def __init__(self, websocket: Any, options: Options, reactor: Reactor) -> None:
        self._websocket = websocket
        self._options = options
        self._reactor = reactor
        self._entry: Deadline | None = None
        self.heard = False
        self.active = False
        self._ping_at = inf
        self._pong_at = inf
        self._stall_at = inf
        self._idle_at = inf
        self._expire_at = inf
        self._close_at = inf
        self._close_by = inf
        self._quiet_looks = 0
        # How much the peer had taken when it was last asked
        self._taken = 0
        self._taken_at_stall = 0

    def start(self, has_ping: bool) -> None:
        """Begin to watch, once the handshake is completed."""
        options = self._options
        now = monotonic()
        if has_ping and options.ping_interval is not None:
            self._ping_at = now + options.ping_interval
        if options.idle_timeout is not None:
            self._idle_at = now + options.idle_timeout / IDLE_LOOKS
        if options.max_lifetime is not None:
            self._expire_at = now + options.max_lifetime
        self._arm()

    def start_stall(self) -> None:
        """Begin to watch a peer that does not take what is sent."""
        timeout = self._options.send_timeout
        if timeout is not None and self._stall_at == inf:
            _, self._taken_at_stall = self._websocket.outstanding()
            self._stall_at = monotonic() + timeout
            self._arm()

    def start_close(self) -> None:
        """Give the peer `close_timeout` to answer a close; nothing else matters now.

        As long as it takes what was sent before, it has `send_timeout` for that.
        """
        self._ping_at = self._pong_at = self._idle_at = self._expire_at = inf
        now = monotonic()
        self._close_at = now + self._options.close_timeout
        self._close_by = now + (self._options.send_timeout or inf)
        _, self._taken = self._websocket.outstanding()
        self._arm()

    def stop(self) -> None:
        """Watch no longer: the connection is closed."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def _arm(self) -> None:
        when = min(
            self._ping_at,
            self._pong_at,
            self._stall_at,
            self._idle_at,
            self._expire_at,
            self._close_at,
        )
        if self._entry is not None:
            if self._entry.when <= when:
                return
            self._entry.cancel()
            self._entry = None
        if when != inf:
            self._entry = self._reactor.call_at(when, self._websocket.check_deadlines)

    def check(self) -> None:
        """Act on what is due, and be called again for what is not."""
        self._entry = None
        now = monotonic()
        if now >= self._close_at and now < self._close_by and self._peer_takes():
            self._close_at = min(now + self._options.close_timeout, self._close_by)
        elif now >= self._close_at:
            self._close_at = inf
            self._websocket.end_overdue()
        elif self._check_stall(now) and self._check_age(now):
            self._check_pings(now)
        if not self._websocket.is_gone:
            self._arm()

    def _peer_takes(self) -> bool:
        takes, self._taken = still_takes(self._websocket, self._taken)
        return takes

    def _check_stall(self, now: float) -> bool:
        if now < self._stall_at:
            return True
        self._stall_at = inf
        websocket = self._websocket
        _, taken = websocket.outstanding()
        if websocket.buffered_amount and taken <= self._taken_at_stall:
            websocket.abort("the peer took nothing of what was sent")
            return False
        if websocket.buffered_amount:
            self.start_stall()
        return True

    def _check_age(self, now: float) -> bool:
        if now >= self._expire_at:
            self._websocket.start_close(CloseCode.GOING_AWAY, "lifetime is over")
            return False
        if now < self._idle_at:
            return True
        self._quiet_looks = 0 if self.active else self._quiet_looks + 1
        if self._quiet_looks == IDLE_LOOKS:
            self._websocket.start_close(CloseCode.GOING_AWAY, "idle for too long")
            return False
        self.active = False
        self._idle_at = now + (self._options.idle_timeout or inf) / IDLE_LOOKS
        return True

    def _check_pings(self, now: float) -> None:
        if self.heard or self._websocket.reading_is_paused:
            self._pong_at = inf
        elif now >= self._pong_at and self._peer_takes():
            self._pong_at = inf  # it has not come to the ping yet
        elif now >= self._pong_at:
            self._websocket.abort("the peer did not answer a ping")
            return
        if now < self._ping_at:
            return
        self._ping_at = now + (self._options.ping_interval or inf)
        if self._options.ping_timeout is not None and self._pong_at == inf:
            self.heard = False
            self._pong_at = now + self._options.ping_timeout
            _, self._taken = self._websocket.outstanding()
        self._websocket.send_keepalive()
