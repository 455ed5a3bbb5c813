"""Octets on the wire, built without the package: what the vectors are written in.

A stream is a list of items. A string is octets in hex, with spaces at will; a number
of them is `{"times": 3, "items": [...]}`; an object is a frame of RFC 6455:

    op              text, binary, continuation, close, ping, pong, or a number
    fin             true unless it says false
    rsv             the three reserved bits as a number: 4 is RSV1
    text, hex, size the payload: UTF-8, octets in hex, or so many letters a
    deflate         a text that is compressed to make the payload
    code, reason    the body of a close
    masked          whether it is masked; the rule of the peer's role unless it says
    declared        a length to declare that is not the payload's
    octets          how many octets of extended length to write: 0, 2 or 8

In a stream of the older drafts an object `{"draft": "a text"}` is a frame of text.
"""

import json
import zlib
from pathlib import Path

from wsmiddleware.events import Close, Fail, Ping, Pong

VECTORS = Path(__file__).parent / "vectors"
KEY = bytes.fromhex("37 fa 21 3d")
OPCODES = {
    "continuation": 0,
    "text": 1,
    "binary": 2,
    "close": 8,
    "ping": 9,
    "pong": 10,
}


def load(name):
    """Return the content of a file of vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text())


def mask(data, key=KEY):
    return bytes(octet ^ key[index % 4] for index, octet in enumerate(data))


def deflate(data):
    """Return the compressed form of a message, with a context of its own."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -9)
    compressed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed[:-4]


def frame(
    op, payload=b"", *, fin=True, rsv=0, masked=False, declared=None, octets=None
):
    """Return a frame, valid or not."""
    length = len(payload) if declared is None else declared
    if octets is None:
        octets = 0 if length < 126 else 2 if length < 65536 else 8
    first = fin << 7 | rsv << 4 | OPCODES.get(op, op)
    second = {0: length, 2: 126, 8: 127}[octets] | masked << 7
    head = bytes((first, second))
    if octets:
        head += length.to_bytes(octets, "big")
    return head + (KEY + mask(payload) if masked else payload)


def payload_of(item):
    if "code" in item:
        return item["code"].to_bytes(2, "big") + item.get("reason", "").encode()
    if "deflate" in item:
        return deflate(item["deflate"].encode())
    if "text" in item:
        return item["text"].encode()
    return bytes.fromhex(item.get("hex", "")) + b"a" * item.get("size", 0)


def build_item(item, masked):
    if isinstance(item, str):
        return bytes.fromhex(item)
    if "times" in item:
        return build(item["items"], masked) * item["times"]
    if "draft" in item:
        return b"\x00" + item["draft"].encode() + b"\xff"
    return frame(
        item["op"],
        payload_of(item),
        fin=item.get("fin", True),
        rsv=item.get("rsv", 0),
        masked=item.get("masked", masked),
        declared=item.get("declared"),
        octets=item.get("octets"),
    )


def build(stream, masked=False):
    """Return the octets of a stream, sent by an end that masks or one that does not."""
    return b"".join(build_item(item, masked) for item in stream)


def read_event(item):
    """Return the event that a vector names."""
    (kind, value), *rest = item.items()
    assert not rest, "an event has one key"
    match kind:
        case "text":
            return value
        case "text of size":
            return "a" * value
        case "binary":
            return bytes.fromhex(value)
        case "binary of size":
            return b"a" * value
        case "ping":
            return Ping(value.encode())
        case "pong":
            return Pong(value.encode())
        case "close":
            return Close(*value)
        case "fail":
            return Fail(*value)
    raise ValueError(f"unknown event in a vector: {kind}")


def read_events(items):
    events = []
    for item in items:
        if "times" in item:
            events += read_events(item["events"]) * item["times"]
        else:
            events.append(read_event(item))
    return events
