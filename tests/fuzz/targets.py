"""What must hold for any octets: a target for each part of the core.

A target takes the core (interpreted or compiled) and octets, and raises
AssertionError when a rule is broken; anything else that it raises is a fault too. The
first octets choose the settings, the rest is what the peer sends.
"""

import contextlib

from wsmiddleware.deflate import (
    Compression,
    DeflateError,
    DeflateParameters,
    MessageTooBig,
    PerMessageDeflate,
    accept_offers,
    verify,
)
from wsmiddleware.events import ChallengeResponse, Close, Fail, Ping, Pong
from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.frames import is_sendable
from wsmiddleware.handshake import Refusal, read_handshake
from wsmiddleware.headers import build_extensions, parse_extensions
from wsmiddleware.options import Options

KINDS = (str, bytes, Ping, Pong, Close, Fail, ChallengeResponse)
FAILURES = {1002, 1007, 1009}


def size_of(message):
    return len(message.encode() if isinstance(message, str) else message)


def check_events(events, limit):
    """Check what holds for the events of any connection."""
    for event in events:
        assert isinstance(event, KINDS)
        if isinstance(event, (str, bytes)):
            assert size_of(event) <= limit
        elif isinstance(event, (Ping, Pong)):
            assert len(event.payload) <= 125
    for event in events[:-1]:
        assert not isinstance(event, (Close, Fail)), "nothing follows the end"
    match events[-1:]:
        case [Close(code=code)]:
            assert code == 1005 or is_sendable(code)
        case [Fail(code=code, reason=reason)]:
            assert code in FAILURES
            assert 0 < len(reason.encode()) <= 123


def receive(protocol, data, size):
    """Feed a protocol in pieces of a size; return its events."""
    events = []
    for start in range(0, len(data), size):
        events += protocol.receive_data(data[start : start + size])
    if any(isinstance(event, (Close, Fail)) for event in events):
        assert protocol.receive_data(data) == [], "nothing follows the end"
    return events


def without_reason(events):
    return [Fail(0, "") if isinstance(event, Fail) else event for event in events]


def check_protocol(make, data, size, limit, *, reasons=True):
    """Check one protocol; how the octets are cut must not matter."""
    whole = receive(make(), data, len(data) + 1)
    cut = receive(make(), data, size)
    check_events(whole, limit)
    check_events(cut, limit)
    if not reasons:
        whole, cut = without_reason(whole), without_reason(cut)
    assert whole == cut


def rfc6455(core, octets):
    if len(octets) < 2:
        return
    settings, size = octets[0], octets[1] % 32 + 1
    client = bool(settings & 1)
    compressed = bool(settings & 2)
    limit = 100 if settings & 4 else 70_000
    parameters = DeflateParameters(
        server_no_context_takeover=bool(settings & 8),
        client_no_context_takeover=bool(settings & 8),
        server_max_window_bits=15,
        client_max_window_bits=15,
    )

    def make():
        codec = PerMessageDeflate(parameters, client=client) if compressed else None
        return core.RFC6455(
            client=client,
            max_message_size=limit,
            max_frame_size=60 if settings & 16 else None,
            max_fragments=4 if settings & 32 else 1000,
            deflate=codec,
        )

    # Which of several faults in one compressed message is told depends on how much of
    # it is inflated at once.
    check_protocol(make, octets[2:], size, limit, reasons=not compressed)


def hixie(core, octets):
    if len(octets) < 2:
        return
    settings, size = octets[0], octets[1] % 32 + 1
    client = bool(settings & 1)
    limit = 20 if settings & 2 else 70_000

    def make():
        if settings & 4:
            return core.Hixie55(client=client, max_message_size=limit)
        respond = None if client else bytes.upper
        return core.Hixie76(client=client, max_message_size=limit, respond=respond)

    # U+FFFD takes the place of one octet and has three. The size that is told is what
    # had come when it was too much.
    check_protocol(make, octets[2:], size, 3 * limit, reasons=False)


def deflate(core, octets):
    if not octets:
        return
    settings, data = octets[0], octets[1:]
    parameters = DeflateParameters(client_no_context_takeover=bool(settings & 1))
    limit = 50 if settings & 2 else 70_000
    codec = PerMessageDeflate(parameters, client=False)
    said = b""
    with contextlib.suppress(DeflateError, MessageTooBig):
        for start in range(0, len(data), 16):
            said += codec.decompress(
                data[start : start + 16], fin=False, max_size=limit
            )
        said += codec.decompress(b"", fin=True, max_size=limit)
    assert len(said) <= limit


def headers(core, octets):
    value = octets.decode("latin-1")
    for config in (Compression(), None):
        with contextlib.suppress(ValueError):
            answer, agreed = accept_offers([value], config)
            assert (answer is None) == (agreed is None)
            if answer is not None:
                verify(answer, Compression(max_window_bits=15))
        with contextlib.suppress(HandshakeError):
            verify(value, config)
    with contextlib.suppress(ValueError):
        parsed = parse_extensions(value)
        assert parse_extensions(build_extensions(parsed)) == parsed


NAMES = [
    "HTTP_HOST",
    "HTTP_UPGRADE",
    "HTTP_CONNECTION",
    "HTTP_ORIGIN",
    "HTTP_SEC_WEBSOCKET_KEY",
    "HTTP_SEC_WEBSOCKET_VERSION",
    "HTTP_SEC_WEBSOCKET_PROTOCOL",
    "HTTP_SEC_WEBSOCKET_EXTENSIONS",
    "HTTP_SEC_WEBSOCKET_ORIGIN",
    "HTTP_SEC_WEBSOCKET_KEY1",
    "HTTP_SEC_WEBSOCKET_KEY2",
    "HTTP_WEBSOCKET_PROTOCOL",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_TRANSFER_ENCODING",
    "CONTENT_LENGTH",
]


def handshake(core, octets):
    """Lines of a field's number (a letter from A on) and its value."""
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
    }
    for line in octets.split(b"\n"):
        number = line[0] - 65 if line else -1
        if 0 <= number < len(NAMES):
            # what an HTTP server lets through
            value = line[1:].replace(b"\r", b"").replace(b"\0", b"").strip(b" \t")
            environ[NAMES[number]] = value.decode("latin-1")
    options = Options(allowed_origins="*", subprotocols=["chat"])
    refusal = None
    try:
        protocol, head = read_handshake(environ, "/a?b", options).accept()
    except Refusal as caught:
        refusal = caught
    if refusal is not None:
        assert refusal.status[:3].isdigit()
        assert refusal.text
        return
    assert head.startswith(b"HTTP/1.1 101 ")
    assert head.index(b"\r\n\r\n") == len(head) - 4, "the head has one end"
    assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")
    assert protocol.subprotocol in (None, "chat")


TARGETS = [rfc6455, hixie, deflate, headers, handshake]
