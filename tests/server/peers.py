"""Clients that are written from the protocol texts, byte by byte.

Nothing here is taken from the package under test. A client works on a blocking
socket; no wait is longer than its patience, so that a server that hangs fails the
test instead of stopping it.
"""

import base64
import hashlib
import os
import random
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass

PATIENCE = 60.0

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The server did not answer the handshake as the text demands."""


class Wire:
    """A connected socket that remembers every byte that has arrived."""

    def __init__(self, sock, patience=PATIENCE):
        self.sock = sock
        self.patience = patience
        self.buffer = bytearray()
        self.received = 0
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(patience)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Close with a RST instead of a FIN."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    def end_of_writing(self):
        """Say that nothing follows; over TLS, wait for the peer to say so too."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock = self.sock.unwrap()
        else:
            self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.sock.sendall(data)

    def send_bytewise(self, data, pause=0.0005):
        """Send one byte after the other, each in a segment of its own."""
        for position in range(len(data)):
            self.sock.sendall(data[position : position + 1])
            select.select([self.sock], [], [], pause)

    def fill(self):
        """Wait for more bytes; say whether there were any before the end."""
        data = self.sock.recv(65536)
        self.buffer += data
        self.received += len(data)
        return bool(data)

    def take(self, count):
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read(self, count):
        """Read exactly as many bytes."""
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError(f"{count} bytes wanted, got {bytes(self.buffer)!r}")
        return self.take(count)

    def read_through(self, mark):
        """Read up to and including the mark."""
        while mark not in self.buffer:
            if not self.fill():
                raise EOFError(f"{mark!r} wanted, got {bytes(self.buffer)!r}")
        return self.take(self.buffer.index(mark) + len(mark))

    def read_to_end(self):
        """Read until the server has closed its side, and return what came."""
        while self.fill():
            pass
        return self.take(len(self.buffer))

    def expect_end(self, last=b""):
        """See the server end the connection, behind these bytes; end it here too."""
        assert self.read_to_end() == last, "other bytes before the end"
        self.close()

    def is_silent(self, seconds):
        """Say whether nothing arrives, not even an end, for so long."""
        return not self.buffer and not select.select([self.sock], [], [], seconds)[0]


# ---- plain HTTP


@dataclass
class Response:
    """An HTTP answer, its field names in lower case."""

    status: int
    fields: list
    body: bytes
    head: bytes

    def field(self, name):
        values = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(values) if values else None


def http_request(path, host="127.0.0.1", method="GET", fields=(), version="1.1"):
    """Compose the head of a request."""
    lines = [f"{method} {path} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    fields = []
    for line in lines[1:]:
        if line:
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip()))
    return lines[0], fields


def read_response(wire, head_only=False):
    """Read one answer with the body that its fields announce."""
    head = wire.read_through(b"\r\n\r\n")
    status_line, fields = parse_head(head)
    response = Response(int(status_line.split(" ")[1]), fields, b"", head)
    if head_only or response.status in (101, 204, 304):
        return response
    if (response.field("transfer-encoding") or "").lower() == "chunked":
        response.body = read_chunked(wire)
    elif response.field("content-length") is not None:
        response.body = wire.read(int(response.field("content-length")))
    else:
        response.body = wire.read_to_end()
    return response


def read_chunked(wire):
    body = b""
    while True:
        size = int(wire.read_through(b"\r\n").split(b";")[0], 16)
        body += wire.read(size)
        wire.read_through(b"\r\n")
        if size == 0:
            return body


def exchange(wire, path, **options):
    """Send one request and read its answer."""
    wire.send(http_request(path, **options))
    return read_response(wire, head_only=options.get("method") == "HEAD")


# ---- RFC 6455


@dataclass
class Frame:
    """A frame as in RFC 6455, section 5.2."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self):
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else 1005

    @property
    def reason(self):
        return self.payload[2:].decode()


def encode_frame(opcode, payload=b"", fin=True, rsv=0, mask=True, length=None):
    """Build a frame; a length that is given is claimed, whatever the payload is."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    masked = 0x80 if mask else 0
    if size < 126:
        head += bytes([masked | size])
    elif size < 1 << 16:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + mask_payload(payload, key)


def mask_payload(payload, key):
    """Transform as in section 5.3: octet i is XORed with octet i modulo 4."""
    size = len(payload)
    stretched = (key * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return number.to_bytes(size, "big")


def close_payload(code, reason=""):
    return struct.pack("!H", code) + reason.encode()


class RFC6455Client:
    """The client's end of RFC 6455, and of its drafts 7 and 8."""

    version = "13"

    def __init__(self, wire, host, path="/echo", *, version="13", **handshake):
        self.wire = wire
        self.version = version
        self.host = host
        self.path = path
        self.origin = handshake.get("origin")
        self.protocols = handshake.get("protocols", ())
        self.fields = handshake.get("fields", ())
        self.key = base64.b64encode(os.urandom(16)).decode()
        self.response = None

    def request(self):
        origin = "Origin" if self.version == "13" else "Sec-WebSocket-Origin"
        fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self.key),
            ("Sec-WebSocket-Version", self.version),
        ]
        if self.origin is not None:
            fields.append((origin, self.origin))
        if self.protocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self.protocols)))
        return http_request(self.path, self.host, fields=[*fields, *self.fields])

    def connect(self):
        self.wire.send(self.request())
        self.verify()
        return self

    def verify(self):
        """Check the answer as section 4.1 lists it."""
        response = self.response = read_response(self.wire)
        if response.status != 101:
            raise Refused(f"{response.status}: {response.body!r}")
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = hashlib.sha1((self.key + guid).encode()).digest()
        assert (response.field("upgrade") or "").lower() == "websocket"
        tokens = (response.field("connection") or "").lower().split(",")
        assert "upgrade" in [token.strip() for token in tokens]
        accept = base64.b64encode(digest).decode()
        assert response.field("sec-websocket-accept") == accept
        chosen = response.field("sec-websocket-protocol")
        assert chosen is None or chosen in self.protocols
        assert response.field("sec-websocket-extensions") is None, "none was offered"

    @property
    def subprotocol(self):
        return self.response.field("sec-websocket-protocol")

    def send(self, message):
        self.wire.send(self.encode(message))

    def encode(self, message):
        if isinstance(message, str):
            return encode_frame(TEXT, message.encode())
        return encode_frame(BINARY, message)

    def send_frame(self, opcode, payload=b"", **details):
        self.wire.send(encode_frame(opcode, payload, **details))

    def read_frame(self):
        first, second = self.wire.read(2)
        # Section 5.1: "A server MUST NOT mask any frames that it sends to the client."
        assert not second & 0x80, "a server's frame is masked"
        length = second & 0x7F
        if length == 126:
            length = struct.unpack("!H", self.wire.read(2))[0]
            assert length > 125, "the length is not the minimal one"
        elif length == 127:
            length = struct.unpack("!Q", self.wire.read(8))[0]
            assert 0xFFFF < length < 1 << 63, "the length is not the minimal one"
        payload = self.wire.read(length)
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    def read_any(self):
        """Read a message or a close frame; answer pings on the way."""
        parts = []
        kind = None
        while True:
            frame = self.read_frame()
            assert frame.rsv == 0, "no extension was agreed"
            if frame.opcode == PING:
                self.send_frame(PONG, frame.payload)
            elif frame.opcode == CLOSE:
                return frame
            elif frame.opcode != PONG:
                assert (frame.opcode == 0) == bool(kind), "fragments are out of order"
                kind = kind or frame.opcode
                parts.append(frame.payload)
                if frame.fin:
                    data = b"".join(parts)
                    return data.decode() if kind == TEXT else data

    def receive(self):
        message = self.read_any()
        assert not isinstance(message, Frame), f"closed: {message}"
        return message

    def read_close(self):
        """Skip what was on its way and return the server's close frame."""
        while not isinstance(frame := self.read_any(), Frame):
            pass
        return frame

    def expect_close(self):
        """Take the server's close, answer it, and see the connection end."""
        frame = self.read_close()
        self.send_frame(CLOSE, frame.payload[:2])
        self.wire.expect_end()
        return frame.code

    def close(self, code=1000, reason=""):
        """Close from this end and see the connection end; return what was answered."""
        self.send_frame(CLOSE, close_payload(code, reason))
        frame = self.read_close()
        self.wire.expect_end()
        return frame.code


# ---- draft-hixie-thewebsocketprotocol-55


STATUS_LINE_55 = bytes.fromhex(
    "48 54 54 50 2F 31 2E 31 20 31 30 31 20 57 65 62"
    "20 53 6F 63 6B 65 74 20 50 72 6F 74 6F 63 6F 6C"
    "20 48 61 6E 64 73 68 61 6B 65 0D 0A"
)
UPGRADE_LINES = bytes.fromhex(
    "55 70 67 72 61 64 65 3A 20 57 65 62 53 6F 63 6B"
    "65 74 0D 0A 43 6F 6E 6E 65 63 74 69 6F 6E 3A 20"
    "55 70 67 72 61 64 65 0D 0A"
)


class Draft55Client:
    """A user agent as in section 4 of draft 55."""

    version = "55"

    def __init__(self, wire, host, path="/echo", *, secure=False, **handshake):
        self.wire = wire
        self.host = host
        self.path = path
        self.secure = secure
        self.origin = handshake.get("origin", f"http{'s' * secure}://{host}")
        self.protocol = handshake.get("protocol")
        self.fields = handshake.get("fields", ())

    def request(self):
        """Compose the bytes of section 4.1, steps 5 to 10."""
        request = bytes.fromhex("47 45 54 20") + self.path.encode("ascii")
        request += bytes.fromhex("20 48 54 54 50 2F 31 2E 31 0D 0A") + UPGRADE_LINES
        request += bytes.fromhex("48 6F 73 74 3A 20")
        request += self.host.lower().encode("ascii") + b"\r\n"
        if self.origin is not None:
            request += bytes.fromhex("4F 72 69 67 69 6E 3A 20")
            request += self.origin.lower().encode("ascii") + b"\r\n"
        if self.protocol is not None:
            request += bytes.fromhex(
                "57 65 62 53 6F 63 6B 65 74 2D 50 72 6F 74 6F 63 6F 6C 3A 20"
            )
            request += self.protocol.encode("ascii") + b"\r\n"
        for name, value in self.fields:
            request += f"{name}: {value}\r\n".encode("ascii")
        return request + b"\r\n"

    def connect(self):
        self.wire.send(self.request())
        self.verify()
        return self

    def verify(self):
        """Read and compare the answer as steps 11 to 23 do."""
        header = b""
        while not header.endswith(b"\n"):
            header += self.wire.read(1)
        if header != STATUS_LINE_55:
            raise Refused(header + self.wire.take(1 << 20))
        assert self.wire.read(41) == UPGRADE_LINES
        fields = self.read_fields()
        names = [name for name, _ in fields]
        assert names.count("websocket-origin") == 1
        assert names.count("websocket-location") == 1
        assert "" not in names
        values = dict(fields)
        assert values["websocket-origin"] == self.origin.lower()
        scheme = "wss" if self.secure else "ws"
        location = f"{scheme}://{self.host.lower()}{self.path}"
        assert values["websocket-location"] == location
        if self.protocol is not None:
            assert names.count("websocket-protocol") == 1
            assert values["websocket-protocol"] == self.protocol
        self.answered_fields = values

    def read_fields(self):
        """Run the state machine of steps 14 to 22."""
        fields = []
        while True:
            name, value = bytearray(), bytearray()
            while (byte := self.wire.read(1)) != b":":
                if byte == b"\r":
                    assert not name, "a stray CR in a name"
                    assert self.wire.read(1) == b"\n"
                    return fields
                assert byte != b"\n", "a stray LF in a name"
                name += byte.lower()
            byte = self.wire.read(1)
            if byte == b" ":
                byte = self.wire.read(1)
            while byte != b"\r":
                assert byte != b"\n", "a stray LF in a value"
                value += byte
                byte = self.wire.read(1)
            assert self.wire.read(1) == b"\n"
            fields.append((name.decode(), value.decode()))

    def send(self, message):
        self.wire.send(self.encode(message))

    def encode(self, message):
        return b"\x00" + message.encode() + b"\xff"

    def receive(self):
        """Read one message by the state machine of section 4.2."""
        while True:
            frame_type = self.wire.read(1)[0]
            if frame_type & 0x80:
                self.skip(frame_type)
                continue
            data = self.wire.read_through(b"\xff")[:-1]
            if frame_type == 0:
                return data.decode()

    def skip(self, frame_type):
        length = 0
        while True:
            byte = self.wire.read(1)[0]
            length = length * 128 + (byte & 0x7F)
            if not byte & 0x80:
                break
        raise AssertionError(f"a frame of type {frame_type:#x} and length {length}")

    def close(self):
        """Close as section 6 says: end TCP, and see the server's end follow."""
        self.wire.end_of_writing()
        self.wire.expect_end()

    def expect_close(self):
        """See the server close the TCP connection, with no byte before it."""
        self.wire.expect_end()


# ---- draft-hixie-thewebsocketprotocol-76


def make_key(generator):
    """Make a key and its number, as the draft's section 4.1 describes."""
    spaces = generator.randint(1, 12)
    number = generator.randint(0, (2**32 - 1) // spaces)
    key = list(str(number * spaces))
    letters = [*range(0x21, 0x30), *range(0x3A, 0x7F)]
    for _ in range(generator.randint(1, 12)):
        letter = chr(generator.choice(letters))
        key.insert(generator.randint(0, len(key)), letter)
    # Neither the first nor the last place is for a space, and a letter guards each.
    key = ["x", *key, "y"]
    for _ in range(spaces):
        key.insert(generator.randint(1, len(key) - 1), " ")
    return "".join(key), number


class Draft76Client(Draft55Client):
    """A user agent as in draft 76, which is draft 55 with a challenge."""

    version = "76"

    def __init__(self, wire, host, path="/echo", *, seed=None, **handshake):
        super().__init__(wire, host, path, **handshake)
        generator = random.Random(seed)
        key1, number1 = make_key(generator)
        key2, number2 = make_key(generator)
        self.keys = [key1, key2]
        self.key3 = bytes(generator.randrange(256) for _ in range(8))
        self.set_answer(number1, number2)

    def set_answer(self, number1, number2):
        challenge = struct.pack("!II", number1, number2) + self.key3
        self.answer = hashlib.md5(challenge).digest()

    def request(self):
        return self.request_head() + self.key3

    def request_head(self):
        fields = [
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key1", self.keys[0]),
            ("Upgrade", "WebSocket"),
            ("Sec-WebSocket-Key2", self.keys[1]),
        ]
        if self.protocol is not None:
            fields.insert(1, ("Sec-WebSocket-Protocol", self.protocol))
        if self.origin is not None:
            fields.append(("Origin", self.origin))
        fields += self.fields
        return http_request(self.path, self.host, fields=fields)

    def verify(self):
        self.verify_head()
        self.verify_answer()

    def verify_head(self):
        head = self.wire.read_through(b"\r\n\r\n")
        start = b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n" + UPGRADE_LINES
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Refused(head + self.wire.take(1 << 20))
        assert head.startswith(start)
        _, fields = parse_head(head)
        values = dict(fields)
        assert len(values) == len(fields), "a field is there twice"
        scheme = "wss" if self.secure else "ws"
        location = f"{scheme}://{self.host}{self.path}"
        assert values["sec-websocket-location"] == location
        assert values["sec-websocket-origin"] == self.origin
        if self.protocol is not None:
            assert values["sec-websocket-protocol"] == self.protocol
        self.answered_fields = values

    def verify_answer(self):
        assert self.wire.read(16) == self.answer

    def close(self):
        """Send FF 00, see it answered, and see the connection end."""
        self.wire.send(b"\xff\x00")
        self.wire.expect_end(b"\xff\x00")

    def expect_close(self):
        """See the server's FF 00, answer it, and see the connection end."""
        assert self.wire.read(2) == b"\xff\x00"
        self.wire.send(b"\xff\x00")
        self.wire.expect_end()


CLIENTS = {"55": Draft55Client, "76": Draft76Client, "13": RFC6455Client}


def until(condition, patience=PATIENCE, pause=0.02, sleep=time.sleep):
    """Look again and again until a condition holds, for what gives no event."""
    deadline = time.monotonic() + patience
    while not (outcome := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        sleep(pause)
    return outcome
