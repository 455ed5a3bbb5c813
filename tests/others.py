"""Other implementations of RFC 6455, each behind the same few methods.

`receive` takes octets and returns events as the vectors name them; `take` returns the
octets that the implementation wants sent. The opening handshake is passed through
`receive` and `take` as well.
"""

import wsproto
import wsproto.connection
import wsproto.events
import wsproto.extensions
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Close as ClosePayload
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from wsmiddleware.events import Close, Fail, Ping, Pong

LIMIT = 1 << 20
URL = "ws://example.com/chat"


class Websockets:
    """The Sans-I/O layer of websockets."""

    def __init__(self, client, compressed, **parameters):
        settings = {"max_size": LIMIT}
        self.client = client
        if client:
            if compressed:
                factory = ClientPerMessageDeflateFactory(**parameters)
                settings["extensions"] = [factory]
            self.protocol = ClientProtocol(parse_uri(URL), **settings)
            self.protocol.send_request(self.protocol.connect())
        else:
            if compressed:
                factory = ServerPerMessageDeflateFactory(**parameters)
                settings["extensions"] = [factory]
            self.protocol = ServerProtocol(**settings)
        self.parts = []
        self.text = False
        self.ended = False

    def take(self):
        octets = b"".join(self.protocol.data_to_send())
        return b"" if self.ended else octets

    def receive(self, data):
        self.protocol.receive_data(data)
        events = []
        for event in self.protocol.events_received():
            events += self._read(event)
        if self.protocol.handshake_exc is not None:
            raise self.protocol.handshake_exc
        fault = self.protocol.parser_exc
        if fault is not None and not self.ended and not isinstance(fault, EOFError):
            self.ended = True
            events.append(Fail(self.protocol.close_sent.code, ""))
        return events

    def _read(self, event):
        match event:
            case Request():
                self.protocol.send_response(self.protocol.accept(event))
                return []
            case Response():
                return []
        if event.opcode is Opcode.PING:
            return [Ping(bytes(event.data))]
        if event.opcode is Opcode.PONG:
            return [Pong(bytes(event.data))]
        if event.opcode is Opcode.CLOSE:
            close = ClosePayload.parse(event.data)
            return [Close(close.code, close.reason)]
        return self._read_message(event)

    def _read_message(self, frame):
        if self.ended:
            return []
        if frame.opcode is not Opcode.CONT:
            self.text = frame.opcode is Opcode.TEXT
        self.parts.append(bytes(frame.data))
        if not frame.fin:
            return []
        payload = b"".join(self.parts)
        self.parts.clear()
        if not self.text:
            return [payload]
        # UTF-8 is the affair of the layer above
        try:
            return [payload.decode()]
        except UnicodeDecodeError:
            self.ended = True
            return [Fail(1007, "")]

    def send(self, message, pieces=1):
        text = isinstance(message, str)
        payload = message.encode() if text else message
        first, *rest = cut(payload, pieces)
        send = self.protocol.send_text if text else self.protocol.send_binary
        send(first, fin=not rest)
        for number, piece in enumerate(rest, 2):
            self.protocol.send_continuation(piece, fin=number == pieces)

    def ping(self, payload):
        self.protocol.send_ping(payload)

    def close(self, code, reason):
        self.protocol.send_close(code, reason)


class Wsproto:
    """wsproto, which is without I/O by design."""

    def __init__(self, client, compressed, **parameters):
        kind = wsproto.ConnectionType
        self.client = client
        self.compressed = compressed
        self.parameters = parameters
        self.connection = wsproto.WSConnection(kind.CLIENT if client else kind.SERVER)
        self.octets = b""
        self.parts = []
        if client:
            request = wsproto.events.Request(
                host="example.com", target="/chat", extensions=self._extensions()
            )
            self.octets = self.connection.send(request)

    def _extensions(self):
        if not self.compressed:
            return []
        return [wsproto.extensions.PerMessageDeflate(**self.parameters)]

    def take(self):
        octets, self.octets = self.octets, b""
        return octets

    def receive(self, data):
        events = []
        try:
            self.connection.receive_data(data)
            for event in self.connection.events():
                events += self._read(event)
        except wsproto.utilities.RemoteProtocolError as error:
            code = getattr(error.event_hint, "code", 1002)
            events.append(Fail(int(code), ""))
        return events

    def _read(self, event):
        match event:
            case wsproto.events.Request():
                answer = wsproto.events.AcceptConnection(extensions=self._extensions())
                self.octets += self.connection.send(answer)
            case wsproto.events.AcceptConnection():
                pass
            case wsproto.events.RejectConnection():
                raise InvalidHandshake("rejected")
            case wsproto.events.Ping():
                return [Ping(bytes(event.payload))]
            case wsproto.events.Pong():
                return [Pong(bytes(event.payload))]
            case wsproto.events.CloseConnection():
                # A fault of the peer is told the same way, but does not close.
                if self.connection.state is wsproto.connection.ConnectionState.OPEN:
                    return [Fail(int(event.code), "")]
                return [Close(int(event.code), event.reason or "")]
            case wsproto.events.Message():
                self.parts.append(event.data)
                if event.message_finished:
                    empty = "" if isinstance(event.data, str) else b""
                    message = empty.join(self.parts)
                    self.parts.clear()
                    return [message]
        return []

    def send(self, message, pieces=1):
        text = isinstance(message, str)
        kind = wsproto.events.TextMessage if text else wsproto.events.BytesMessage
        for number, piece in enumerate(cut(message, pieces), 1):
            event = kind(data=piece, message_finished=number == pieces)
            self.octets += self.connection.send(event)

    def ping(self, payload):
        self.octets += self.connection.send(wsproto.events.Ping(payload))

    def close(self, code, reason):
        event = wsproto.events.CloseConnection(code, reason)
        self.octets += self.connection.send(event)


def cut(message, pieces):
    """Cut a message into so many pieces, some perhaps empty."""
    size = -(-len(message) // pieces) if message else 1
    return [message[n * size : (n + 1) * size] for n in range(pieces)]


IMPLEMENTATIONS = [Websockets, Wsproto]
