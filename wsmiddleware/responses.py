"""An HTTP answer, as far as a client of WebSockets reads one: its head, and the start
of its body when it is a refusal (RFC 7230, section 3). No I/O.

The rule: an answer that is not HTTP, or has no end, raises HandshakeError. The limits
bound what is kept of it.
"""

import re
from dataclasses import dataclass

from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.headers import combine, has_token, is_field_value, is_token

__all__ = ["Header", "Limits", "Response"]

Header = tuple[str, str]

# RFC 7230, section 3.1.2: HTTP-version SP status-code SP reason-phrase; some servers
# leave the last space out with the phrase.
_STATUS_LINE = re.compile(r"HTTP/1\.(?P<minor>[0-9]) (?P<status>[1-9][0-9]{2})(?: .*)?")

# 100 to 199 but for 101
_INTERIM = frozenset(range(100, 200)) - {101}

# RFC 7230, section 4.1: chunk-size [ chunk-ext ] CRLF
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")


@dataclass(frozen=True)
class Limits:
    """Bound what is kept of an answer: sizes in bytes, and a number of fields."""

    header_size: int = 64 * 1024
    header_fields: int = 256
    body_size: int = 4096


class Response:
    """Read one answer: feed it until `complete`; `refusal` makes an error of it.

    `status` and `headers` are there as soon as `has_head`. What was fed behind the
    head is `rest`: the body, or after a 101 or in a tunnel something else.
    """

    def __init__(self, limits: Limits) -> None:
        self.status: int | None = None
        self.headers: list[Header] = []
        self.has_head = False
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._size = 0

    @property
    def rest(self) -> bytes:
        """Return what was fed behind the head."""
        return bytes(self._buffer)

    @property
    def complete(self) -> bool:
        """Tell whether the body is there, or as much of it as is kept."""
        return self.has_head and self._read_body()[1]

    def feed(self, data: bytes) -> None:
        """Take octets; raises HandshakeError for what is not HTTP."""
        self._buffer += data
        if not self.has_head:
            self._read_head()

    def pass_over_interim(self) -> None:
        """Forget answers that only announce another, and read the one behind them."""
        # RFC 7231, section 6.2: "A client MUST be able to parse one or more 1xx
        # responses received prior to a final response". To 101 there is no other.
        while self.has_head and self.status in _INTERIM:
            self.has_head = False
            self._read_head()

    def values(self, name: str) -> list[str]:
        """Return the values of the headers of a name, which is in lowercase."""
        return [value for key, value in self.headers if key.lower() == name]

    def value(self, name: str) -> str:
        """Return the values of the headers of a name as one, empty for none."""
        return combine(self.values(name))

    def error(self, message: str) -> HandshakeError:
        """Return an error about this answer."""
        return HandshakeError(message, self.status, self.headers)

    def refusal(self, message: str) -> HandshakeError:
        """Return an error about this answer that has its body, as far as it came."""
        return HandshakeError(message, self.status, self.headers, self._read_body()[0])

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        size = end + 4 if end >= 0 else len(self._buffer)
        if self._size + size > self._limits.header_size:
            raise self.error(f"headers longer than {self._limits.header_size} bytes")
        self._scanned = size
        if end < 0:
            return
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[:size]
        self._scanned = 0
        self._size += size
        self.read_status_line(lines[0])
        self.headers = self._read_fields(lines[1:])
        self.has_head = True

    def read_status_line(self, line: str) -> int:
        """Read a status line and return its status."""
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise self.error(f"status line is not HTTP's: {line[:80]!r}")
        self.status = int(match["status"])
        # RFC 6455, section 1.7: the handshake "is interpreted by HTTP servers as an
        # Upgrade request", which HTTP/1.0 does not have.
        if self.status == 101 and match["minor"] == "0":
            raise self.error("status 101 in an answer of HTTP/1.0")
        return self.status

    def _read_fields(self, lines: list[str]) -> list[Header]:
        if len(lines) > self._limits.header_fields:
            raise self.error(f"more than {self._limits.header_fields} headers")
        fields: list[Header] = []
        for line in lines:
            name, colon, value = line.partition(":")
            if fields and line.startswith((" ", "\t")):
                # RFC 7230, section 3.2.4: a folded line continues the value; each
                # fold becomes a space.
                name, start = fields.pop()
                value = f"{start} {line.strip()}"
            elif not colon or not is_token(name):
                raise self.error(f"line is not a header: {line[:80]!r}")
            value = value.strip(" \t")
            if not is_field_value(value):
                raise self.error(f"{name} header has control characters")
            fields.append((name, value))
        return fields

    def _read_body(self) -> tuple[bytes, bool]:
        # Return the start of the body, and whether it is all of it, or all that is
        # kept. RFC 7230, section 3.3.3, has how long a body is.
        raw = self.rest
        limit = self._limits.body_size
        length = self.value("content-length")
        complete = False
        if self.status in (204, 304) or f"{self.status}".startswith("1"):
            raw, complete = b"", True
        elif has_token(self.value("transfer-encoding"), "chunked"):
            raw, complete = _dechunk(raw)
        elif re.fullmatch("[0-9]{1,18}", length):
            complete = len(raw) >= int(length)
            raw = raw[: int(length)]
        full = len(raw) >= limit or len(self._buffer) >= 2 * limit
        return raw[:limit], complete or full


def _dechunk(raw: bytes) -> tuple[bytes, bool]:
    # Decode as much of a chunked body as there is, and tell whether it has ended;
    # what does not match the grammar ends it too.
    body = bytearray()
    position = 0
    while position < len(raw):
        match = _CHUNK_HEAD.match(raw, position)
        if match is None:
            return bytes(body), b"\r\n" in raw[position:]
        size = int(match[1], 16)
        if size == 0:
            return bytes(body), True
        body += raw[match.end() : match.end() + size]
        position = match.end() + size + len(b"\r\n")
    return bytes(body), False
