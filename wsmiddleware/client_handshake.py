"""The client's end of the opening handshake: what to send, and what came back.

Draft 55, section 4.1, steps 5 to 23; draft 76 (hybi-00), section 4.1; hybi-07 to -12
and RFC 6455, section 4.1. No I/O: `request` returns octets, `feed` takes octets until
the handshake is done, `surplus` is what came behind it and belongs to the protocol.

The rule: a server that does not do as its text says makes `feed` raise HandshakeError,
with a reason for each rule. A server that refuses, with a status of HTTP that is not
101, is heard out: the error has its status, its headers and the start of its body.
"""

import re
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import md5
from hmac import compare_digest
from random import Random, SystemRandom

from wsmiddleware.deflate import Compression, DeflateParameters, offer, verify
from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.handshake import accept_key
from wsmiddleware.headers import combine, has_token, is_field_value, is_token
from wsmiddleware.responses import Header, Limits, Response
from wsmiddleware.urls import WebSocketURL

__all__ = [
    "ClientHandshake",
    "ClientRequest",
    "Hixie55Handshake",
    "Hixie76Handshake",
    "RFC6455Handshake",
    "client_handshake",
]

# What the handshake itself sends, or what would announce a body that is never sent.
_RESERVED = {
    "connection",
    "content-length",
    "host",
    "origin",
    "transfer-encoding",
    "upgrade",
    "websocket-protocol",
}
_RESERVED_PREFIX = "sec-websocket-"


@dataclass(frozen=True)
class ClientRequest:
    """Hold what a client asks for, and how much of an answer it is ready to read.

    `headers` are fields beyond the handshake's own, such as Cookie. `compression` is
    for versions 7, 8 and 13, which alone have it.
    """

    url: WebSocketURL
    origin: str | None = None
    subprotocols: Sequence[str] = ()
    headers: Sequence[Header] = ()
    compression: Compression | None = None
    random: Random = SystemRandom()
    limits: Limits = Limits()


class _Step(Enum):
    """Name where in the server's answer a handshake stands."""

    # Drafts 55 and 76; the numbers are those of draft 55's section 4.1
    STATUS_LINE = auto()  # 11 and 12
    FIXED_LINES = auto()  # 13
    NAME = auto()  # 15 and 16
    COLON = auto()  # 17
    VALUE = auto()  # 18
    VALUE_END = auto()  # 19
    END = auto()  # 22
    DIGEST = auto()  # draft 76's
    HTTP = auto()  # 12's refusals, and whatever RFC 6455 answers
    DONE = auto()


_CLOSED_AT = {
    _Step.STATUS_LINE: "before the end of the status line",
    _Step.FIXED_LINES: "before the end of the lines Upgrade and Connection",
    _Step.NAME: "in the name of a header",
    _Step.COLON: "behind the name of a header",
    _Step.VALUE: "in the value of a header",
    _Step.VALUE_END: "behind the value of a header",
    _Step.END: "before the end of the headers",
    _Step.DIGEST: "before the end of the challenge's digest",
    _Step.HTTP: "before the end of the headers",
}


class ClientHandshake(ABC):
    """Be the common part of every version's opening handshake.

    Once it is done: `status`, `headers`, and `subprotocol` and `compression` as they
    were agreed, or None. Raises ValueError for a request that cannot be sent.
    """

    _charset: str
    _step: _Step

    def __init__(self, version: str, request: ClientRequest) -> None:
        self.version = version
        self.url = request.url
        self.subprotocol: str | None = None
        self.compression: DeflateParameters | None = None
        self.surplus = b""
        self._request = request
        self._extra = _check_headers(request)
        self._response = Response(request.limits)
        _check_origin(request.origin)
        self._check_subprotocols(request.subprotocols)

    @abstractmethod
    def request(self) -> bytes:
        """Return the octets that open the handshake."""

    @abstractmethod
    def feed(self, data: bytes) -> bool:
        """Take octets from the server and tell whether the handshake is done.

        Raises HandshakeError when the server refuses or breaks a rule. After either
        there is nothing more to feed.
        """

    @abstractmethod
    def _check_subprotocols(self, subprotocols: Sequence[str]) -> None:
        """Raise ValueError for what the version cannot offer."""

    @property
    def status(self) -> int | None:
        """Return the answer's status, None before there is one."""
        return self._response.status

    @property
    def headers(self) -> list[Header]:
        """Return the answer's headers."""
        return self._response.headers

    @property
    def cookie_headers(self) -> list[Header]:
        """Return those of the answer's headers that may set cookies."""
        return self.headers

    @property
    def refused(self) -> bool:
        """Tell whether the server has refused, and only its body is awaited."""
        return self._response.has_head and self.status != 101

    def closed(self) -> HandshakeError:
        """Return the error of a connection that ends here."""
        if self.refused:
            return self.refusal()
        return self._error(f"connection closed {_CLOSED_AT[self._step]}")

    def refusal(self) -> HandshakeError:
        """Return the error of a refusal, with as much of its body as has come."""
        return self._response.refusal(
            f"server refused the handshake with status {self.status}"
        )

    def _hear_refusal(self) -> None:
        if self._response.complete:
            raise self.refusal()

    def _error(self, message: str) -> HandshakeError:
        return self._response.error(message)

    def _compose(self, fields: Iterable[Header]) -> bytes:
        lines = (f"{name}: {value}\r\n" for name, value in fields)
        return "".join(lines).encode(self._charset) + b"\r\n"


def _check_headers(request: ClientRequest) -> list[Header]:
    headers = list(request.headers)
    for name, value in headers:
        if not is_token(name):
            raise ValueError(f"header name is not a token: {name!r}")
        if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIX):
            raise ValueError(f"header is the handshake's own: {name!r}")
        if not is_field_value(value):
            raise ValueError(f"value of the header {name} has control characters")
    names = {name.lower() for name, _ in headers}
    if request.url.userinfo is not None and "authorization" not in names:
        # RFC 7617, section 2: the user-id and the password, joined by a colon.
        pair = ":".join(request.url.userinfo).encode()
        headers.append(("Authorization", f"Basic {b64encode(pair).decode()}"))
    return headers


def _check_origin(origin: str | None) -> None:
    if origin is None:
        return
    if not origin or not origin.isascii() or not is_field_value(origin):
        raise ValueError(f"origin is not printable ASCII: {origin!r}")


class RFC6455Handshake(ClientHandshake):
    """Open a connection of RFC 6455, or of the drafts hybi-07 to -12."""

    _charset = "latin-1"
    _step = _Step.HTTP

    def __init__(self, version: str, request: ClientRequest) -> None:
        super().__init__(version, request)
        # 4.1: "a nonce consisting of a randomly selected 16-byte value that has been
        # base64-encoded"
        self._key = b64encode(request.random.randbytes(16)).decode()

    def request(self) -> bytes:
        """Return the octets that open the handshake (section 4.1, 1 to 12)."""
        request = self._request
        fields = [
            ("Host", self.url.hostport),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
        ]
        if request.origin is not None:
            # The drafts up to hybi-10 had another name for it.
            name = "Origin" if self.version == "13" else "Sec-WebSocket-Origin"
            fields.append((name, request.origin))
        fields.append(("Sec-WebSocket-Key", self._key))
        fields.append(("Sec-WebSocket-Version", self.version))
        if request.subprotocols:
            fields.append(("Sec-WebSocket-Protocol", combine(request.subprotocols)))
        if request.compression is not None:
            fields.append(("Sec-WebSocket-Extensions", offer(request.compression)))
        line = f"GET {self.url.resource_name} HTTP/1.1\r\n".encode("ascii")
        return line + self._compose(fields + self._extra)

    def feed(self, data: bytes) -> bool:
        """Take octets from the server and tell whether the handshake is done."""
        response = self._response
        response.feed(data)
        response.pass_over_interim()
        if response.has_head and response.status == 101:
            self._verify()
            self.surplus = response.rest
            return True
        self._hear_refusal()
        return False

    def _check_subprotocols(self, subprotocols: Sequence[str]) -> None:
        # 4.1: "non-empty strings with characters in the range U+0021 to U+007E not
        # including separator characters [...] and MUST all be unique strings"
        for subprotocol in subprotocols:
            if not is_token(subprotocol):
                raise ValueError(f"subprotocol is not a token: {subprotocol!r}")
        if len(set(subprotocols)) != len(subprotocols):
            raise ValueError(f"subprotocol offered twice: {combine(subprotocols)!r}")

    def _verify(self) -> None:
        # 4.1: "The client MUST validate the server's response as follows", in the
        # order of the list that follows there; its number 1 is the status.
        upgrade = self._response.value("upgrade")
        if upgrade.lower() != "websocket":
            raise self._error(f"Upgrade header is {upgrade[:80]!r}, not 'websocket'")
        connection = self._response.value("connection")
        if not has_token(connection, "upgrade"):
            raise self._error(f"Connection header lacks 'Upgrade': {connection[:80]!r}")
        self._verify_accept()
        self._verify_extensions()
        self._verify_subprotocol()

    def _verify_accept(self) -> None:
        values = self._response.values("sec-websocket-accept")
        if len(values) != 1:
            raise self._error(f"{len(values)} Sec-WebSocket-Accept headers, not one")
        if values[0] != accept_key(self._key):
            raise self._error(f"Sec-WebSocket-Accept is wrong: {values[0][:80]!r}")

    def _verify_extensions(self) -> None:
        # "If [...] this header field indicates the use of an extension that was not
        # present in the client's handshake [...], the client MUST _Fail the
        # WebSocket Connection_."
        values = self._response.values("sec-websocket-extensions")
        if not values:
            return
        value = combine(values)
        if self._request.compression is None:
            raise self._error(f"extension was not offered: {value[:80]!r}")
        try:
            self.compression = verify(value, self._request.compression)
        except HandshakeError as error:
            raise self._error(str(error)) from None

    def _verify_subprotocol(self) -> None:
        # 11.3.4: "the |Sec-WebSocket-Protocol| header field MUST NOT appear more than
        # once in an HTTP response"
        values = self._response.values("sec-websocket-protocol")
        if not values:
            return
        if len(values) > 1:
            raise self._error(f"{len(values)} Sec-WebSocket-Protocol headers, not one")
        if values[0] not in self._request.subprotocols:
            raise self._error(f"subprotocol was not offered: {values[0][:80]!r}")
        self.subprotocol = values[0]


class Hixie55Handshake(ClientHandshake):
    """Open a connection of draft 55 (and so of draft 75), section 4.1 step by step.

    Without an origin, it is that of a page on the server itself. The answer's
    headers have lowercase names, as step 16 makes them.
    """

    _charset = "utf-8"
    _step = _Step.STATUS_LINE
    _prefix = "websocket-"

    # Steps 12 and 13
    _STATUS_LINE = b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
    _FIXED_LINES = b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n"

    def __init__(self, version: str, request: ClientRequest) -> None:
        super().__init__(version, request)
        self._buffer = bytearray()
        self._name = ""
        self._size = 0
        # Step 7: "Send the /origin/ value, converted to ASCII lowercase".
        scheme = "https" if self.url.secure else "http"
        self._origin = (request.origin or f"{scheme}://{self.url.hostport}").lower()

    @property
    def cookie_headers(self) -> list[Header]:
        """Return the answer's headers once it is found to be good, none before."""
        # Step 23: "fail the Web Socket connection and abort these steps.  Otherwise
        # [...] Handle the cookie". What has failed sets none.
        return self.headers if self._step is _Step.DONE else []

    def request(self) -> bytes:
        """Return the octets that open the handshake (steps 5 to 10)."""
        fields = [("Host", self.url.hostport), ("Origin", self._origin)]
        for subprotocol in self._request.subprotocols:
            fields.append(("WebSocket-Protocol", subprotocol))
        line = f"GET {self.url.resource_name} HTTP/1.1\r\n".encode("ascii")
        return line + self._FIXED_LINES + self._compose(fields + self._extra)

    def feed(self, data: bytes) -> bool:
        """Take octets from the server and tell whether the handshake is done."""
        for position, octet in enumerate(data):
            if self._step is _Step.HTTP:
                self._response.feed(data[position:])
                break
            self._check_limits()
            self._step = self._take(octet)
            if self._step is _Step.DONE:
                self.surplus = data[position + 1 :]
                return True
        self._hear_refusal()
        return False

    def _check_limits(self) -> None:
        limits = self._request.limits
        self._size += self._step is not _Step.DIGEST
        if self._size > limits.header_size:
            raise self._error(f"headers longer than {limits.header_size} bytes")
        if len(self.headers) > limits.header_fields:
            raise self._error(f"more than {limits.header_fields} headers")

    def _check_subprotocols(self, subprotocols: Sequence[str]) -> None:
        # 4.1: "optionally with a string giving a /protocol/"
        if len(subprotocols) > 1:
            raise ValueError(f"draft {self.version} has room for one subprotocol")
        # 3.1: "characters that are not in the range U+0021 to U+007E"
        for subprotocol in subprotocols:
            if not re.fullmatch(r"[\x21-\x7e]+", subprotocol):
                raise ValueError(f"subprotocol is not printable: {subprotocol!r}")

    def _take(self, octet: int) -> _Step:
        # Handle one octet of the answer; return the step that handles the next.
        match self._step:
            case _Step.STATUS_LINE:
                return self._take_status_line(octet)
            case _Step.FIXED_LINES:
                return self._take_fixed_lines(octet)
            case _Step.NAME:
                return self._take_name(octet)
            case _Step.COLON if octet == 0x20:
                # Step 17: "If the byte is 0x20 (ASCII space) Ignore the byte and
                # move on to the next step."
                return _Step.VALUE
            case _Step.COLON | _Step.VALUE:
                return self._take_value(octet)
            case _Step.VALUE_END:
                return self._take_value_end(octet)
            case _:
                return self._take_end(octet)

    def _take_status_line(self, octet: int) -> _Step:
        # Step 11: "Read bytes from the server until either the connection closes, or
        # a 0x0A byte is read."
        self._buffer.append(octet)
        if octet != 0x0A:
            return _Step.STATUS_LINE
        line = bytes(self._buffer)
        if not line.endswith(b"\r\n"):
            raise self._error(f"status line does not end with CR LF: {line[:80]!r}")
        # Step 12: "If there are not at least two 0x20 bytes in /header/, then fail".
        if line.count(b" ") < 2:
            raise self._error(f"status line has no code: {line[:80]!r}")
        return self._judge_status_line(line)

    def _judge_status_line(self, line: bytes) -> _Step:
        # Step 12: "If /header/ consists of 44 bytes that exactly match the following,
        # then let /mode/ be _normal_."
        if line != self._STATUS_LINE:
            return self._refuse(line)
        self._response.status = 101
        self._buffer.clear()
        return _Step.FIXED_LINES

    def _refuse(self, line: bytes) -> _Step:
        # Step 12: "Otherwise, fail the Web Socket connection": at once for another
        # 101, and for what is not HTTP; else when HTTP's answer has been read.
        if self._response.read_status_line(line[:-2].decode("latin-1")) == 101:
            raise self._error(
                f"status line is not that of draft {self.version}: {line[:80]!r}"
            )
        self._response.feed(line)
        return _Step.HTTP

    def _take_fixed_lines(self, octet: int) -> _Step:
        # Step 13: "if the 41 bytes aren't exactly equal to the following bytes, then
        # fail", which is known at the first that differs.
        self._buffer.append(octet)
        if not self._FIXED_LINES.startswith(bytes(self._buffer)):
            raise self._error(
                "status line is not followed by 'Upgrade: WebSocket' and 'Connection: "
                f"Upgrade': {self._shown()}"
            )
        if len(self._buffer) < len(self._FIXED_LINES):
            return _Step.FIXED_LINES
        self._buffer.clear()
        return _Step.NAME

    def _take_name(self, octet: int) -> _Step:
        # Step 16
        if octet == 0x0D:
            if self._buffer:
                raise self._error(f"CR in the name of a header: {self._shown()}")
            return _Step.END
        if octet == 0x0A:
            raise self._error(f"LF in the name of a header: {self._shown()}")
        if octet == 0x3A:
            self._name = self._take_text()
            return _Step.COLON
        # "Append a byte whose value is the byte's value plus 0x20"
        self._buffer.append(octet + 0x20 if 0x41 <= octet <= 0x5A else octet)
        return _Step.NAME

    def _take_value(self, octet: int) -> _Step:
        # Step 18
        if octet == 0x0D:
            return _Step.VALUE_END
        if octet == 0x0A:
            raise self._error(f"LF in the value of a header: {self._shown()}")
        self._buffer.append(octet)
        return _Step.VALUE

    def _take_value_end(self, octet: int) -> _Step:
        # Steps 19 to 21
        if octet != 0x0A:
            raise self._error(f"CR without LF behind a header: {self._shown()}")
        self.headers.append((self._name, self._take_text()))
        return _Step.NAME

    def _take_end(self, octet: int) -> _Step:
        # Step 22
        if octet != 0x0A:
            raise self._error("CR without LF behind the headers")
        return self._verify()

    def _verify(self) -> _Step:
        # Step 23: "if there are any entries in the /headers/ list whose names are the
        # empty string, then fail"
        if any(not name for name, _ in self.headers):
            raise self._error("header with an empty name")
        self._verify_one(self._prefix + "origin", self._origin)
        self._verify_one(self._prefix + "location", str(self.url))
        # "(If no /protocol/ was specified, the header is ignored.)"
        for subprotocol in self._request.subprotocols:
            self._verify_one(self._prefix + "protocol", subprotocol)
            self.subprotocol = subprotocol
        return _Step.DONE

    def _verify_one(self, name: str, expected: str, any_case: bool = False) -> None:
        # "If there is not exactly one entry in the /headers/ list whose name is [...]"
        # and "If the value is not exactly equal to [...] fail".
        values = [value for key, value in self.headers if key == name]
        if len(values) != 1:
            raise self._error(f"{len(values)} {name} headers, not one")
        if (values[0].lower() if any_case else values[0]) != expected:
            raise self._error(f"{name} header is {values[0][:80]!r}, not {expected!r}")

    def _take_text(self) -> str:
        # Step 20: "interpreting the /name/ byte array as a UTF-8 byte stream"; 4.4
        # has what becomes of what is not UTF-8.
        text = self._buffer.decode("utf-8", "replace")
        self._buffer.clear()
        return text

    def _shown(self) -> str:
        return repr(bytes(self._buffer[:80]))


class Hixie76Handshake(Hixie55Handshake):
    """Open a connection of draft 76, which is hybi-00.

    It is draft 55's with a challenge: two keys among the fields, and eight octets
    behind them, to be answered with their MD5 digest behind the answer's headers.
    """

    _prefix = "sec-websocket-"

    def __init__(self, version: str, request: ClientRequest) -> None:
        super().__init__(version, request)
        self._key1, number1 = _make_key(request.random)
        self._key2, number2 = _make_key(request.random)
        self._key3 = request.random.randbytes(8)
        numbers = number1.to_bytes(4, "big") + number2.to_bytes(4, "big")
        self._digest = md5(numbers + self._key3, usedforsecurity=False).digest()

    def request(self) -> bytes:
        """Return the octets that open the handshake, with the challenge."""
        fields = [
            ("Upgrade", "WebSocket"),
            ("Connection", "Upgrade"),
            ("Host", self.url.hostport),
            ("Origin", self._origin),
            *(("Sec-WebSocket-Protocol", name) for name in self._request.subprotocols),
            *self._extra,
            ("Sec-WebSocket-Key1", self._key1),
            ("Sec-WebSocket-Key2", self._key2),
        ]
        # The draft sends them in random order, lest a server rely on one.
        self._request.random.shuffle(fields)
        line = f"GET {self.url.resource_name} HTTP/1.1\r\n".encode("ascii")
        return line + self._compose(fields) + self._key3

    def _take(self, octet: int) -> _Step:
        if self._step is not _Step.DIGEST:
            return super()._take(octet)
        self._buffer.append(octet)
        if len(self._buffer) < len(self._digest):
            return _Step.DIGEST
        if not compare_digest(self._buffer, self._digest):
            raise self._error(f"digest of the challenge is wrong: {self._shown()}")
        return _Step.DONE

    def _judge_status_line(self, line: bytes) -> _Step:
        # Of this line only the code counts: what stands between its first two spaces.
        if line.split(b" ")[1] != b"101":
            return self._refuse(line)
        self._response.status = 101
        self._buffer.clear()
        return _Step.NAME

    def _verify(self) -> _Step:
        self._verify_one("upgrade", "WebSocket")
        self._verify_one("connection", "upgrade", any_case=True)
        super()._verify()
        return _Step.DIGEST


def _make_key(random: Random) -> tuple[str, int]:
    # Make a Sec-WebSocket-Key1 or -Key2 and the number it stands for. The number
    # times the spaces that the key will have must fit into 32 bits.
    spaces = random.randint(1, 12)
    number = random.randint(0, 0xFFFFFFFF // spaces)
    key = list(str(number * spaces))
    # One to twelve characters from "!" to "/" and from ":" to "~", anywhere.
    for _ in range(random.randint(1, 12)):
        character = chr(random.choice([*range(0x21, 0x30), *range(0x3A, 0x7F)]))
        key.insert(random.randint(0, len(key)), character)
    # The spaces, anywhere but at the start and at the end.
    for _ in range(spaces):
        key.insert(random.randint(1, len(key) - 1), " ")
    return "".join(key), number


def client_handshake(version: str, request: ClientRequest) -> ClientHandshake:
    """Return the handshake of a version: "55", "76", "7", "8" or "13"."""
    kinds: dict[str, type[ClientHandshake]] = {
        "55": Hixie55Handshake,
        "76": Hixie76Handshake,
        "7": RFC6455Handshake,
        "8": RFC6455Handshake,
        "13": RFC6455Handshake,
    }
    if version not in kinds:
        raise ValueError(f"version is none of {', '.join(kinds)}: {version!r}")
    return kinds[version](version, request)
