"""`connect`: the user agent of draft 55, section 4, and the client of RFC 6455.

    from wsmiddleware import connect

    with connect("wss://example.com/chat", subprotocols=["chat"]) as ws:
        ws.send("hello")
        for message in ws:
            print(message)

It finds the way to the server (a proxy, an address, TLS), performs the opening
handshake and hands the socket to a `WebSocket`, the same that a server has. Who
waits may be a greenlet or a thread (`wsmiddleware.channel`).
"""

import logging
import random
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin

from gevent.monkey import get_original

from wsmiddleware.channel import (
    Channel,
    Establishing,
    TimeLimit,
    Waiting,
    current_waiting,
)
from wsmiddleware.client_handshake import ClientRequest, client_handshake
from wsmiddleware.deflate import Compression
from wsmiddleware.exceptions import HandshakeError, InvalidURL
from wsmiddleware.hixie import Hixie55, Hixie76
from wsmiddleware.options import Options
from wsmiddleware.protocol import Protocol
from wsmiddleware.responses import Header
from wsmiddleware.rfc6455 import RFC6455
from wsmiddleware.transport import ThreadedTransport, Transport
from wsmiddleware.tunnels import Outcome, Proxy, Tunnel, find_proxy, parse_proxy
from wsmiddleware.urls import WebSocketURL, parse_url
from wsmiddleware.websocket import ThreadedWebSocket, WebSocket

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

__all__ = ["ClientOptions", "can_heal", "connect"]

logger = logging.getLogger("wsmiddleware")

# What a client and a server set alike: fields of `wsmiddleware.Options`.
SHARED = (
    "max_message_size",
    "max_frame_size",
    "max_fragments",
    "max_queue",
    "max_buffered",
    "overflow",
    "ping_interval",
    "ping_timeout",
    "send_timeout",
    "close_timeout",
    "idle_timeout",
    "max_lifetime",
    "max_pings",
)

# RFC 7231, section 6.4, and RFC 7238
REDIRECTS = (301, 302, 303, 307, 308)
# What goes only to the server that it was meant for
PERSONAL = ("authorization", "cookie")
# Statuses below 500 that pass: a timeout, "too early" and "too many requests"
PASSING = (408, 425, 429)
# A connection that has lasted so long, in seconds, was no failure.
LASTING = 10.0

_ONE_AT_A_TIME = Establishing()


@dataclass(frozen=True)
class ClientOptions:
    """Hold the settings of `connect` that no server has.

    The others are those of `wsmiddleware.Options` with the same meaning, as far as
    they are about an open connection: `max_message_size` and the other limits,
    `ping_interval`, `ping_timeout`, `send_timeout`, `close_timeout` and so on.
    """

    version: str | None = None
    """Protocol version: "13", "8", "7", "76" or "55"; None for "13"."""

    origin: str | None = None
    """Origin to name; None for none, and for that of the server itself where the
    version must name one (76 and 55)."""

    subprotocols: Sequence[str] = ()
    """Subprotocols to offer, in order of preference; at most one to 76 and 55."""

    headers: Mapping[str, str] | Iterable[Header] = ()
    """Header fields to send beyond those of the handshake."""

    cookies: "CookieJar | None" = None
    """A jar whose cookies are sent, and which takes those that are set."""

    compression: Compression | bool = True
    """permessage-deflate (RFC 7692) to offer: True for the defaults, False for none."""

    proxy: str | bool | None = True
    """URL of a proxy (http, https, socks4, socks4a, socks5, socks5h), True for what
    the environment says, False or None for none."""

    proxy_ssl_context: ssl.SSLContext | None = None
    """TLS to an https proxy; None for one that verifies."""

    ssl_context: ssl.SSLContext | None = None
    """TLS to the server of a wss URL; None for one that verifies."""

    server_hostname: str | None = None
    """Name that the server's certificate must have; None for the URL's host."""

    unix_path: str | bytes | None = None
    """Path of a unix socket to connect to instead of the URL's host."""

    max_redirects: int = 0
    """How many redirects to follow."""

    open_timeout: float | None = 10.0
    """How long it may take, in seconds, until the connection is open."""

    establishing: Establishing | None = field(default=_ONE_AT_A_TIME, repr=False)
    """Who else establishes connections: one at a time to one IP address (draft 55,
    section 4.1, step 1). None lets any number be established at once."""

    def __post_init__(self) -> None:
        if isinstance(self.subprotocols, str):
            raise ValueError("subprotocols must be a list, not a string")
        # They are needed again for a redirect and for the next connection.
        object.__setattr__(self, "headers", _pairs(self.headers))


def _read_settings(settings: Mapping[str, Any]) -> tuple[ClientOptions, Options]:
    own = {key: value for key, value in settings.items() if key not in SHARED}
    shared = {key: value for key, value in settings.items() if key in SHARED}
    return ClientOptions(**own), Options(**shared)


class _Connect:
    """Connect to WebSocket servers; there is one of these, `connect`."""

    def __call__(self, url: str, **settings: Any) -> WebSocket:
        """Connect to a ws or wss URL and return an open WebSocket.

        The settings are those of `ClientOptions`. Raises InvalidURL and ValueError
        for what cannot be sent, OSError when the server cannot be reached (with
        ssl.SSLError and TimeoutError among its kinds), HandshakeError when it refuses
        or does not speak the version.
        """
        options, shared = _read_settings(settings)
        return _connect(parse_url(url), options, shared)

    def reconnecting(
        self,
        url: str,
        *,
        first_delay: float = 1.0,
        max_delay: float = 60.0,
        heals: Callable[[Exception], bool] | None = None,
        **settings: Any,
    ) -> Iterator[WebSocket]:
        """Yield an open WebSocket, and another one each time it has closed.

        Between them it waits: `first_delay` seconds, twice as long after each failure
        up to `max_delay`, always a random part of it less, and at least as long as a
        server says in Retry-After. It raises what cannot heal: what `heals` denies,
        by default `can_heal`. The other settings are those of `connect`.
        """
        options, shared = _read_settings(settings)
        backoff = _Backoff(first_delay, max_delay)
        # Not a generator itself: what makes no sense is to be found at once.
        return _reconnect(parse_url(url), options, shared, backoff, heals or can_heal)


connect = _Connect()


def _connect(url: WebSocketURL, options: ClientOptions, shared: Options) -> WebSocket:
    waiting = current_waiting()
    limit = TimeLimit(options.open_timeout, "connection not open")
    followed = 0
    while True:
        try:
            return _Attempt(url, options, shared, waiting, limit).run()
        except HandshakeError as error:
            target = _redirect_target(url, error)
            if target is None or followed == options.max_redirects:
                raise
            if url.secure and not target.secure:
                raise HandshakeError(
                    f"redirected from TLS to {target}", error.status, error.headers
                ) from None
        followed += 1
        url, options = _redirected(url, target, options)


class _Attempt:
    """Open one connection to one URL."""

    def __init__(
        self,
        url: WebSocketURL,
        options: ClientOptions,
        shared: Options,
        waiting: Waiting,
        limit: TimeLimit,
    ) -> None:
        self._url = url
        self._options = options
        self._shared = shared
        self._waiting = waiting
        self._limit = limit
        self._compression = _compression(options.compression)
        self._handshake = client_handshake(
            options.version or "13",
            ClientRequest(
                url,
                origin=options.origin,
                subprotocols=options.subprotocols,
                headers=self._headers(),
                compression=self._compression,
            ),
        )

    def run(self) -> WebSocket:
        """Return an open WebSocket."""
        with ExitStack() as turn:
            channel = self._reach_server(turn)
            with _closed_on_error(channel):
                if self._url.secure:
                    context = self._options.ssl_context or _default_context()
                    self._start_tls(
                        channel,
                        context,
                        self._options.server_hostname or self._url.host.strip("[]"),
                    )
                self._shake_hands(channel)
                return self._make_websocket(channel.leave())

    def _headers(self) -> list[Header]:
        pairs = _pairs(self._options.headers)
        jar = self._options.cookies
        # RFC 6265, section 5.4: "the user agent MUST NOT attach more than one Cookie
        # header field"; who gives one means that one.
        if jar is not None and "cookie" not in {name.lower() for name, _ in pairs}:
            pairs += _cookies_to_send(jar, self._url)
        return pairs

    # The way to the server (draft 55, section 4.1, steps 1 to 4)

    def _reach_server(self, turn: ExitStack) -> Channel:
        path = self._options.unix_path
        if path is not None:
            self._limit.doing = f"connecting to {path!r}"
            return self._dial_address(socket.AF_UNIX, path, self._limit.left())
        host, port = self._url.host.strip("[]"), self._url.port
        proxy = self._find_proxy()
        if proxy is None:
            return self._dial(host, port, turn)
        # RFC 6455, section 4.1, item 2: when a proxy performs DNS queries, "the client
        # MUST assume for the purposes of this step that each host name refers to a
        # distinct remote host".
        self._wait_for_turn(host, turn)
        if proxy.is_socks:
            return self._dial_through_socks(proxy, host, port)
        return self._dial_through_http(proxy)

    def _find_proxy(self) -> Proxy | None:
        proxy = self._options.proxy
        if isinstance(proxy, str):
            return parse_proxy(proxy)
        return find_proxy(self._url) if proxy else None

    def _wait_for_turn(self, host: str, turn: ExitStack) -> None:
        establishing = self._options.establishing
        if establishing is None:
            return
        self._limit.doing = f"waiting until another connection to {host} is open"
        turn.enter_context(establishing.turn(host, self._waiting, self._limit))

    def _dial(self, host: str, port: int, turn: ExitStack | None) -> Channel:
        addresses = self._resolve(host, port)
        errors: list[OSError] = []
        for position, (family, _, _, _, address) in enumerate(addresses):
            with ExitStack() as this_turn:
                if turn is not None:
                    self._wait_for_turn(address[0], this_turn)
                self._limit.doing = f"connecting to {address[0]} port {address[1]}"
                # An address that does not answer leaves time for the others.
                timeout = self._limit.part(len(addresses) - position)
                try:
                    channel = self._dial_address(family, address, timeout)
                except OSError as error:
                    errors.append(error)
                    continue
                if turn is not None:
                    turn.enter_context(this_turn.pop_all())
                return channel
        self._limit.left()
        raise errors[-1]

    def _resolve(self, host: str, port: int) -> list[Any]:
        self._limit.doing = f"resolving {host}"
        try:
            return self._waiting.resolve(host, port, self._limit.left())
        except TimeoutError:
            raise self._limit.error() from None

    def _dial_address(
        self, family: int, address: Any, timeout: float | None
    ) -> Channel:
        sock = get_original("socket", "socket")(family, socket.SOCK_STREAM)
        channel = Channel(sock, self._waiting, self._limit)
        with _closed_on_error(channel):
            channel.connect(address, timeout)
        return channel

    def _dial_through_http(self, proxy: Proxy) -> Channel:
        tunnel = Tunnel(proxy, self._url, random.SystemRandom())
        while True:
            channel = self._dial(proxy.host, proxy.port, None)
            with _closed_on_error(channel):
                if proxy.scheme == "https":
                    context = self._options.proxy_ssl_context or _default_context()
                    self._start_tls(channel, context, proxy.host)
                self._limit.doing = f"asking the proxy {proxy.host} for a tunnel"
                channel.send(tunnel.request())
                if self._hear_proxy(channel, tunnel) is Outcome.OPEN:
                    return channel
            # Draft 55, step 12: "close the connection and jump back to step 2,
            # providing appropriate authentication information"
            channel.close()

    def _hear_proxy(self, channel: Channel, tunnel: Tunnel) -> Outcome:
        while data := channel.receive():
            outcome = tunnel.feed(data)
            if outcome is not Outcome.INCOMPLETE:
                return outcome
        raise tunnel.closed() from EOFError()

    def _dial_through_socks(self, proxy: Proxy, host: str, port: int) -> Channel:
        if not proxy.resolves:
            host = self._address_for(proxy, host, port)
        self._limit.doing = f"asking the proxy {proxy.host} for a tunnel"
        left = self._limit.left()
        try:
            sock = self._waiting.call(_socks(proxy, host, port, left), left)
        except TimeoutError:
            raise self._limit.error() from None
        return Channel(sock, self._waiting, self._limit)

    def _address_for(self, proxy: Proxy, host: str, port: int) -> str:
        addresses = self._resolve(host, port)
        # SOCKS version 4 has room for four octets.
        if proxy.scheme == "socks4":
            addresses = [item for item in addresses if item[0] == socket.AF_INET]
        if not addresses:
            raise OSError(f"{host} has no IPv4 address, which SOCKS version 4 needs")
        return str(addresses[0][4][0])

    def _start_tls(self, channel: Channel, context: ssl.SSLContext, host: str) -> None:
        self._limit.doing = f"TLS handshake with {host}"
        channel.start_tls(context, host.removesuffix("."))

    # The opening handshake (steps 5 to 24)

    def _shake_hands(self, channel: Channel) -> None:
        handshake = self._handshake
        self._limit.doing = "opening handshake"
        try:
            # A server may refuse before it has read the whole request.
            with suppress(ConnectionError):
                channel.send(handshake.request())
            while not handshake.feed(self._receive(channel)):
                pass
        finally:
            if self._options.cookies is not None:
                headers = handshake.cookie_headers
                _keep_cookies(self._options.cookies, self._url, headers)

    def _receive(self, channel: Channel) -> bytes:
        try:
            data = channel.receive()
        except TimeoutError:
            if self._handshake.refused:
                raise self._handshake.refusal() from None
            raise
        except ConnectionError as error:
            raise self._handshake.closed() from error
        if not data:
            raise self._handshake.closed() from EOFError()
        return data

    # The open connection

    def _make_websocket(self, sock: Any) -> WebSocket:
        reactor = self._waiting.reactor()
        initial = self._handshake.surplus
        transport: Transport
        websocket: WebSocket

        def opening(*_: Any) -> tuple[Protocol, Transport, bytes]:
            return self._make_protocol(), transport, b""

        details: dict[str, Any] = {
            "client": True,
            "version": self._handshake.version,
            "origin": self._options.origin,
            "path": self._url.resource_name,
        }
        if self._waiting.is_thread:
            threaded = ThreadedWebSocket(opening, self._shared, reactor, **details)
            websocket = threaded
            transport = ThreadedTransport(
                sock, reactor, lock=threaded.lock, initial=initial
            )
        else:
            websocket = WebSocket(opening, self._shared, reactor, **details)
            transport = Transport(sock, reactor, initial=initial)
        websocket.accept()
        return websocket

    def _make_protocol(self) -> Protocol:
        handshake, shared = self._handshake, self._shared
        subprotocol = handshake.subprotocol
        size = shared.max_message_size
        if handshake.version == "55":
            return Hixie55(client=True, max_message_size=size, subprotocol=subprotocol)
        if handshake.version == "76":
            return Hixie76(client=True, max_message_size=size, subprotocol=subprotocol)
        codec = None
        if self._compression is not None and handshake.compression is not None:
            codec = self._compression.codec(handshake.compression, client=True)
        return RFC6455(
            client=True,
            version=handshake.version,
            max_message_size=size,
            max_frame_size=shared.max_frame_size,
            max_fragments=shared.max_fragments,
            deflate=codec,
            subprotocol=subprotocol,
        )


@contextmanager
def _closed_on_error(channel: Channel) -> Iterator[None]:
    try:
        yield
    except BaseException:
        channel.close()
        raise


def _compression(compression: Compression | bool) -> Compression | None:
    if compression is True:
        return Compression()
    return compression or None


def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Of the protocols that a server may choose, WebSocket's is HTTP/1.1.
    context.set_alpn_protocols(["http/1.1"])
    return context


def _socks(
    proxy: Proxy, host: str, port: int, timeout: float | None
) -> Callable[[], Any]:
    try:
        from python_socks import ProxyError, ProxyType
        from python_socks.sync import Proxy as SocksProxy
    except ImportError as error:
        raise ImportError(
            "a SOCKS proxy needs python-socks: install wsmiddleware[socks]"
        ) from error
    kind = ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5

    def dial() -> Any:
        client = SocksProxy(
            kind, proxy.host, proxy.port, proxy.username, proxy.password, rdns=True
        )
        try:
            return client.connect(host, port, timeout=timeout)
        except ProxyError as error:
            refusal = HandshakeError(f"SOCKS proxy refused: {error}")
            # RFC 1928, section 6: a reply of 2 is "connection not allowed by ruleset";
            # the others say that the server is not reached at the moment.
            if error.error_code in (None, 2):
                raise refusal from error
            raise refusal from ConnectionError(str(error))

    return dial


# Cookies (steps 9 and 23)


def _http_url(url: WebSocketURL) -> str:
    # Step 9: "a resource accessed over HTTP, if /secure/ is false, or HTTPS, if it is
    # true, on host /host/, port /port/, with /resource name/ as the path"
    scheme = "https" if url.secure else "http"
    return f"{scheme}://{url.hostport}{url.resource_name}"


def _cookies_to_send(jar: "CookieJar", url: WebSocketURL) -> list[Header]:
    from urllib.request import Request

    request = Request(_http_url(url))
    jar.add_cookie_header(request)
    names = ("Cookie", "Cookie2")
    values = [(name, request.get_header(name)) for name in names]
    return [(name, value) for name, value in values if value is not None]


def _keep_cookies(
    jar: "CookieJar", url: WebSocketURL, headers: Iterable[Header]
) -> None:
    from urllib.request import Request

    answer: Any = _Answer(headers)
    jar.extract_cookies(answer, Request(_http_url(url)))


class _Answer:
    # What a cookie jar looks at of an HTTP answer.

    def __init__(self, headers: Iterable[Header]) -> None:
        self._headers = list(headers)

    def info(self) -> Message:
        message = Message()
        for name, value in self._headers:
            message[name] = value
        return message


# Redirects


def _redirect_target(url: WebSocketURL, error: HandshakeError) -> WebSocketURL | None:
    locations = [value for name, value in error.headers if name.lower() == "location"]
    if error.status not in REDIRECTS or len(locations) != 1:
        return None
    # RFC 7231, section 7.1.2: a location may be relative, and have a fragment.
    location = urldefrag(urljoin(_http_url(url), locations[0])).url
    try:
        return parse_url(re.sub("^http", "ws", location, flags=re.IGNORECASE))
    except InvalidURL:
        return None


def _redirected(
    url: WebSocketURL, target: WebSocketURL, options: ClientOptions
) -> tuple[WebSocketURL, ClientOptions]:
    # What was meant for one server is not told to another.
    if (url.hostport, url.secure) == (target.hostport, target.secure):
        return replace(target, userinfo=target.userinfo or url.userinfo), options
    headers = [
        (name, value)
        for name, value in _pairs(options.headers)
        if name.lower() not in PERSONAL
    ]
    return target, replace(
        options, headers=headers, unix_path=None, server_hostname=None
    )


def _pairs(headers: Mapping[str, str] | Iterable[Header]) -> list[Header]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)


# Reconnecting


def can_heal(error: Exception) -> bool:
    """Tell whether what made a connection fail may be gone at the next try.

    A network that is down, a server that is busy or starts again: yes. A certificate
    that is not valid, a request that is refused (401, 403, 404 and so on), an answer
    that is not one of WebSocket: no.
    """
    if isinstance(error, HandshakeError):
        if error.status is None or error.status == 101:
            # The connection broke, or the answer breaks a rule.
            return isinstance(error.__cause__, (EOFError, OSError))
        return error.status >= 500 or error.status in PASSING
    return isinstance(error, OSError) and not isinstance(
        error, ssl.SSLCertVerificationError
    )


def _reconnect(
    url: WebSocketURL,
    options: ClientOptions,
    shared: Options,
    backoff: "_Backoff",
    heals: Callable[[Exception], bool],
) -> Iterator[WebSocket]:
    while True:
        try:
            websocket = _connect(url, options, shared)
        except Exception as error:
            if not heals(error):
                raise
            delay = max(backoff.next(), _retry_after(error))
            # Not the resource name, whose query may hold a secret.
            logger.info("%s: %s; next try in %.1f s", url.hostport, error, delay)
        else:
            opened_at = monotonic()
            try:
                yield websocket
            finally:
                websocket.close()
            if monotonic() - opened_at >= LASTING:
                backoff.reset()
            delay = backoff.next()
        current_waiting().sleep(delay)


class _Backoff:
    """Make the delays between tries: longer and longer, and never quite the same."""

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._delay = first

    def next(self) -> float:
        delay = self._delay
        self._delay = min(2 * delay, self._most)
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._delay = self._first


def _retry_after(error: Exception) -> float:
    # RFC 7231, section 7.1.3: Retry-After = HTTP-date / delay-seconds
    headers = error.headers if isinstance(error, HandshakeError) else []
    for name, value in headers:
        if name.lower() != "retry-after":
            continue
        if re.fullmatch("[0-9]{1,9}", value):
            return float(value)
        with suppress(ValueError):
            when = parsedate_to_datetime(value).replace(tzinfo=timezone.utc)
            return (when - datetime.now(timezone.utc)).total_seconds()
    return 0.0
