# cython: annotation_typing=False, nonecheck=True
"""From octets to frames: RFC 6455, section 5.2, for either role.

`FrameReader` makes frames and nothing else; messages, UTF-8 and the close are
`wsmiddleware.rfc6455`'s. A data frame's payload is handed on in the pieces in which
it arrives, so that nothing waits for a frame that claims to be long; a control
frame's payload is handed on whole. The four states are the boxes of the figure in
section 5.2.

This is the hot loop. It runs as Python, and compiled by Cython with the types of
`reader.pxd`: so no generators, no closures, integers for states, few calls.
"""

from wsmiddleware.masking import mask_part, mask_text

__all__ = ["FAULT", "NEED_DATA", "PIECE", "WHOLE", "FrameReader"]

# What `FrameReader.read` returns
NEED_DATA = 0
PIECE = 1
FAULT = 2
WHOLE = 3

READ_HEADER = 0
READ_LENGTH = 1
READ_MASK = 2
READ_PAYLOAD = 3


def find_fault(first: int, rsv1_allowed: bool) -> str:
    """Return the rule that the first octet of a frame breaks, "" for none."""
    opcode = first & 0x0F
    # 5.2: RSV "MUST be 0 unless an extension is negotiated that defines meanings
    # for non-zero values."
    if first & 0x30 or (first & 0x40 and not rsv1_allowed):
        return "reserved bits are set"
    # 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the
    # WebSocket Connection_."
    if 2 < opcode < 8 or opcode > 10:
        return f"unknown opcode {opcode:#x}"
    # 5.5: "All control frames [...] MUST NOT be fragmented."
    if opcode >= 8 and first < 0x80:
        return "fragmented control frame"
    # RFC 7692, 6.1: "An endpoint MUST NOT set the 'Per-Message Compressed' bit of
    # control frames and non-first fragments of a data message."
    if opcode >= 8 and first & 0x40:
        return "reserved bits are set"
    return ""


def kind_of(first: int, rsv1_allowed: bool) -> int:
    """Return what a frame is when all of it is there, WHOLE or PIECE; 0 for a fault."""
    if find_fault(first, rsv1_allowed):
        return 0
    # A final frame of text or of binary data, not compressed
    return WHOLE if first in (0x81, 0x82) else PIECE


# For each first octet, without and with RSV1
_KINDS = [bytes([kind_of(n, allowed) for n in range(256)]) for allowed in (False, True)]


class FrameReader:
    """Cut a stream of octets into frames.

    `masked` says whether the peer must mask (it is a client) or must not (it is a
    server). `rsv1_allowed` is true when an extension that defines RSV1 was agreed.
    """

    __slots__ = (
        "_buffer",
        "_done",
        "_end",
        "_key_at",
        "_keys",
        "_kind",
        "_kinds",
        "_masked",
        "_remaining",
        "_rsv1_allowed",
        "_start",
        "_state",
        "ended",
        "fault",
        "fin",
        "length",
        "opcode",
        "rsv1",
        "started",
    )

    def __init__(self, masked: bool, rsv1_allowed: bool = False) -> None:
        self._masked = masked
        self._rsv1_allowed = rsv1_allowed
        self._kinds = _KINDS[rsv1_allowed]
        self._state = READ_HEADER
        # What is read is `_buffer` up to `_end`; the piece at hand begins at `_start`.
        self._buffer = b""
        self._start = 0
        self._end = 0
        # The masking key is where it arrived: four octets of `_keys` from `_key_at` on.
        self._keys = b""
        self._key_at = 0
        # The frame at hand, and how much of its payload came before and after the piece
        self._kind = PIECE
        self._done = 0
        self._remaining = 0
        self.fin = False
        self.rsv1 = False
        self.opcode = 0
        self.length = 0
        self.started = False
        self.ended = False
        self.fault = ""

    def feed(self, data: bytes) -> None:
        """Add octets from the peer."""
        if self._end < len(self._buffer):
            data = self._buffer[self._end :] + data
        self._buffer = data
        self._start = self._end = 0

    def forget(self) -> None:
        """Let go of the octets that were handed on, while nothing else arrives."""
        self._buffer = self._buffer[self._end :]
        self._start = self._end = 0
        if self._masked and self._state == READ_PAYLOAD:
            self._keys = self._keys[self._key_at : self._key_at + 4]
        else:
            self._keys = b""
        self._key_at = 0

    def read(self) -> int:
        """Go on to the next piece of a frame: WHOLE, PIECE, NEED_DATA or FAULT.

        A piece has the attributes `started` (it is the frame's first), `ended` (it is
        its last), and the frame's `fin`, `rsv1`, `opcode` and `length`; `payload` and
        `text` return it until the next call. WHOLE is a piece that is all of a message.
        After FAULT, `fault` is the rule that the peer broke.
        """
        buffer = self._buffer
        available = len(buffer)
        position = self._end
        self._start = position
        self.started = False
        if self._state == READ_HEADER:
            if available - position < 2:
                return NEED_DATA
            first = buffer[position]
            second = buffer[position + 1]
            self._kind = self._kinds[first]
            self.length = second & 0x7F
            if (
                self._kind == 0
                or (second >= 0x80) != self._masked
                or (self.length > 125 and first & 0x08)
            ):
                return self._refuse_header(first)
            self.fin = first >= 0x80
            self.rsv1 = (first & 0x40) != 0
            self.opcode = first & 0x0F
            self._end = position = position + 2
            self._state = READ_LENGTH if self.length >= 126 else READ_MASK
        if self._state == READ_LENGTH:
            if available - position < (2 if self.length == 126 else 8):
                return NEED_DATA
            if not self._read_length(position):
                return FAULT
            position = self._end
        if self._state == READ_MASK:
            if self._masked:
                if available - position < 4:
                    return NEED_DATA
                self._keys = buffer
                self._key_at = position
                self._end = position = position + 4
            self._state = READ_PAYLOAD
            self._remaining = self.length
            self.started = True
        if available - position >= self._remaining:
            return self._cut(position, position + self._remaining)
        # A control frame waits until it is whole, and is at most 125 octets.
        if self.opcode >= 8 or (position == available and not self.started):
            return NEED_DATA
        return self._cut(position, available)

    def _cut(self, start: int, end: int) -> int:
        self._start = start
        self._end = end
        self._done = self.length - self._remaining
        self._remaining -= end - start
        if self._remaining:
            self.ended = False
            return PIECE
        self.ended = True
        self._state = READ_HEADER
        return self._kind if self.started else PIECE

    def _refuse_header(self, first: int) -> int:
        self.fault = find_fault(first, self._rsv1_allowed)
        # 5.5: "All control frames MUST have a payload length of 125 bytes or less"
        if not self.fault and first & 0x08 and self.length > 125:
            self.fault = "control frame longer than 125 bytes"
        # 5.1: "The server MUST close the connection upon receiving a frame that is
        # not masked." and "A client MUST close a connection if it detects a masked
        # frame."
        if not self.fault:
            self.fault = "incorrect masking"
        return FAULT

    def _read_length(self, position: int) -> bool:
        size = 2 if self.length == 126 else 8
        octets = self._buffer[position : position + size]
        # 5.2: "the most significant bit MUST be 0"
        if octets[0] >= 0x80 and size == 8:
            self.fault = "64-bit length with its top bit set"
            return False
        self.length = int.from_bytes(octets, "big")
        # 5.2: "the minimal number of bytes MUST be used to encode the length"
        if self.length < (126 if size == 2 else 65536):
            self.fault = "length not in its minimal encoding"
            return False
        self._end = position + size
        self._state = READ_MASK
        return True

    def payload(self) -> bytes:
        """Return the octets of the piece, unmasked."""
        if not self._masked:
            return self._buffer[self._start : self._end]
        return mask_part(
            self._buffer, self._start, self._end, self._keys, self._key_at, self._done
        )

    def text(self) -> str:
        """Return a piece that is WHOLE as text; raises UnicodeDecodeError."""
        if not self._masked:
            return self._buffer[self._start : self._end].decode()
        return mask_text(self._buffer, self._start, self._end, self._keys, self._key_at)
