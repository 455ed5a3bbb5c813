"""`WebSocketMiddleware`: WebSocket for a WSGI application.

Requests that are not WebSocket handshakes pass through untouched. A handshake is
checked (`wsmiddleware.handshake`); then the application is called with
`environ["wsgi.websocket"]`, a `wsmiddleware.WebSocket` that completes the handshake
when it is first used. The handler's return closes with 1000, its exception with 1011.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from time import monotonic
from types import FunctionType
from typing import Any, TypeAlias

from greenlet import GreenletExit

from wsmiddleware.connections import connections
from wsmiddleware.events import CloseCode
from wsmiddleware.exceptions import ConnectionClosed, WebSocketError
from wsmiddleware.frameworks import find_url_map, hide_upgrade
from wsmiddleware.handshake import (
    Handshake,
    Headers,
    Refusal,
    is_attempt,
    read_handshake,
)
from wsmiddleware.metrics import metrics
from wsmiddleware.options import Options
from wsmiddleware.protocol import Protocol
from wsmiddleware.proxies import client_address
from wsmiddleware.reactor import GeventReactor
from wsmiddleware.servers import Server, close_connection_of, find_in, find_server
from wsmiddleware.transport import Transport
from wsmiddleware.websocket import WebSocket

__all__ = ["WebSocketMiddleware", "find_middleware"]

logger = logging.getLogger("wsmiddleware")
access = logging.getLogger("wsmiddleware.access")

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

WRONG_SERVER = (
    "WebSocket needs a gevent server. Start gunicorn with "
    "-k wsmiddleware.worker.WebSocketWorker (or -k gevent, -k gevent_pywsgi), "
    "or use gevent.pywsgi.WSGIServer."
)


class WebSocketMiddleware:
    """Serve WebSocket beside the HTTP of a WSGI application.

    `app` is the application; the settings are those of `wsmiddleware.Options`::

        app.wsgi_app = WebSocketMiddleware(
            app.wsgi_app, allowed_origins=["https://example.com"]
        )

    On a WebSocket handshake, and on no other request, the environ has one more key:

    - `wsgi.websocket`: the `wsmiddleware.WebSocket` of this connection.

    Raises ValueError for a setting that makes no sense.
    """

    def __init__(self, app: Application, **settings: Any) -> None:
        self.app = app
        self.options = Options.from_environment(settings)
        self._has_warned = False

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a request: the WSGI interface (PEP 3333)."""
        if not is_attempt(environ):
            return self.app(environ, start_response)
        server = find_server(environ, start_response)
        if server is None:
            return self._refuse_server(environ, start_response)
        metrics.start(connections.worker, self.options.metrics_interval)
        try:
            handshake = read_handshake(environ, server.resource_name, self.options)
            address = client_address(environ, self.options.trusted_proxies)
            connections.check(address, self._limit(server), self.options)
        except Refusal as refusal:
            return _refuse(refusal, server, start_response)
        upgrade = Upgrade(self, environ, start_response, server, handshake)
        upgrade.address = address
        connections.add(upgrade.websocket, address)
        del handshake  # this frame lasts as long as the connection
        return upgrade.run()

    @cached_property
    def url_map(self) -> Any:
        """Return the application's Werkzeug URL map, None if it has none."""
        return find_url_map(self.app)

    def _limit(self, server: Server) -> int | None:
        if self.options.max_connections is not None:
            return self.options.max_connections
        capacity = server.capacity()
        if capacity is None:
            return None
        # What is left over is for HTTP: a full worker answers no health check.
        return max(1, capacity - max(1, capacity // 10))

    def _refuse_server(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        if not self._has_warned:
            self._has_warned = True
            logger.error(WRONG_SERVER)
        close_connection_of(start_response)
        refusal = Refusal("503 Service Unavailable", WRONG_SERVER)
        return _respond(refusal, start_response)


def find_middleware(app: Any) -> WebSocketMiddleware | None:
    """Return the middleware that an application is wrapped in, or holds."""
    # One around it would put its own policy before it.
    found = find_in(app, WebSocketMiddleware)
    parts = _handed_over_to(app) if found is None else iter(())
    return next(
        (part for part in parts if isinstance(part, WebSocketMiddleware)), found
    )


def _handed_over_to(app: Any) -> Iterator[Any]:
    # What a dispatcher may call: what it holds, and the globals that it names.
    values = list(getattr(app, "__dict__", {}).values())
    function = app if isinstance(app, FunctionType) else type(app).__call__
    if isinstance(function, FunctionType):
        names = function.__code__.co_names
        values += [function.__globals__.get(name) for name in names]
    for value in values:
        yield value
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, (list, tuple)):
            yield from value


def _refuse(
    refusal: Refusal, server: Server, start_response: StartResponse
) -> Iterable[bytes]:
    logger.warning(
        "%s: handshake refused with %s: %s",
        # As it was sent, still percent-encoded, without the query, which may hold a
        # secret. Not every server keeps control characters out of it.
        repr(server.resource_name.partition("?")[0])[1:-1],
        refusal.status,
        refusal.text.partition("\n")[0],
    )
    body = _respond(refusal, start_response)
    # What stands behind a bad handshake may be anything but a request.
    server.close_connection()
    return LastResponse(server, body)


def _respond(refusal: Refusal, start_response: StartResponse) -> list[bytes]:
    metrics.refused(refusal.status)
    body = refusal.text.encode() + b"\n"
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        *refusal.headers,
    ]
    start_response(refusal.status, headers)
    return [body]


class Upgrade:
    """Run the application for one handshake, to the end of the connection."""

    address = ""

    def __init__(
        self,
        middleware: WebSocketMiddleware,
        environ: Environ,
        start_response: StartResponse,
        server: Server,
        handshake: Handshake,
    ) -> None:
        self._middleware = middleware
        self._environ = environ
        self._start_response = start_response
        self._server = server
        self._handshake = handshake
        self._started = monotonic()
        self._close_code = CloseCode.NORMAL_CLOSURE
        self._is_answered = False
        self._is_last = False
        self._is_over = False
        self._is_compressed = False
        self.websocket = WebSocket(
            self._open,
            middleware.options,
            GeventReactor.current(),
            version=handshake.version,
            origin=handshake.origin,
            path=handshake.resource_name,
            environ=environ,
        )
        environ["wsgi.websocket"] = self.websocket

    def _open(
        self, subprotocol: str | None, headers: Headers
    ) -> tuple[Protocol, Transport, bytes]:
        if self._is_over:
            raise ConnectionClosed(CloseCode.ABNORMAL_CLOSURE, "the request is over")
        if self._server.has_answered():
            raise WebSocketError("an HTTP response has begun: too late for WebSocket")
        protocol, head = self._handshake.accept(subprotocol, headers)
        sock, initial = self._server.take_over()
        transport = Transport(
            sock, GeventReactor.current(), owns_socket=False, initial=initial
        )
        if connections.is_draining:
            GeventReactor.current().call_at(0.0, self.websocket.go_away)
        # An idle connection holds what it needs, and no more.
        self._is_compressed = self._handshake.compression
        del self._handshake
        return protocol, transport, head

    def run(self) -> Iterable[bytes]:
        """Call the application; return its response, or nothing once upgraded."""
        try:
            if self._middleware.options.accept == "immediately":
                self.websocket.accept()
            if self._middleware.url_map is not None:
                hide_upgrade(self._middleware.url_map, self._environ)
            response = self._middleware.app(self._environ, self.start_response)
            if self.websocket.accepted:
                _close(response)
        except BaseException as error:
            self.fail(error)
        if self.websocket.accepted:
            return self.end()
        if not isinstance(response, (list, tuple)):
            return self.last(LazyResponse(self, response))
        self.release()
        if not self._is_answered:
            # The application shook hands by itself, on the socket in the environ.
            return self._server.end(0)
        return self.last(response)

    def last(self, response: Iterable[bytes]) -> Iterable[bytes]:
        """Return a refusal, with what it needs if the connection ends with it."""
        return LastResponse(self._server, response) if self._is_last else response

    def release(self) -> None:
        """Count the connection no longer, and let nobody use it any more.

        From now on the socket is the server's, or closed and its number another's.
        """
        connections.discard(self.websocket, self.address)
        self._is_over = True
        if self.websocket.accepted:
            self.websocket.abort("the request is over")

    def start_response(self, status: str, *args: Any) -> Any:
        """Pass a refusal on to the server; ignore a response after the handshake."""
        if not self.websocket.accepted:
            if not self._is_answered:
                metrics.refused(status)
            self._is_answered = True
            # Draft 76 sends eight octets behind its request, and what another client
            # sent there was meant for a WebSocket: neither is a request.
            if self._handshake.version == "76" or self._server.has_read_ahead():
                self._is_last = True
                self._server.close_connection()
            return self._start_response(status, *args)
        if status.startswith("5"):
            self._close_code = CloseCode.INTERNAL_ERROR
        return _ignore

    def fail(self, error: BaseException) -> None:
        """Decide the close code for an exception; raise it again before the 101."""
        if not self.websocket.accepted:
            self.release()
            raise error
        if isinstance(error, ConnectionClosed):
            return  # the peer went while the handler was sending: nobody's fault
        if isinstance(error, (GreenletExit, SystemExit, KeyboardInterrupt)):
            self._close_code = CloseCode.GOING_AWAY
            return
        self._close_code = CloseCode.INTERNAL_ERROR
        # Who is killed while the log keeps him waiting closes the connection, too.
        with suppress(BaseException):
            logger.error(
                "the WebSocket handler of %s failed",
                self._request_line(),
                exc_info=error,
            )

    def _request_line(self) -> str:
        # Like the path of a refusal
        path = self.websocket.path.partition("?")[0]
        return f'"GET {path} {self._environ["SERVER_PROTOCOL"]}"'

    def end(self) -> Iterable[bytes]:
        """Close the connection, whatever happens meanwhile, and the HTTP side."""
        websocket = self.websocket
        try:
            websocket.close(self._close_code)
        except BaseException:
            logger.debug("killed while closing", exc_info=True)
        websocket.abort("the close took too long")
        websocket.environ = None
        self.release()
        metrics.ended(websocket)
        self._log_access()
        return self._server.end(websocket.bytes_sent)

    def _log_access(self) -> None:
        websocket = self.websocket
        access.info(
            "%s %s version=%s subprotocol=%s compression=%s "
            "received=%d/%d sent=%d/%d closed_by=%s code=%s reason=%r seconds=%.3f",
            self.address or "-",
            self._request_line(),
            websocket.version,
            websocket.subprotocol or "-",
            "yes" if self._is_compressed else "no",
            websocket.messages_received,
            websocket.bytes_received,
            websocket.messages_sent,
            websocket.bytes_sent,
            websocket.closed_by,
            websocket.close_code,
            websocket.close_reason,
            monotonic() - self._started,
        )


class LastResponse:
    """Be a response after which the connection is closed."""

    def __init__(self, server: Server, response: Iterable[bytes]) -> None:
        self._server = server
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        """Close the application's response and wait for the peer to have ours."""
        _close(self._response)
        self._server.linger()


class LazyResponse:
    """Be a response whose application runs on while it is iterated."""

    def __init__(self, upgrade: Upgrade, response: Iterable[bytes]) -> None:
        self._upgrade = upgrade
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._until_accepted()
            if self._upgrade.websocket.accepted:
                self._upgrade.end()
        finally:
            # Not every middleware around us calls `close`.
            self._upgrade.release()

    def _until_accepted(self) -> Iterator[bytes]:
        try:
            for data in self._response:
                if not self._upgrade.websocket.accepted:
                    yield data
        except GeneratorExit:
            raise  # the server wants no more
        except BaseException as error:
            self._upgrade.fail(error)

    def close(self) -> None:
        """Close the application's response, and what it leaves."""
        try:
            _close(self._response)
        finally:
            self._upgrade.release()


def _close(response: Any) -> None:
    if hasattr(response, "close"):
        response.close()


def _ignore(data: bytes) -> None:
    """Be the `write` of a response that is not sent."""
