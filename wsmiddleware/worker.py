"""A gunicorn worker that serves WebSocket: gunicorn's `gevent` worker, and a little.

    gunicorn -k wsmiddleware.worker.WebSocketWorker app:app

An application that is not wrapped in `WebSocketMiddleware` gets wrapped; one that is,
is not wrapped twice. When the worker stops, for whatever reason, every connection
gets its close at once.
"""

import logging
import os
import time
from collections.abc import Callable
from traceback import walk_tb
from typing import Any

import gevent
from gevent.hub import get_hub
from gunicorn.workers.ggevent import GeventWorker

from wsmiddleware.connections import connections
from wsmiddleware.metrics import metrics
from wsmiddleware.middleware import WebSocketMiddleware, find_middleware
from wsmiddleware.watchdog import Watchdog

__all__ = ["WebSocketWorker"]

# How long peers may take to answer the close when the worker has no time to lose
QUIT_TIME = 1.0


class WebSocketWorker(GeventWorker):
    """Serve HTTP and WebSocket on greenlets."""

    _is_alive = True

    @property
    def alive(self) -> bool:
        """Tell whether the worker goes on; gunicorn sets it to False to stop it."""
        return self._is_alive

    @alive.setter
    def alive(self, alive: bool) -> None:
        was_alive, self._is_alive = self._is_alive, alive
        if was_alive and not alive:
            # This may be a signal handler, in any greenlet: it must not block.
            get_hub().loop.run_callback_threadsafe(connections.drain)

    def run(self) -> None:
        """Serve until the worker is to stop."""
        self._names = {id(sock): _Name(sock.getsockname()) for sock in self.sockets}
        if self.cfg.is_ssl:
            hub = get_hub()
            hub.handle_error = _without_handshakes(hub.handle_error, self.log)
        super().run()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection, also one that came as the last before the stop."""
        # gunicorn asks the listener for its name, which it cannot tell once closed.
        super().handle(self._names[id(listener)], client, addr)

    def load_wsgi(self) -> None:
        """Load the application and see to its middleware."""
        super().load_wsgi()
        _log_with(self.log)
        middleware = find_middleware(self.wsgi)
        if middleware is None:
            middleware = WebSocketMiddleware(self.wsgi)
            self.wsgi: Any = middleware
        if self.wsgi is middleware:
            # A method is called without a C stack of its own, which every connection
            # that waits would keep: almost one KiB.
            self.wsgi = middleware.__call__
        connections.attach(self)
        metrics.start(self, middleware.options.metrics_interval)
        if middleware.options.max_blocking is not None:
            Watchdog(middleware.options.max_blocking).start()

    def notify(self) -> None:
        """Tell the arbiter that the worker lives; close everything if it is gone."""
        if self.ppid != os.getppid():
            self.alive = False
            _wait_for_closes()
        super().notify()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Stop soon, as SIGINT and SIGQUIT ask."""
        self.alive = False
        gevent.spawn(self._quit, sig, frame)

    def _quit(self, sig: int, frame: Any) -> None:
        _wait_for_closes()
        super().handle_quit(sig, frame)


def _without_handshakes(handle_error: Callable[..., None], log: Any) -> Any:
    # What a peer does wrong in its TLS handshake is one line of the log; gevent would
    # print a traceback of thirty for everyone who speaks HTTP to this port.
    def handle(context: Any, kind: Any, value: Any, traceback: Any) -> None:
        names = {frame.f_code.co_name for frame, _ in walk_tb(traceback)}
        is_handshake = names >= {"wrap_socket_and_handle", "do_handshake"}
        if is_handshake and issubclass(kind, OSError):
            log.info("TLS handshake failed: %s", value)
        else:
            handle_error(context, kind, value, traceback)

    return handle


class _Name:
    """Be a listener as far as a connection needs it."""

    def __init__(self, name: Any) -> None:
        self._name = name

    def getsockname(self) -> Any:
        """Return the address that was listened on."""
        return self._name


def _wait_for_closes() -> None:
    connections.drain()
    give_up_at = time.monotonic() + QUIT_TIME
    while len(connections) and time.monotonic() < give_up_at:
        gevent.sleep(0.02)


def _log_with(log: Any) -> None:
    # Unless the user has configured it, our log goes where gunicorn's errors go.
    logger = logging.getLogger("wsmiddleware")
    if not logger.handlers and hasattr(log, "error_log"):
        logger.handlers = list(log.error_log.handlers)
        logger.setLevel(log.error_log.level)
        logger.propagate = False
