# cython: annotation_typing=False, nonecheck=True
"""From octets to frames: RFC 6455, section 5.2, for either role.

`FrameReader` makes frames and nothing else; messages, UTF-8 and the close are
`wsmiddleware.rfc6455`'s. A data frame's payload is handed on in the pieces in which
it arrives, unmasked, so that nothing waits for a frame that claims to be long; a
control frame's payload is handed on whole. The four states are the boxes of the
figure in section 5.2.

This is the hot loop. It runs as Python, and compiled by Cython with the types of
`reader.pxd`: so no generators, no closures, integers for states.
"""

from wsmiddleware.masking import mask_part

__all__ = ["FAULT", "NEED_DATA", "PIECE", "FrameReader"]

# What `FrameReader.read` returns
NEED_DATA = 0
PIECE = 1
FAULT = 2

READ_HEADER = 0
READ_LENGTH = 1
READ_MASK = 2
READ_PAYLOAD = 3


class FrameReader:
    """Cut a stream of octets into frames.

    `masked` says whether the peer must mask (it is a client) or must not (it is a
    server). `rsv1_allowed` is true when an extension that defines RSV1 was agreed.
    """

    __slots__ = (
        "_buffer",
        "_declared",
        "_key_at",
        "_keys",
        "_masked",
        "_position",
        "_remaining",
        "_rsv1_allowed",
        "_state",
        "ended",
        "fault",
        "fin",
        "length",
        "opcode",
        "payload",
        "rsv1",
        "started",
    )

    def __init__(self, masked: bool, rsv1_allowed: bool = False) -> None:
        self._masked = masked
        self._rsv1_allowed = rsv1_allowed
        self._buffer = b""
        self._position = 0
        self._state = READ_HEADER
        self._declared = 0
        self._remaining = 0
        # The masking key is where it arrived: four octets of `_keys` from `_key_at` on.
        self._keys = b""
        self._key_at = 0
        # The frame at hand
        self.fin = False
        self.rsv1 = False
        self.opcode = 0
        self.length = 0
        # The piece of it at hand
        self.payload = b""
        self.started = False
        self.ended = False
        self.fault = ""

    def feed(self, data: bytes) -> None:
        """Add octets from the peer."""
        if self._position < len(self._buffer):
            data = self._buffer[self._position :] + data
        self._buffer = data
        self._position = 0

    def forget(self) -> None:
        """Let go of the octets that were handed on, while nothing else arrives."""
        if self._position == len(self._buffer):
            self._buffer = b""
        else:
            self._buffer = self._buffer[self._position :]
        self._position = 0
        self.payload = b""
        if self._state != READ_PAYLOAD:
            self._keys = b""
        elif self._masked:
            self._turn_key(0)

    def read(self) -> int:
        """Go on to the next piece of a frame: PIECE, NEED_DATA or FAULT.

        A piece is in the attributes: `payload`, whether it is the frame's first
        (`started`) and its last (`ended`), and the frame's `fin`, `rsv1`, `opcode`
        and `length`. After FAULT, `fault` is the rule that the peer broke.
        """
        self.started = False
        while self._state != READ_PAYLOAD:
            if self._state == READ_HEADER:
                if len(self._buffer) - self._position < 2:
                    return NEED_DATA
                if not self._read_header():
                    return FAULT
            elif self._state == READ_LENGTH:
                if len(self._buffer) - self._position < self._length_size():
                    return NEED_DATA
                if not self._read_length():
                    return FAULT
            else:
                if len(self._buffer) - self._position < 4:
                    return NEED_DATA
                self._keys = self._buffer
                self._key_at = self._position
                self._position += 4
                self._start_payload()
        return self._read_payload()

    def _read_header(self) -> bool:
        first = self._buffer[self._position]
        second = self._buffer[self._position + 1]
        self._position += 2
        self.fin = first >= 0x80
        self.rsv1 = (first & 0x40) != 0
        self.opcode = first & 0x0F
        self._declared = second & 0x7F
        # 5.2: RSV "MUST be 0 unless an extension is negotiated that defines meanings
        # for non-zero values."
        if first & 0x30 or (self.rsv1 and not self._rsv1_allowed):
            self.fault = "reserved bits are set"
        # 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail
        # the WebSocket Connection_."
        elif 2 < self.opcode < 8 or self.opcode > 10:
            self.fault = f"unknown opcode {self.opcode:#x}"
        elif self.opcode >= 8 and not self._is_control_header_valid():
            pass
        # 5.1: "The server MUST close the connection upon receiving a frame that is
        # not masked." and "A client MUST close a connection if it detects a masked
        # frame."
        elif (second >= 0x80) != self._masked:
            self.fault = "incorrect masking"
        elif self._declared >= 126:
            self._state = READ_LENGTH
            return True
        else:
            self.length = self._declared
            self._read_mask_or_payload()
            return True
        return False

    def _is_control_header_valid(self) -> bool:
        # 5.5: "All control frames MUST have a payload length of 125 bytes or less
        # and MUST NOT be fragmented."
        if not self.fin:
            self.fault = "fragmented control frame"
        elif self._declared > 125:
            self.fault = "control frame longer than 125 bytes"
        elif self.rsv1:
            # RFC 7692, 6.1: "An endpoint MUST NOT set the 'Per-Message Compressed'
            # bit of control frames and non-first fragments of a data message."
            self.fault = "reserved bits are set"
        else:
            return True
        return False

    def _length_size(self) -> int:
        return 2 if self._declared == 126 else 8

    def _read_length(self) -> bool:
        size = self._length_size()
        octets = self._buffer[self._position : self._position + size]
        # 5.2: "the most significant bit MUST be 0"
        if octets[0] >= 0x80 and size == 8:
            self.fault = "64-bit length with its top bit set"
            return False
        self._position += size
        self.length = int.from_bytes(octets, "big")
        # 5.2: "the minimal number of bytes MUST be used to encode the length"
        if self.length < (126 if size == 2 else 65536):
            self.fault = "length not in its minimal encoding"
            return False
        self._read_mask_or_payload()
        return True

    def _read_mask_or_payload(self) -> None:
        if self._masked:
            self._state = READ_MASK
        else:
            self._start_payload()

    def _start_payload(self) -> None:
        self._state = READ_PAYLOAD
        self._remaining = self.length
        self.started = True

    def _read_payload(self) -> int:
        start = self._position
        end = len(self._buffer)
        if end - start >= self._remaining:
            end = start + self._remaining
        elif self.opcode >= 8 or (end == start and not self.started):
            # A control frame waits until it is whole, and is at most 125 octets.
            return NEED_DATA
        if self._masked:
            self.payload = mask_part(self._buffer, self._keys, self._key_at, start, end)
        else:
            self.payload = self._buffer[start:end]
        self._position = end
        self._remaining -= end - start
        self.ended = self._remaining == 0
        if self.ended:
            self._state = READ_HEADER
        elif self._masked:
            self._turn_key((end - start) & 3)
        return PIECE

    def _turn_key(self, octets: int) -> None:
        key = self._keys[self._key_at : self._key_at + 4]
        self._keys = key[octets:] + key[:octets]
        self._key_at = 0
