"""Servers that do what a test tells them, octet by octet.

They are written from the protocol texts and take nothing from the package under test.
A script is a function that is given the connection, a `server.peers.Wire`; it runs in
a thread, and what it raises fails the test.
"""

import base64
import contextlib
import hashlib
import socket
import struct
import threading

from server.peers import PATIENCE, Wire

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class ScriptedServer:
    """Listen on a port of its own, or on a unix socket, and run the script."""

    def __init__(self, script, *, tls=None, path=None, backlog=64):
        self.script = script
        self.tls = tls
        self.errors = []
        self.threads = []
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.listener.bind(path or ("127.0.0.1", 0))
        self.listener.listen(backlog)
        self.port = None if path else self.listener.getsockname()[1]
        self.accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self.accepting.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None:
            self.check()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def url(self, path="/", host="127.0.0.1"):
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{path}"

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.accepting.join(PATIENCE)
        for thread in self.threads:
            thread.join(PATIENCE)

    def check(self):
        for error in self.errors:
            raise error
        assert not any(thread.is_alive() for thread in self.threads)

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        with contextlib.closing(sock):
            try:
                if self.tls is not None:
                    sock.settimeout(PATIENCE)
                    sock = self.tls.wrap_socket(sock, server_side=True)
                with Wire(sock) as wire:
                    self.script(wire)
            except BaseException as error:
                self.errors.append(error)


class Request:
    """The head of a client's request."""

    def __init__(self, wire):
        self.raw = wire.read_through(b"\r\n\r\n")
        line, *fields = self.raw.decode("latin-1").split("\r\n")[:-2]
        self.method, self.target, self.version = line.split(" ")
        self.fields = [tuple(field.split(": ", 1)) for field in fields]

    def values(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def value(self, name):
        (value,) = self.values(name)
        return value


def answer_13(request, *fields):
    """Return the answer to a handshake of RFC 6455."""
    key = request.value("Sec-WebSocket-Key").encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        *fields,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def accept_13(wire, *fields, noted=None):
    """Answer a handshake of RFC 6455, once its request is in the list that is given."""
    request = Request(wire)
    if noted is not None:
        noted.append(request)
    wire.send(answer_13(request, *fields))


def refuse(wire, status, *fields, body=""):
    """Answer a handshake with another status, and return the request."""
    request = Request(wire)
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", body]
    wire.send("\r\n".join(lines).encode("latin-1"))
    return request


def frame(opcode, payload=b""):
    """Build a frame as servers send them."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def read_frame(wire):
    """Read a frame as clients send them; return its opcode and its payload."""
    first, second = wire.read(2)
    assert first & 0x80, "a client fragmented a message"
    assert second & 0x80, "a client did not mask a frame"
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(wire.read(2 if size == 126 else 8), "big")
    key = wire.read(4)
    payload = wire.read(size)
    return first & 0x0F, bytes(o ^ key[n % 4] for n, o in enumerate(payload))


def echo_13(wire):
    """Accept, echo until the client closes, and answer its close."""
    accept_13(wire)
    while True:
        opcode, payload = read_frame(wire)
        wire.send(frame(opcode, payload))
        if opcode == CLOSE:
            return


def expect_close(wire, code):
    """Read up to the client's close, which must have this code, and answer it."""
    while True:
        opcode, payload = read_frame(wire)
        if opcode == CLOSE:
            assert int.from_bytes(payload[:2], "big") == code
            wire.send(frame(CLOSE, payload))
            return
