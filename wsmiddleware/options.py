"""The settings of a server's WebSockets, with their defaults, in one place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from wsmiddleware.deflate import Compression
from wsmiddleware.origins import AllowedOrigins, check_patterns

__all__ = ["VERSIONS", "Options", "Subprotocols"]

VERSIONS = ("13", "8", "7", "76", "55")

Subprotocols: TypeAlias = Sequence[str] | Callable[[Sequence[str]], str | None]

ACCEPT = ("first-use", "immediately")
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
        check_patterns(self.allowed_origins)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{field.name} must not be negative")
