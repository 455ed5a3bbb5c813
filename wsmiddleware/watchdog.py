"""A warning when a handler keeps all others waiting.

Greenlets take turns: one that computes, or blocks without gevent's knowledge, stops
every connection of its worker. A native thread looks on and notes where it stands;
the worker logs it as soon as it runs again.
"""

import logging
import sys
import traceback
from time import monotonic

from gevent.hub import get_hub
from gevent.monkey import get_original

__all__ = ["Watchdog"]

logger = logging.getLogger("wsmiddleware")


class Watchdog:
    """Log the stack of whatever blocks this thread's hub for `seconds`, once each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._beat = monotonic()
        self._stack = ""
        self._thread_id = get_original("_thread", "get_ident")()
        self._timer = get_hub().loop.timer(seconds / 4, seconds / 4, ref=False)

    def start(self) -> None:
        """Begin to watch the hub of the current thread."""
        self._timer.start(self._on_timer)
        get_original("_thread", "start_new_thread")(self._watch, ())

    def _on_timer(self) -> None:
        blocked = monotonic() - self._beat
        self._beat = monotonic()
        if self._stack:
            stack, self._stack = self._stack, ""
            logger.warning(
                "the worker was blocked for %.1f s, in which nothing else ran; "
                "it stood here:\n%s",
                blocked,
                stack,
            )

    def _watch(self) -> None:
        # No lock and no log here: under monkey patching both belong to greenlets.
        sleep = get_original("time", "sleep")
        while True:
            sleep(self._seconds / 4)
            if not self._stack and monotonic() - self._beat >= self._seconds:
                frame = sys._current_frames().get(self._thread_id)
                self._stack = "".join(traceback.format_stack(frame))
