# cython: annotation_typing=False, nonecheck=True
"""RFC 6455, sections 5 to 7, with RFC 7692, for either role; hybi-07 to -12 as well.

The frames come from `wsmiddleware.reader`; here they become messages, and the rules
that span frames are kept: fragmentation (5.4), UTF-8 (8.1), the limits (10.4) and
the close (5.5.1, 7).
"""

from codecs import utf_8_decode
from typing import Any

from wsmiddleware.deflate import DeflateError, MessageTooBig, PerMessageDeflate
from wsmiddleware.events import Close, CloseCode, Event, Fail, Ping, Pong
from wsmiddleware.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MAX_REASON,
    PING,
    PONG,
    RSV1,
    TEXT,
    MaskingKeys,
    build_close_body,
    build_frame,
    build_masked_frame,
    build_text_frame,
    parse_close_body,
)
from wsmiddleware.protocol import (
    CLOSE_RECEIVED,
    CLOSE_SENT,
    CLOSED,
    FAILED,
    OPEN,
    RECEIVED,
    SENT,
    Protocol,
)
from wsmiddleware.reader import FAULT, NEED_DATA, WHOLE, FrameReader

__all__ = ["RFC6455"]

MAX_MESSAGE_SIZE = 1 << 20
MAX_FRAGMENTS = 1 << 17
# No frame is longer (5.2). Compiled, no number is larger.
UNLIMITED = (1 << 63) - 1
PIECES_PER_BLOCK = 1024
# What was read is let go at once if it is larger than this.
FORGETTABLE = 512

_MASKING_KEYS = MaskingKeys()


class PartialMessage:
    """Collect a message that arrives in pieces, in time linear in its size.

    Many small pieces are joined into blocks on the way, so that what is held stays
    close to what was received. Text is decoded, and so validated, as it arrives.
    """

    __slots__ = (
        "_blocks",
        "_pieces",
        "_undecoded",
        "compressed",
        "fragments",
        "text",
        "wire_size",
    )

    def __init__(self, text: bool, compressed: bool) -> None:
        self.text = text
        self.compressed = compressed
        self.fragments = 0
        self.wire_size = 0
        self._undecoded = b""
        self._pieces: list[Any] = []
        self._blocks: list[Any] = []

    def add(self, piece: bytes, final: bool) -> None:
        """Add a piece; raises UnicodeDecodeError at the first impossible octet."""
        if not self.text:
            self._pieces.append(piece)
        else:
            if self._undecoded:
                piece = self._undecoded + piece
            decoded, used = utf_8_decode(piece, "strict", final)
            self._undecoded = piece[used:]
            self._pieces.append(decoded)
            if len(self._undecoded) == 2:
                # Python's decoder waits for the third octet of a surrogate, which
                # cannot be right any more. No other start forbids an 80 here.
                utf_8_decode(self._undecoded + b"\x80")
        if len(self._pieces) == PIECES_PER_BLOCK:
            self._blocks.append(self._join(self._pieces))
            self._pieces.clear()

    def join(self) -> Any:
        """Return the whole message."""
        return self._join(self._blocks + self._pieces)

    def _join(self, pieces: list[Any]) -> Any:
        return "".join(pieces) if self.text else b"".join(pieces)


class RFC6455(Protocol):
    """Speak RFC 6455 after its opening handshake.

    `client` is this end's role. `max_message_size` (bytes, after decompression),
    `max_frame_size` (bytes on the wire, None for that of the message) and
    `max_fragments` (frames of a message) bound what is buffered: section 10.4.
    `deflate` is the agreed permessage-deflate, if any.
    """

    def __init__(
        self,
        *,
        client: bool,
        version: str = "13",
        max_message_size: int = MAX_MESSAGE_SIZE,
        max_frame_size: int | None = None,
        max_fragments: int = MAX_FRAGMENTS,
        deflate: PerMessageDeflate | None = None,
        subprotocol: str | None = None,
    ) -> None:
        self.version = version
        self.subprotocol = subprotocol
        self.state = OPEN
        self.has_ping = True
        self._client = client
        self._reader = FrameReader(not client, deflate is not None)
        self._deflate = deflate
        self._message: PartialMessage | None = None
        self._max_message_size = min(max_message_size, UNLIMITED)
        # A frame of the largest message, in the largest form that deflate gives it
        max_wire_size = max_message_size
        if deflate is not None:
            max_wire_size += max_message_size // 8 + 1024
        if max_frame_size is None:
            max_frame_size = max_wire_size
        self._max_wire_size = min(max_wire_size, UNLIMITED)
        self._max_frame_size = min(max_frame_size, UNLIMITED)
        self._max_whole = min(self._max_message_size, self._max_frame_size)
        self._max_fragments = min(max_fragments, UNLIMITED)

    # From the peer

    def receive_data(self, data: bytes) -> list[Event]:
        """Take octets from the peer and return what they say, in order."""
        events: list[Event] = []
        # 5.5.1: after a Close frame nothing more is read from the peer.
        if self.state >= CLOSE_RECEIVED:
            return events
        self._reader.feed(data)
        try:
            self._read_into(events)
        except UnicodeDecodeError:
            events.append(self._fail_utf8("text message"))
        if len(data) > FORGETTABLE:
            self._reader.forget()
        return events

    def _read_into(self, events: list[Event]) -> None:
        reader = self._reader
        event: Event | None
        while (result := reader.read()) != NEED_DATA:
            if (
                result == WHOLE
                and self._message is None
                and reader.length <= self._max_whole
            ):
                event = reader.text() if reader.opcode == TEXT else reader.payload()
            elif result == FAULT:
                event = self._fail(CloseCode.PROTOCOL_ERROR, reader.fault)
            elif reader.opcode < 8:
                event = self._read_piece()
            else:
                event = self._read_control()
            if event is not None:
                events.append(event)
                if self.state >= CLOSE_RECEIVED:
                    return

    def _read_piece(self) -> Event | None:
        if self._reader.started:
            failure = self._start_frame()
            if failure is not None:
                return failure
        return self._add_piece()

    def _start_frame(self) -> Fail | None:
        reader = self._reader
        message = self._message
        if reader.length > self._max_frame_size:
            return self._fail_size("frame", reader.length, self._max_frame_size)
        if message is None:
            # 5.4: a message starts with "an opcode other than 0"
            if reader.opcode == CONTINUATION:
                return self._fail(
                    CloseCode.PROTOCOL_ERROR, "continuation frame without a message"
                )
            message = PartialMessage(reader.opcode == TEXT, reader.rsv1)
            self._message = message
        # 5.4: "The fragments of one message MUST NOT be interleaved between the
        # fragments of another message"
        elif reader.opcode != CONTINUATION:
            return self._fail(
                CloseCode.PROTOCOL_ERROR, "new message inside a fragmented message"
            )
        # RFC 7692, 6.1: "An endpoint MUST NOT set the 'Per-Message Compressed' bit of
        # control frames and non-first fragments of a data message."
        elif reader.rsv1:
            return self._fail(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        message.fragments += 1
        if message.fragments > self._max_fragments:
            return self._fail(
                CloseCode.MESSAGE_TOO_BIG,
                f"message of more than {self._max_fragments} fragments",
            )
        message.wire_size += reader.length
        return self._check_size(message.wire_size, message.compressed)

    def _check_size(self, size: int, compressed: bool) -> Fail | None:
        limit = self._max_wire_size if compressed else self._max_message_size
        if size > limit:
            return self._fail_size("message", size, limit)
        return None

    def _add_piece(self) -> Event | None:
        reader = self._reader
        message = self._message
        assert message is not None
        piece = reader.payload()
        final = reader.ended and reader.fin
        try:
            if message.compressed:
                piece = self._decompress(piece, final)
            message.add(piece, final)
        except DeflateError as error:
            return self._fail(CloseCode.INVALID_PAYLOAD_DATA, str(error))
        except MessageTooBig as error:
            return self._fail(CloseCode.MESSAGE_TOO_BIG, str(error))
        if not final:
            return None
        self._message = None
        whole: str | bytes = message.join()
        return whole

    def _decompress(self, piece: bytes, final: bool) -> bytes:
        assert self._deflate is not None
        return self._deflate.decompress(
            piece, fin=final, max_size=self._max_message_size
        )

    def _read_control(self) -> Event:
        opcode = self._reader.opcode
        payload = self._reader.payload()
        if opcode == PING:
            return Ping(payload)
        if opcode == PONG:
            return Pong(payload)
        try:
            code, reason = parse_close_body(payload)
        except UnicodeDecodeError:
            return self._fail_utf8("close reason")
        except ValueError as error:
            return self._fail(CloseCode.PROTOCOL_ERROR, str(error))
        self._move(RECEIVED)
        return Close(code, reason)

    def _fail(self, code: int, reason: str) -> Fail:
        self._move(FAILED)
        self._message = None
        return Fail(int(code), reason[:MAX_REASON])

    def _fail_utf8(self, where: str) -> Fail:
        # 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that
        # the byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST
        # _Fail the WebSocket Connection_."
        return self._fail(CloseCode.INVALID_PAYLOAD_DATA, f"invalid UTF-8 in a {where}")

    def _fail_size(self, what: str, size: int, limit: int) -> Fail:
        return self._fail(
            CloseCode.MESSAGE_TOO_BIG, f"{what} of {size} bytes, the limit is {limit}"
        )

    # To the peer

    def send_text(self, text: str) -> bytes:
        """Return the octets of a text message."""
        if self._deflate is None and not self._client:
            if self.state != OPEN:
                self._require_open()
            return build_text_frame(text)
        return self._send_message(TEXT, text.encode())

    def send_binary(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the octets of a binary message."""
        # a memoryview takes no number, of which bytes would make so many zeros
        payload = data if type(data) is bytes else bytes(memoryview(data))
        return self._send_message(BINARY, payload)

    def send_shared(self, message: str | bytes, encoded: dict[Any, bytes]) -> bytes:
        """Return the octets of a message that goes to other connections as well."""
        self._require_open()
        if self._client:  # each frame has a masking key of its own
            if isinstance(message, str):
                return self.send_text(message)
            return self.send_binary(message)
        wire_format = None if self._deflate is None else self._deflate.wire_format
        octets = encoded.get(wire_format)
        if octets is None:
            octets = encoded[wire_format] = self._encode_shared(message)
        if self._deflate is not None and octets[0] & RSV1:
            # The peer will have seen what our compressor has not.
            self._deflate.forget_context()
        return octets

    def _encode_shared(self, message: str | bytes) -> bytes:
        first = FIN | (TEXT if isinstance(message, str) else BINARY)
        payload = message.encode() if isinstance(message, str) else message
        if self._deflate is not None:
            compressed = self._deflate.compress_alone(payload)
            if compressed is not None:
                first |= RSV1
                payload = compressed
        return self._build(first, payload)

    def _send_message(self, opcode: int, payload: bytes) -> bytes:
        self._require_open()
        first = FIN | opcode
        if self._deflate is not None:
            compressed = self._deflate.compress(payload)
            if compressed is not None:
                first |= RSV1
                payload = compressed
        return self._build(first, payload)

    def send_ping(self, payload: bytes = b"") -> bytes:
        """Return the octets of a ping; nothing once a close was sent."""
        return self._send_control(PING, payload)

    def send_pong(self, payload: bytes = b"") -> bytes:
        """Return the octets of a pong; nothing once the closing handshake is over."""
        return self._send_control(PONG, payload)

    def _send_control(self, opcode: int, payload: bytes) -> bytes:
        if len(payload) > 125:
            raise ValueError("control frame longer than 125 bytes")
        # 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in
        # response, unless it already received a Close frame."
        if self.state == CLOSED or (self.state == CLOSE_SENT and opcode == PING):
            return b""
        return self._build(FIN | opcode, payload)

    def send_close(self, code: int | None = 1000, reason: str = "") -> bytes:
        """Return the octets of the close frame; nothing once one was sent."""
        body = build_close_body(code, reason)
        if self.state == CLOSE_SENT or self.state == CLOSED:
            return b""
        self._move(SENT)
        return self._build(FIN | CLOSE, body)

    def _build(self, first: int, payload: bytes) -> bytes:
        # 5.1: "a client MUST mask all frames that it sends to the server" and "A
        # server MUST NOT mask any frames that it sends to the client."
        if self._client:
            return build_masked_frame(first, payload, _MASKING_KEYS.next())
        return build_frame(first, payload)
