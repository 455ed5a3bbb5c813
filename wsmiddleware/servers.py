"""Where each WSGI server keeps the socket, and how its HTTP side is ended.

A server that reads ahead holds octets that are WebSocket's; `take_over` brings them
along. After that the server must neither write to the socket nor read a request from
it again, whatever the application returns: `end` sees to it through the server's own
objects, so that no exception has to cross the application.

What each server does, and what was measured, is in docs/design.md.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from socket import SHUT_WR
from types import FunctionType, MethodType
from typing import Any, TypeVar

from gevent import Timeout
from gevent.pywsgi import WSGIHandler
from gevent.socket import socket
from gevent.ssl import SSLSocket

__all__ = ["Server", "close_connection_of", "find_in", "find_server"]

T = TypeVar("T")

# How far `find_in` looks; an ordinary stack of middlewares is a handful deep.
MAX_OBJECTS = 500

LINGER_TIME = 1.0
LINGER_READS = 64

# The keys that gunicorn makes anew for every request
COMMON_KEYS = {
    key: key
    for key in (
        *("HTTP_HOST", "HTTP_CONNECTION", "HTTP_UPGRADE", "HTTP_ORIGIN", "HTTP_COOKIE"),
        *("HTTP_USER_AGENT", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING"),
        *("HTTP_ACCEPT_LANGUAGE", "HTTP_CACHE_CONTROL", "HTTP_PRAGMA"),
        *("HTTP_SEC_FETCH_DEST", "HTTP_SEC_FETCH_MODE", "HTTP_SEC_FETCH_SITE"),
        *("HTTP_SEC_WEBSOCKET_KEY", "HTTP_SEC_WEBSOCKET_VERSION"),
        *("HTTP_SEC_WEBSOCKET_EXTENSIONS", "HTTP_SEC_WEBSOCKET_PROTOCOL"),
        *("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO"),
    )
}


class Server:
    """Be the HTTP server of one request.

    `resource_name` is the target of the request exactly as it was requested.
    """

    resource_name: str
    _socket: Any

    def linger(self) -> None:
        """Let the peer read the response although nobody reads what it still sends.

        Closing a socket with unread octets resets the connection, and the peer may
        lose what was sent to it. At most LINGER_TIME seconds.
        """
        sock = self._socket
        with suppress(OSError), Timeout(LINGER_TIME, False):
            sock.shutdown(SHUT_WR)
            for _ in range(LINGER_READS):
                if not sock.recv(1 << 16):
                    return

    def capacity(self) -> int | None:
        """Return how many connections the server may hold; None for any number."""
        raise NotImplementedError

    def has_read_ahead(self) -> bool:
        """Tell whether octets behind the request have been read."""
        raise NotImplementedError

    def has_answered(self) -> bool:
        """Tell whether some of a response has been sent."""
        raise NotImplementedError

    def close_connection(self) -> None:
        """Have the connection closed after the response."""
        raise NotImplementedError

    def take_over(self) -> tuple[Any, bytes]:
        """Return the socket and the octets that were read behind the request."""
        raise NotImplementedError

    def end(self, bytes_sent: int) -> Iterable[bytes]:
        """Mark the request as answered with 101; return what to return to the server.

        Nothing more is written to the socket or read from it; the access log has one
        line, with `bytes_sent`.
        """
        raise NotImplementedError


class GunicornServer(Server):
    """Be gunicorn's `gevent` worker, or one derived from it."""

    def __init__(self, environ: dict[str, Any], response: Any) -> None:
        self._environ = environ
        self._socket = environ["gunicorn.socket"]
        self._response = response
        self._unreader = response.req.unreader
        self.resource_name = environ["RAW_URI"]

    def capacity(self) -> int | None:
        """Return gunicorn's `worker_connections`."""
        return int(self._response.cfg.worker_connections)

    def has_read_ahead(self) -> bool:
        """Tell whether octets behind the request have been read."""
        return bool(self._unreader.buf.getvalue())

    def has_answered(self) -> bool:
        """Tell whether some of a response has been sent."""
        return bool(self._response.headers_sent)

    def close_connection(self) -> None:
        """Have the connection closed after the response."""
        self._response.force_close()

    def take_over(self) -> tuple[Any, bytes]:
        """Return the socket and what the unreader holds."""
        buffer = self._unreader.buf
        initial = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        # From here on gunicorn writes nothing, no early hints and no 500 either.
        self._response.headers_sent = True
        self._environ.pop("wsgi.early_hints", None)
        self._save_memory()
        return self._socket, initial

    def _save_memory(self) -> None:
        # The request may last for days, and has its headers twice.
        self._response.req.headers = []
        items = list(self._environ.items())
        self._environ.clear()
        self._environ.update((COMMON_KEYS.get(key, key), value) for key, value in items)

    def end(self, bytes_sent: int) -> Iterable[bytes]:
        """Fill in the response as if it had been sent; gunicorn then closes."""
        response = self._response
        response.status = "101 Switching Protocols"
        response.status_code = 101
        response.headers = []
        response.headers_sent = True
        response.response_length = 0
        response.chunked = False
        response.sent = bytes_sent
        response.force_close()
        # For the access log
        response.req.headers = [
            (key[5:].replace("_", "-"), value)
            for key, value in self._environ.items()
            if key.startswith("HTTP_")
        ]
        return []


class PywsgiServer(Server):
    """Be gevent's pywsgi server, alone or as gunicorn's `gevent_pywsgi` worker."""

    def __init__(self, handler: WSGIHandler) -> None:
        self._handler = handler
        self._socket = handler.socket
        self.resource_name = handler.path

    def capacity(self) -> int | None:
        """Return the size of the server's pool, if it has one."""
        size = getattr(self._handler.server.pool, "size", None)
        return None if size is None else int(size)

    def has_read_ahead(self) -> bool:
        """Tell whether octets behind the request have been read."""
        return bool(self._peek())

    def _peek(self) -> bytes:
        # Without a timeout of zero, peeking into an empty buffer waits for the peer.
        sock = self._socket
        timeout = sock.gettimeout()
        sock.settimeout(0.0)
        try:
            return bytes(self._handler.rfile.peek())
        except OSError:
            return b""
        finally:
            sock.settimeout(timeout)

    def has_answered(self) -> bool:
        """Tell whether some of a response has been sent."""
        return bool(self._handler.headers_sent)

    def close_connection(self) -> None:
        """Have the connection closed after the response."""
        self._handler.close_connection = True

    def take_over(self) -> tuple[Any, bytes]:
        """Return the socket and what the buffered reader holds."""
        initial = self._peek()
        self._handler.rfile.read(len(initial))
        return self._socket, initial

    def end(self, bytes_sent: int) -> Iterable[bytes]:
        """Fill in the handler as if it had written the response; pywsgi then closes."""
        handler = self._handler
        handler.status = b"101 Switching Protocols"
        handler._orig_status = "101 Switching Protocols"
        handler.code = 101
        handler.response_headers = []
        handler.headers_sent = True
        handler.response_use_chunked = False
        handler.provided_content_length = None
        handler.response_length = bytes_sent
        handler.close_connection = True
        return []


def find_server(environ: dict[str, Any], start_response: Any) -> Server | None:
    """Return the server of this request if it is one that can be taken over."""
    if "gunicorn.socket" in environ:
        from gunicorn.http.wsgi import Response

        if not isinstance(environ["gunicorn.socket"], (socket, SSLSocket)):
            return None
        response = find_in(start_response, Response)
        if response is None or not hasattr(response.req, "unreader"):
            return None
        return GunicornServer(environ, response)
    handler = find_in(start_response, WSGIHandler)
    return PywsgiServer(handler) if handler is not None else None


def close_connection_of(start_response: Any) -> None:
    """Have the connection closed by a gunicorn worker that cannot be taken over."""
    module = sys.modules.get("gunicorn.http.wsgi")
    response = find_in(start_response, module.Response) if module else None
    if response is not None:
        response.force_close()


def find_in(root: Any, kind: type[T]) -> T | None:
    """Return the nearest object of a class that a callable wraps, or None.

    Middlewares wrap what they are given in closures, partials, bound methods or
    attributes; all of these are looked into.
    """
    # What a server passes is a method, and mostly nobody has wrapped it.
    if isinstance(root, MethodType) and isinstance(root.__self__, kind):
        return root.__self__
    waiting = deque([root])
    seen = {id(root)}
    while waiting and len(seen) < MAX_OBJECTS:
        item = waiting.popleft()
        if isinstance(item, kind):
            return item
        for inner in _wrapped_by(item, kind):
            if id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
    return None


def _wrapped_by(item: Any, kind: type) -> Iterator[Any]:
    if isinstance(item, MethodType):
        yield item.__self__
        yield item.__func__
        yield from _attributes(item.__self__, kind)  # it may be no callable itself
    elif isinstance(item, partial):
        yield item.func
        yield from item.args
    elif isinstance(item, FunctionType):
        for cell in item.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                continue  # not assigned yet
    if callable(item) and not isinstance(item, type):
        yield from _attributes(item, kind)


def _attributes(item: Any, kind: type) -> Iterator[Any]:
    try:
        values = list(vars(item).values())
    except Exception:
        return  # such as flask.request, which stands for nothing outside of a request
    for inner in values:
        if isinstance(inner, kind) or (callable(inner) and not isinstance(inner, type)):
            yield inner
