# cython: annotation_typing=False, nonecheck=True
"""The one interface of every protocol generation: octets in, events out.

A protocol does no I/O and never answers by itself: `receive_data` returns what the
peer said, `send_*` return the octets to send, and whoever owns the socket replies.
`receive_data` never raises for octets from the network: a fault of the peer is the
last event, `Fail`.

The closing handshake (RFC 6455, section 7.1) is a table of states, `TRANSITIONS`::

    OPEN --sent--> CLOSE_SENT --received--> CLOSED
    OPEN --received--> CLOSE_RECEIVED --sent--> CLOSED
"""

from typing import Any

from wsmiddleware.events import Event
from wsmiddleware.exceptions import ConnectionClosed

__all__ = [
    "CLOSED",
    "CLOSE_RECEIVED",
    "CLOSE_SENT",
    "CONNECTING",
    "OPEN",
    "TRANSITIONS",
    "Protocol",
]

# States
CONNECTING = 0
OPEN = 1
CLOSE_SENT = 2
CLOSE_RECEIVED = 3
CLOSED = 4

# What moves a protocol from one state to the next
SENT = "a close was sent"
RECEIVED = "a close was received"
FAILED = "the connection failed"

TRANSITIONS = {
    (CONNECTING, SENT): CLOSED,
    (CONNECTING, FAILED): CLOSED,
    (OPEN, SENT): CLOSE_SENT,
    (OPEN, RECEIVED): CLOSE_RECEIVED,
    (OPEN, FAILED): CLOSE_RECEIVED,
    (CLOSE_SENT, RECEIVED): CLOSED,
    (CLOSE_SENT, FAILED): CLOSED,
    (CLOSE_RECEIVED, SENT): CLOSED,
}


class Protocol:
    """Be the common part of every protocol.

    `version` is its name in the API ("55", "76", "7", "8" or "13"), `subprotocol`
    what was agreed or None, `state` one of the constants of this module, `has_ping`
    whether the generation knows ping frames.
    """

    version: str
    subprotocol: str | None
    state: int
    has_ping: bool

    def receive_data(self, data: bytes) -> list[Event]:
        """Take octets from the peer and return what they say, in order."""
        raise NotImplementedError

    def send_text(self, text: str) -> bytes:
        """Return the octets of a text message.

        Raises ConnectionClosed once a close was sent, UnicodeEncodeError for lone
        surrogates.
        """
        raise NotImplementedError

    def send_binary(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the octets of a binary message.

        Raises ConnectionClosed once a close was sent, TypeError when the generation
        carries text only.
        """
        raise NotImplementedError

    def send_shared(self, message: str | bytes, encoded: dict[Any, bytes]) -> bytes:
        """Return the octets of a message that goes to other connections as well.

        `encoded` holds the octets for each wire format that has had its turn. Raises
        what `send_text` and `send_binary` raise.
        """
        raise NotImplementedError

    def send_ping(self, payload: bytes = b"") -> bytes:
        """Return the octets of a ping, none where `has_ping` is false."""
        raise NotImplementedError

    def send_pong(self, payload: bytes = b"") -> bytes:
        """Return the octets of a pong, none where `has_ping` is false."""
        raise NotImplementedError

    def send_close(self, code: int | None = 1000, reason: str = "") -> bytes:
        """Return the octets that start or answer the closing handshake.

        There are none when a close was sent before, or the generation has none.
        Raises ValueError for a code or a reason that may not be sent.
        """
        raise NotImplementedError

    def _move(self, what: str) -> None:
        self.state = TRANSITIONS[self.state, what]

    def _require_open(self) -> None:
        # 5.5.1: "The application MUST NOT send any more data frames after sending a
        # Close frame."
        if self.state != OPEN and self.state != CLOSE_RECEIVED:
            raise ConnectionClosed(1006, "the connection is closing")
