"""What there is to say of a server at a URL: it is connected to, and looked at.

From a page of its own site, from a page of another, and for a while in silence; with
our own client, which says nothing but pings.

The rule: every finding that is not good comes with what to do about it.
"""

import argparse
import re
import ssl
from collections.abc import Generator, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

from wsmiddleware.checkup import OURS, Finding, ok, warning, wrong
from wsmiddleware.client import connect
from wsmiddleware.events import CloseCode
from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.options import PREFIX, Options
from wsmiddleware.urls import WebSocketURL, parse_url
from wsmiddleware.websocket import WebSocket

__all__ = ["examine_url"]

# A page of this site does not exist (RFC 6761, section 6.4).
FOREIGN_ORIGIN = "https://another-site.invalid"
# How soon a ping is sent, and how often the connection is looked at
PING_SOON = 0.1
LOOK_INTERVAL = 0.1

# What a status says of a handshake, and what to do about it
STATUSES = {
    200: (
        "was answered like a page: it did not arrive as a handshake",
        "have the proxy pass Upgrade and Connection on, and look at the path",
    ),
    400: (
        "arrived damaged",
        "have the proxy pass Upgrade, Connection, Host and Sec-WebSocket-* on",
    ),
    401: ("needs credentials", "give them, with -H 'Authorization: ...' or a cookie"),
    403: (
        "of a page of the site itself was refused",
        "have the proxy pass Host on, and say the scheme in X-Forwarded-Proto; name it "
        "in gunicorn's forwarded_allow_ips. If it is the application that refuses, "
        "give credentials with -H",
    ),
    404: ("found nothing at this path", "look at the path, and at the proxy's routes"),
    426: (
        "arrived without Upgrade, or in a version that is not served",
        "for nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
        'proxy_set_header Connection "upgrade"; proxy_set_header Host $http_host;',
    ),
    502: ("found no server behind the proxy", "look whether gunicorn runs"),
    503: (
        "found a server that is full, going away, or of the wrong kind",
        f"look at its log; gunicorn is to be started with -k {OURS}",
    ),
    504: ("was not answered behind the proxy", "look whether gunicorn runs"),
    505: ("arrived as HTTP/1.0", "for nginx: proxy_http_version 1.1;"),
}


def examine_url(arguments: argparse.Namespace) -> Iterator[Finding]:
    """Yield what there is to say of a server at a URL."""
    try:
        url = parse_url(re.sub("^http", "ws", arguments.target, flags=re.IGNORECASE))
    except ValueError as error:
        yield wrong(str(error), "name it like wss://example.com/path")
        return
    probe = Probe(url, arguments)
    try:
        if not (yield from probe.examine_upgrade()):
            return
        yield from probe.examine_ping()
        yield from probe.examine_origin()
        if arguments.idle is None:
            yield ok("not tried: whether silent connections stay open (--idle 70)")
        else:
            yield from probe.examine_silence(arguments.idle)
    except (OSError, HandshakeError) as error:
        yield wrong(
            f"it does not let us connect every time: {error}",
            "look at the server's log, and at each server behind the proxy",
        )


class Probe:
    """Connect to a server again and again, and look at what it does."""

    def __init__(self, url: WebSocketURL, arguments: argparse.Namespace) -> None:
        self._url = url
        self._timeout: float = arguments.timeout
        self._origin = f"http{'s' * url.secure}://{url.hostport}"
        self._settings: dict[str, Any] = {
            "headers": arguments.header,
            "subprotocols": arguments.subprotocol,
            "open_timeout": arguments.timeout,
        }
        if arguments.insecure:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._settings["ssl_context"] = context

    def _connect(self, origin: str, **settings: Any) -> WebSocket:
        return connect(str(self._url), origin=origin, **self._settings, **settings)

    # Does the upgrade arrive?

    def examine_upgrade(self) -> Generator[Finding, None, bool]:
        """Try to connect from a page of the site; return whether that is possible."""
        try:
            websocket = self._connect(self._origin)
        except HandshakeError as error:
            yield _explain(error)
        except ssl.SSLError as error:
            yield wrong(
                f"TLS with {self._url.host} fails: {error}",
                "look at the certificate, its chain and its name (or try --insecure)",
            )
        except (OSError, ValueError) as error:
            yield wrong(
                f"{self._url.hostport} is out of reach: {error}",
                "look at the address and the port, and whether the server runs",
            )
        else:
            websocket.close()
            yield ok(f"the upgrade arrives: a page of {self._origin} can connect")
            return True
        return False

    # Does a ping come back?

    def examine_ping(self) -> Iterator[Finding]:
        """Try whether a ping comes back."""
        websocket = self._connect(
            self._origin, ping_interval=PING_SOON, ping_timeout=self._timeout
        )
        give_up_at = monotonic() + self._timeout
        with websocket:
            while websocket.latency is None and not websocket.closed:
                if monotonic() >= give_up_at:
                    break
                _listen(websocket, LOOK_INTERVAL)
            if websocket.latency is not None:
                yield ok(f"a ping comes back, after {websocket.latency * 1000:.1f} ms")
            elif not websocket.closed or websocket.closed_by == "local":
                yield wrong(
                    f"no ping comes back within {self._timeout:g} s",
                    "look whether the server is busy, and what stands in front of it",
                )
            else:
                yield warning(
                    f"no ping: the connection was {_ending(websocket)} before",
                    "try a path whose application keeps connections open",
                )

    # Is the origin policy sane?

    def examine_origin(self) -> Iterator[Finding]:
        """Try to connect from a page of another site."""
        try:
            websocket = self._connect(FOREIGN_ORIGIN)
        except HandshakeError as error:
            yield ok(f"a page of another site cannot connect ({error.status})")
            return
        websocket.close()
        yield wrong(
            f"a page of another site ({FOREIGN_ORIGIN}) can connect, with the cookies "
            "of whoever looks at it",
            "set allowed_origins, or leave it out: then only the site itself may",
        )

    # Is the proxy more patient than we are silent?

    def examine_silence(self, seconds: float) -> Iterator[Finding]:
        """Stay connected in silence, and see whether somebody hangs up."""
        websocket = self._connect(self._origin, ping_interval=None)
        started = heard_at = monotonic()
        heard = 0
        with websocket:
            while not websocket.closed and monotonic() < started + seconds:
                left = started + seconds - monotonic()
                _listen(websocket, max(0.0, min(LOOK_INTERVAL, left)))
                if websocket.bytes_received != heard and not websocket.closed:
                    heard, heard_at = websocket.bytes_received, monotonic()
            silence = monotonic() - heard_at
            if not websocket.closed:
                yield _judge_silence(seconds, bool(heard))
            elif websocket.close_code == CloseCode.ABNORMAL_CLOSURE:
                yield _explain_cut(silence)
            else:
                yield warning(
                    f"the connection was {_ending(websocket)}",
                    "try a path whose application keeps connections open, and look at "
                    "idle_timeout and max_lifetime",
                )


def _listen(websocket: WebSocket, seconds: float) -> None:
    with suppress(TimeoutError):
        websocket.receive(seconds)


def _ending(websocket: WebSocket) -> str:
    reason = f": {websocket.close_reason}" if websocket.close_reason else ""
    return f"closed with {websocket.close_code}{reason}"


def _explain(error: HandshakeError) -> Finding:
    fields = {name.lower(): value for name, value in error.headers}
    if error.status is None:
        advice = "look whether this is an HTTP server, and whether it speaks TLS"
        return wrong(str(error), advice)
    if 300 <= error.status < 400:
        return wrong(
            f"the handshake is redirected to {fields.get('location')}",
            "no browser follows that: use the other address",
        )
    what, advice = STATUSES.get(
        error.status, ("was refused", "look at the server's log")
    )
    said = ""
    if fields.get("content-type", "").startswith("text/plain"):
        said = error.body[:500].decode("utf-8", "replace").strip().partition("\n")[0]
    text = f"the handshake {what} ({error.status})"
    return wrong(f"{text}: {said}" if said else text, advice)


def _judge_silence(seconds: float, heard: bool) -> Finding:
    if heard:
        return ok(f"a silent connection is open after {seconds:g} s: it is pinged")
    if seconds > (Options.ping_interval or 0):
        return warning(
            f"a silent connection is open after {seconds:g} s, but nobody pings",
            f"leave {PREFIX}PING_INTERVAL at {Options.ping_interval:g}",
        )
    return warning(
        f"{seconds:g} s are shorter than ping_interval is by default",
        "try again, with --idle 70",
    )


def _explain_cut(silence: float) -> Finding:
    return wrong(
        f"the connection was cut off after {silence:.1f} s of silence",
        "a proxy has less patience: give it more (nginx: proxy_read_timeout; HAProxy: "
        "timeout tunnel; a load balancer: idle timeout), or have the server ping: "
        f"{PREFIX}PING_INTERVAL={max(1, int(silence / 2))}",
    )
