"""The settings of a server's WebSockets, with their defaults, in one place."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

from wsmiddleware.deflate import Compression
from wsmiddleware.origins import AllowedOrigins, check_patterns
from wsmiddleware.proxies import check_networks

__all__ = ["VERSIONS", "Options", "Subprotocols"]

VERSIONS = ("13", "8", "7", "76", "55")

Subprotocols: TypeAlias = Sequence[str] | Callable[[Sequence[str]], str | None]

ACCEPT = ("first-use", "immediately")
PREFIX = "WSMIDDLEWARE_"
SWITCH = {"on": True, "off": False, "true": True, "false": False, "1": True, "0": False}
OVERFLOW = ("block", "drop_oldest", "drop_newest", "close")


@dataclass(frozen=True)
class Options:
    """Hold the settings of a server's WebSockets.

    Times are in seconds and may be None for "no limit" unless a line says otherwise;
    sizes are in bytes.
    """

    versions: Sequence[str] = VERSIONS
    """Protocol versions that are served: "13", "8", "7", "76" and "55"."""

    allowed_origins: AllowedOrigins = None
    """None for the same origin; exact origins, "https://*.example.com" patterns,
    compiled regular expressions, "*", or a callable that is given the origin."""

    subprotocols: Subprotocols = ()
    """Subprotocols in order of preference, or a callable that is given those that the
    client offers and returns one of them or None."""

    accept: str = "first-use"
    """When the handshake is completed: "first-use" of the WebSocket by the
    application, or "immediately", before the application is called."""

    compression: Compression | bool = True
    """permessage-deflate (RFC 7692): True for the defaults, False for none."""

    max_message_size: int = 1 << 20
    """Largest message from the peer, after decompression."""

    max_frame_size: int | None = None
    """Largest frame from the peer, as on the wire; None for that of a message."""

    max_fragments: int = 1 << 17
    """Most frames that a message from the peer may be cut into."""

    max_queue: int = 32
    """Messages that wait for the application before reading from the peer stops."""

    max_buffered: int = 1 << 20
    """Bytes that may wait for the peer before `overflow` applies."""

    overflow: str = "block"
    """What `send` does when `max_buffered` is reached: "block" until there is room or
    `send_timeout` has passed, "drop_oldest", "drop_newest", or "close" with 1013."""

    handshake_timeout: float = 10.0
    """How long draft 76's last eight octets may take; never None."""

    ping_interval: float | None = 25.0
    """How long a connection may be silent before the peer is pinged."""

    ping_timeout: float | None = 20.0
    """How long the peer may take to send anything after a ping."""

    send_timeout: float | None = 60.0
    """How long a send may block, and how long the peer may take nothing at all."""

    close_timeout: float = 5.0
    """How long the peer may take to answer a close; never None."""

    idle_timeout: float | None = None
    """How long a connection may carry no message either way before it is closed."""

    max_lifetime: float | None = None
    """How long a connection may last before it is closed."""

    max_pings: int = 100
    """Control frames a second from the peer, beyond which the connection fails."""

    max_connections: int | None = None
    """WebSockets that a worker may hold; more get 503. None for nine tenths of the
    connections that the worker may hold, which leaves the others for HTTP."""

    max_connections_per_address: int | None = None
    """WebSockets that a client's address may hold in a worker; more get 503."""

    trusted_proxies: Sequence[str] = ()
    """Addresses or networks of the proxies in front, "unix" for a unix socket; from
    them X-Forwarded-For, -Host and -Proto are believed."""

    drain_code: int = 1001
    """Close code when the worker stops: 1001, or 1012 to say that it restarts."""

    max_blocking: float | None = 2.0
    """Seconds that a handler may block its whole worker before the worker logs where;
    for our own worker only."""

    drain_window: float = 0.0
    """Seconds over which the closes are spread when the worker stops."""

    metrics_interval: float | None = 5.0
    """Seconds between two reports to statsd and to Prometheus's shared files; None for
    no metrics at all."""

    def __post_init__(self) -> None:
        unknown = set(self.versions) - set(VERSIONS)
        if unknown or isinstance(self.versions, str):
            raise ValueError(f"versions must be a list of some of {VERSIONS}")
        if self.accept not in ACCEPT:
            raise ValueError(f"accept must be one of {ACCEPT}")
        if self.overflow not in OVERFLOW:
            raise ValueError(f"overflow must be one of {OVERFLOW}")
        if isinstance(self.subprotocols, str):
            raise ValueError("subprotocols must be a list or a callable, not a string")
        if self.drain_code not in (1001, 1012):
            raise ValueError("drain_code must be 1001 or 1012")
        check_patterns(self.allowed_origins)
        check_networks(self.trusted_proxies)
        if not isinstance(self.compression, (bool, Compression)):
            raise ValueError("compression must be True, False or a Compression")
        for field in fields(self):
            _check_number(field, getattr(self, field.name))

    @classmethod
    def from_environment(
        cls, settings: Mapping[str, Any], environment: Mapping[str, str] = os.environ
    ) -> "Options":
        """Make options of `settings`, and of WSMIDDLEWARE_* for what they leave out.

        WSMIDDLEWARE_MAX_MESSAGE_SIZE=65536 sets `max_message_size`, and so on; lists
        are separated by commas, "none" is None. Raises ValueError for a value that
        makes no sense.
        """
        values = dict(settings)
        for field in fields(cls):
            text = environment.get(PREFIX + field.name.upper())
            if text is not None and field.name not in settings:
                values[field.name] = _parse(field, text)
        return cls(**values)


def _kinds(field: Any) -> tuple[Any, ...]:
    is_union = get_origin(field.type) in (Union, UnionType)
    return get_args(field.type) if is_union else (field.type,)


def _check_number(field: Any, value: Any) -> None:
    kinds = _kinds(field)
    if not {int, float} & set(kinds) or (value is None and NoneType in kinds):
        return
    numbers = (int, float) if float in kinds else (int,)
    if not isinstance(value, numbers) or isinstance(value, bool):
        raise ValueError(f"{field.name} must be a number, not {value!r}")
    if not value >= 0:  # nor is "not a number"
        raise ValueError(f"{field.name} must not be negative")
    if value == 0 and float in kinds and NoneType in kinds:
        raise ValueError(f"{field.name} must not be 0; None switches it off")


def _parse(field: Any, text: str) -> Any:
    kinds = _kinds(field)
    try:
        if text.lower() == "none" and NoneType in kinds:
            return None
        for kind in (bool, int, float):
            if kind in kinds:
                return SWITCH[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        name = PREFIX + field.name.upper()
        raise ValueError(f"{name}={text!r} is not a valid {field.name}") from None
    if str in kinds and field.name != "allowed_origins":
        return text
    return [part.strip() for part in text.split(",") if part.strip()]
