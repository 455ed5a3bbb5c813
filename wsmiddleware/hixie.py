"""Draft-hixie-thewebsocketprotocol-55, sections 4.2 and 5.3, and draft 76.

Both carry text only, between a 00 and an FF octet. Frames of other types are read
and discarded; draft 76 gives one of them, `FF 00`, a meaning: closing.

Draft 76's server also finds the last eight octets of the client's handshake (key3)
at the head of its input, which is why its protocol object, not the HTTP server,
reads them.
"""

from collections.abc import Callable
from typing import Any

from wsmiddleware.events import ChallengeResponse, Close, CloseCode, Event, Fail
from wsmiddleware.protocol import (
    CLOSE_RECEIVED,
    CLOSE_SENT,
    CLOSED,
    CONNECTING,
    FAILED,
    OPEN,
    RECEIVED,
    SENT,
    Protocol,
)

__all__ = ["Hixie55", "Hixie76"]

MAX_MESSAGE_SIZE = 1 << 20
KEY3_SIZE = 8

READ_TYPE = 0
READ_TEXT = 1
READ_DISCARDED_TEXT = 2
READ_LENGTH = 3
READ_DISCARDED_DATA = 4


class Hixie55(Protocol):
    """Speak draft 55 after its opening handshake.

    `max_message_size` bounds, in bytes, what a frame may hold or claim to hold; a
    larger one fails the connection (4.2: "If the user agent is faced with content
    that is too large to be handled appropriately, then it must fail the Web Socket
    connection").
    """

    def __init__(
        self,
        *,
        client: bool,
        version: str = "55",
        max_message_size: int = MAX_MESSAGE_SIZE,
        subprotocol: str | None = None,
    ) -> None:
        self.version = version
        self.subprotocol = subprotocol
        self.state = OPEN
        self.has_ping = False
        self._client = client
        self._max_message_size = max_message_size
        self._reading = READ_TYPE
        self._frame_type = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._length = 0

    # From the peer

    def receive_data(self, data: bytes) -> list[Event]:
        """Take octets from the peer and return what they say, in order."""
        events: list[Event] = []
        position = 0
        while position < len(data) and self.state < CLOSE_RECEIVED:
            if self._reading == READ_TYPE:
                position = self._read_type(data, position)
            elif self._reading == READ_LENGTH:
                position = self._read_length(data, position, events)
            elif self._reading == READ_DISCARDED_DATA:
                position = self._discard_data(data, position)
            else:
                position = self._read_text(data, position, events)
        return events

    def _read_type(self, data: bytes, position: int) -> int:
        self._frame_type = data[position]
        self._size = 0
        self._length = 0
        # 4.2: "If the high-order bit of the /frame type/ byte is set"
        if self._frame_type >= 0x80:
            self._reading = READ_LENGTH
        # 4.2: "If /frame type/ is 0x00, then *a message has been received* with text
        # /data/.  Otherwise, discard the data."
        elif self._frame_type == 0x00:
            self._reading = READ_TEXT
        else:
            self._reading = READ_DISCARDED_TEXT
        return position + 1

    def _read_text(self, data: bytes, position: int, events: list[Event]) -> int:
        end = data.find(b"\xff", position)
        stop = len(data) if end < 0 else end
        self._size += stop - position
        if self._size > self._max_message_size:
            self._fail_size(self._size, events)
        elif self._reading == READ_TEXT:
            self._add_text(data[position:stop], end >= 0, events)
        if end < 0:
            return stop
        self._reading = READ_TYPE
        return end + 1

    def _add_text(self, piece: bytes, ended: bool, events: list[Event]) -> None:
        if not ended:
            self._keep(piece)
            return
        if self._pieces:
            self._pieces.append(piece)
            piece = b"".join(self._pieces)
            self._pieces = []
        # 4.4: "any bytes or sequences of bytes that are not valid UTF-8 sequences
        # must be interpreted as a U+FFFD REPLACEMENT CHARACTER."
        events.append(piece.decode("utf-8", "replace"))

    def _keep(self, piece: bytes) -> None:
        # Pieces of equal size are merged two by two: what is held stays close to what
        # was received, in time proportional to n log n.
        self._pieces.append(piece)
        while len(self._pieces) > 1 and len(self._pieces[-2]) <= len(self._pieces[-1]):
            last = self._pieces.pop()
            self._pieces[-1] += last

    def _read_length(self, data: bytes, position: int, events: list[Event]) -> int:
        # 4.2: "Multiply /length/ by 128, add /b_v/ to that result, and store the
        # final result in /length/."
        octet = data[position]
        self._length = self._length * 128 + (octet & 0x7F)
        if self._length > self._max_message_size:
            self._fail_size(self._length, events)
        elif octet < 0x80:
            self._reading = READ_DISCARDED_DATA if self._length else READ_TYPE
            self._end_length(events)
        return position + 1

    def _end_length(self, events: list[Event]) -> None:
        """Act on a frame whose length is known; draft 55 discards them all."""

    def _discard_data(self, data: bytes, position: int) -> int:
        skipped = min(self._length, len(data) - position)
        self._length -= skipped
        if not self._length:
            self._reading = READ_TYPE
        return position + skipped

    def _fail_size(self, size: int, events: list[Event]) -> None:
        self._move(FAILED)
        self._pieces = []
        reason = f"frame of {size} bytes, the limit is {self._max_message_size}"
        events.append(Fail(CloseCode.MESSAGE_TOO_BIG.value, reason))

    # To the peer

    def send_text(self, text: str) -> bytes:
        """Return the octets of a text message."""
        self._require_open()
        # 5.3: "Send a 0x00 byte", "Encode /data/ using UTF-8", "Send a 0xFF byte".
        # UTF-8 has no FF octet, so none can end the message early.
        return b"\x00" + text.encode() + b"\xff"

    def send_binary(self, data: bytes | bytearray | memoryview) -> bytes:
        """Raise TypeError: these drafts carry text only."""
        raise TypeError(f"version {self.version} carries text only, send a str")

    def send_shared(self, message: str | bytes, encoded: dict[Any, bytes]) -> bytes:
        """Return the octets of a message that goes to other connections as well."""
        if not isinstance(message, str):
            return self.send_binary(message)
        self._require_open()
        octets = encoded.get("hixie")
        if octets is None:
            octets = encoded["hixie"] = self.send_text(message)
        return octets

    def send_ping(self, payload: bytes = b"") -> bytes:
        """Return nothing: there is no ping."""
        return b""

    def send_pong(self, payload: bytes = b"") -> bytes:
        """Return nothing: there is no pong."""
        return b""

    def send_close(self, code: int | None = 1000, reason: str = "") -> bytes:
        """Return the octets that start or answer the closing.

        6: "either the user agent or the server closes the TCP/IP connection.  There
        is no closing handshake."
        """
        if self.state == CLOSE_SENT or self.state == CLOSED:
            return b""
        self.state = CLOSED
        return b""


class Hixie76(Hixie55):
    """Speak draft 76, which is hybi-00.

    A server gives `respond`, which makes the 16 octets of the challenge's response
    out of key3; until key3 has come, the state is CONNECTING.
    """

    def __init__(
        self,
        *,
        client: bool,
        max_message_size: int = MAX_MESSAGE_SIZE,
        subprotocol: str | None = None,
        respond: Callable[[bytes], bytes] | None = None,
    ) -> None:
        super().__init__(
            client=client,
            version="76",
            max_message_size=max_message_size,
            subprotocol=subprotocol,
        )
        self._respond = respond
        self._key3 = b""
        if respond is not None:
            self.state = CONNECTING

    def receive_data(self, data: bytes) -> list[Event]:
        """Take octets from the peer: key3 first at a server, then frames."""
        if self._respond is None:
            return super().receive_data(data)
        missing = KEY3_SIZE - len(self._key3)
        self._key3 += data[:missing]
        if len(self._key3) < KEY3_SIZE:
            return []
        response: Event = ChallengeResponse(self._respond(self._key3))
        self._respond = None
        if self.state == CONNECTING:
            self.state = OPEN
        return [response, *super().receive_data(data[missing:])]

    def _end_length(self, events: list[Event]) -> None:
        # "a side that wants to close sends FF 00": frame type FF, length 0
        if self._frame_type == 0xFF and self._reading == READ_TYPE:
            self._move(RECEIVED)
            events.append(Close(CloseCode.NO_STATUS_RECEIVED.value, ""))

    def send_close(self, code: int | None = 1000, reason: str = "") -> bytes:
        """Return `FF 00`, which starts or answers the closing; nothing the second time.

        There is no code and no reason on the wire.
        """
        if self.state == CLOSE_SENT or self.state == CLOSED:
            return b""
        was_connecting = self.state == CONNECTING
        self._move(SENT)
        # There are no frames before the challenge is answered.
        return b"" if was_connecting else b"\xff\x00"
