"""What goes wrong on the caller's side, or once a connection is gone.

The peer's faults are not here: they are events (see `wsmiddleware.events.Fail`).
"""

from collections.abc import Sequence

__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "HandshakeError",
    "InvalidURL",
    "WebSocketError",
]


class WebSocketError(Exception):
    """Be the base of every exception that this package raises."""


class ConnectionClosed(WebSocketError):
    """Say that a message cannot be sent: the connection is closed or closing.

    `code` and `reason` are those of the close (RFC 6455, section 7.1.5 and 7.1.6).
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"connection closed with code {self.code}{reason}"


class HandshakeError(WebSocketError):
    """Say why an opening handshake failed, with the answer as far as it came.

    `status` is the answer's HTTP status or None; `headers` its fields as
    `(name, value)` pairs; `body` the start of its body in bytes.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)
        self.body = body


class InvalidURL(WebSocketError, ValueError):
    """Say that a string is not a ws or wss URL, and which rule it breaks."""


class ConcurrencyError(WebSocketError, RuntimeError):
    """Say that two callers do at once what only one may, such as receiving."""
