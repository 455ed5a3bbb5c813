"""Frames of RFC 6455, section 5.2, as they are sent; close bodies both ways.

The other direction, from octets to frames, is `wsmiddleware.reader`.
"""

import os

from wsmiddleware.events import CloseCode
from wsmiddleware.masking import apply_mask

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "build_close_body",
    "build_frame",
    "build_masked_frame",
    "build_text_frame",
    "parse_close_body",
]

# Section 5.2, "Opcode"
CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

FIN = 0x80
RSV1 = 0x40
MASK = 0x80

MAX_REASON = 123  # 5.5: a control frame carries 125 octets, the code takes two


# The heads of short text messages, the most frequent frames by far
_TEXT_HEADS = [bytes((FIN | TEXT, size)) for size in range(126)]


def build_frame(first: int, payload: bytes) -> bytes:
    """Return an unmasked frame; `first` is its first octet (FIN, RSV1, opcode)."""
    size = len(payload)
    # 5.2: "the minimal number of bytes MUST be used to encode the length"
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def build_text_frame(text: str) -> bytes:
    """Return the unmasked frame of a whole text message."""
    payload = text.encode()
    if len(payload) < 126:
        return _TEXT_HEADS[len(payload)] + payload
    return build_frame(FIN | TEXT, payload)


class MaskingKeys:
    """Hand out masking keys, four octets each.

    5.3: "The masking key needs to be unpredictable; thus, the masking key MUST be
    derived from a strong source of entropy". They are fetched from the system
    256 at a time, because each fetch is a system call.
    """

    __slots__ = ("_octets", "_position")

    def __init__(self) -> None:
        self._octets = b""
        self._position = 0

    def next(self) -> bytes:
        """Return a new masking key."""
        if self._position == len(self._octets):
            self._octets = os.urandom(1024)
            self._position = 0
        self._position += 4
        return self._octets[self._position - 4 : self._position]


def build_masked_frame(first: int, payload: bytes, key: bytes) -> bytes:
    """Return a frame masked with `key`, as a client sends it."""
    size = len(payload)
    masked = key + apply_mask(payload, key)
    if size < 126:
        return bytes((first, MASK | size)) + masked
    if size < 65536:
        return bytes((first, MASK | 126)) + size.to_bytes(2, "big") + masked
    return bytes((first, MASK | 127)) + size.to_bytes(8, "big") + masked


def is_sendable(code: int) -> bool:
    """Tell whether a close frame may carry `code` (sections 7.4.1 and 7.4.2)."""
    # 7.4.1: 1005, 1006 and 1015 "MUST NOT be set as a status code in a Close control
    # frame by an endpoint"; 1004 is "Reserved"; 1016-2999 are not defined.
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def build_close_body(code: int | None, reason: str) -> bytes:
    """Return the body of a close frame; None is the empty body.

    Raises ValueError when the code may not be sent or the reason is too long.
    """
    if code is None:
        if reason:
            raise ValueError("a close reason needs a close code")
        return b""
    if not is_sendable(code):
        raise ValueError(f"close code {code} may not be sent, use 1000 or 3000 to 4999")
    octets = reason.encode()
    if len(octets) > MAX_REASON:
        raise ValueError(f"close reason longer than {MAX_REASON} bytes of UTF-8")
    return code.to_bytes(2, "big") + octets


def parse_close_body(body: bytes) -> tuple[int, str]:
    """Return the code and the reason of a close frame's body.

    Raises ValueError (with UnicodeDecodeError for the reason) for a bad body.
    """
    # 7.1.5: "If this Close control frame contains no status code, _The WebSocket
    # Connection Close Code_ is considered to be 1005."
    if not body:
        return CloseCode.NO_STATUS_RECEIVED.value, ""
    # 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte
    # unsigned integer"
    if len(body) == 1:
        raise ValueError("close frame with a body of one byte")
    code = int.from_bytes(body[:2], "big")
    if not is_sendable(code):
        raise ValueError(f"invalid close code {code}")
    return code, body[2:].decode()
