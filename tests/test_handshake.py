"""The server's end of the opening handshake, for every version, without I/O."""

import re
from dataclasses import asdict

import pytest
import wire
from hypothesis import given
from hypothesis import strategies as st

from wsmiddleware.deflate import Compression
from wsmiddleware.events import ChallengeResponse
from wsmiddleware.handshake import (
    Handshake,
    Refusal,
    accept_key,
    is_attempt,
    key_number,
    read_handshake,
)
from wsmiddleware.options import Options
from wsmiddleware.origins import Site

FILE = wire.load("handshakes")
BASES = FILE["bases"]
VECTORS = FILE["vectors"]


def name_of(line):
    return re.split("[: ]", line, maxsplit=1)[0].lower()


def build_request(vector):
    """Return the lines of a vector's request."""
    added = vector.get("with", [])
    gone = {name.lower() for name in vector.get("without", [])}
    gone |= {name_of(line) for line in added}
    kept = [line for line in BASES[vector["base"]] if name_of(line) not in gone]
    lines = kept + added
    # the request line first, wherever it was put
    return sorted(lines, key=lambda line: " HTTP/" not in line)


def read_request(lines, scheme="http"):
    """Make an environ as a WSGI server does; return it with the request's target."""
    method, target, version = lines[0].split(" ")
    environ = {
        "REQUEST_METHOD": method,
        "SERVER_PROTOCOL": version,
        "wsgi.url_scheme": scheme,
    }
    for line in lines[1:]:
        name, _, value = line.partition(":")
        key = name.upper().replace("-", "_")
        if key != "CONTENT_LENGTH":
            key = f"HTTP_{key}"
        value = value.strip(" \t")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ, target


def make_handshake(base, options=None, **changes):
    environ, target = read_request(build_request({"base": base, **changes}))
    return read_handshake(environ, target, options or Options())


@pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["rule"]) for vector in VECTORS]
)
def test_vector(vector):
    lines = build_request(vector)
    environ, target = read_request(lines, vector.get("scheme", "http"))
    options = Options(**vector.get("options", {}))
    assert is_attempt(environ)
    if vector.get("status", "101") != "101":
        with pytest.raises(Refusal) as caught:
            read_handshake(environ, target, options)
        assert caught.value.status == vector["status"]
        assert vector.get("says", "") in caught.value.text
        fields = [f"{name}: {value}" for name, value in caught.value.headers]
        assert set(fields) >= set(vector.get("fields", []))
        return
    handshake = read_handshake(environ, target, options)
    protocol, head = handshake.accept()
    *answer, blank, end = head.decode("latin-1").split("\r\n")
    assert (blank, end) == ("", "")
    assert answer == vector.get("answer", answer)
    assert protocol.version == handshake.version
    assert handshake.compression is ("agreed" in vector)
    if "agreed" in vector:
        agreed = asdict(handshake.deflate)
        assert agreed == {**agreed, **vector["agreed"]}
        assert protocol.send_text("a" * 999)[0] == 0xC1
    elif protocol.version in ("7", "8", "13"):
        assert protocol.send_text("a" * 999)[0] == 0x81
    if "key3" in vector:
        events = protocol.receive_data(vector["key3"].encode())
        assert events == [ChallengeResponse(vector["response"].encode())]


def test_vectors_have_names_of_their_own():
    assert len({vector["rule"] for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize(
    ("environ", "attempt"),
    [
        ({"HTTP_UPGRADE": "websocket"}, True),
        ({"HTTP_UPGRADE": "h2c, WebSocket"}, True),
        ({"HTTP_UPGRADE": "h2c"}, False),
        ({"HTTP_UPGRADE": "h2c", "HTTP_SEC_WEBSOCKET_KEY": ""}, False),
        ({"HTTP_SEC_WEBSOCKET_KEY": ""}, True),
        ({}, False),
        ({"HTTP_CONNECTION": "Upgrade"}, False),
    ],
)
def test_what_is_an_attempt(environ, attempt):
    assert is_attempt(environ) is attempt


FOUR_LETTERS = {
    "13": wire.frame("text", b"four", masked=True),
    "8": wire.frame("text", b"four", masked=True),
    "76": b"12345678\0four\xff",
    "55": b"\0four\xff",
}


@pytest.mark.parametrize("base", BASES)
def test_limits_and_subprotocol_reach_the_protocol(base):
    options = Options(max_message_size=3)
    offer = "WebSocket-Protocol" if base == "55" else "Sec-WebSocket-Protocol"
    handshake = make_handshake(base, options, **{"with": [f"{offer}: sample"]})
    assert list(handshake.offered) == ["sample"]
    protocol, head = handshake.accept("sample")
    assert protocol.subprotocol == "sample"
    assert f"\r\n{offer}: sample\r\n".encode() in head
    assert protocol.receive_data(FOUR_LETTERS[base])[-1].code == 1009


def test_limits_on_frames_reach_the_protocol():
    options = Options(max_frame_size=3, max_fragments=2)
    protocol, _ = make_handshake("13", options).accept()
    assert protocol.receive_data(FOUR_LETTERS["13"])[-1].code == 1009
    protocol, _ = make_handshake("13", options).accept()
    first = wire.frame("text", fin=False, masked=True)
    rest = wire.frame("continuation", fin=False, masked=True) * 2
    assert protocol.receive_data(first + rest)[-1].code == 1009


def test_compression_is_set_up_as_configured():
    options = Options(compression=Compression(max_window_bits=9, threshold=5000))
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    protocol, head = make_handshake("13", options, **{"with": [offer]}).accept()
    assert b"permessage-deflate; server_max_window_bits=9\r\n" in head
    assert protocol.send_text("a" * 4999)[0] == 0x81
    assert protocol.send_text("a" * 5000)[0] == 0xC1


# Accepting


def test_headers_are_added():
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=\xe9"), ("X-Empty", "")]
    _, head = make_handshake("13").accept(headers=headers)
    assert head.endswith(
        b"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=\xe9\r\nX-Empty: \r\n\r\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Bad Name", "a"),
        ("", "a"),
        ("X", "a\r\nY: b"),
        ("X", "a\n"),
        ("X", " a"),
        ("X:", "a"),
        ("X", "\u20ac"),
    ],
)
def test_headers_that_cannot_be_sent(name, value):
    with pytest.raises(ValueError, match="not a header field that can be sent"):
        make_handshake("13").accept(headers=[(name, value)])


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "upgrade",
        "Content-Length",
        "Transfer-Encoding",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "WebSocket-Origin",
        "WebSocket-Location",
    ],
)
def test_headers_of_the_handshake_are_its_own(name):
    with pytest.raises(ValueError, match=f"{name} is written by the handshake itself"):
        make_handshake("13").accept(headers=[(name, "a")])


def test_a_subprotocol_must_have_been_offered():
    """4.2.2: "if the client didn't offer" it, the client fails the connection."""
    handshake = make_handshake("13", **{"with": ["Sec-WebSocket-Protocol: a, b"]})
    with pytest.raises(ValueError, match="the client did not offer subprotocol 'c'"):
        handshake.accept("c")
    assert handshake.accept("b")[0].subprotocol == "b"


@pytest.mark.parametrize(
    ("chosen", "agreed"), [("b", "b"), (None, None), ("c", None), ("", None)]
)
def test_a_callable_chooses_the_subprotocol(chosen, agreed):
    calls = []

    def choose(offered):
        calls.append(list(offered))
        return chosen

    options = Options(subprotocols=choose)
    offer = ["Sec-WebSocket-Protocol: a, b"]
    protocol, _ = make_handshake("13", options, **{"with": offer}).accept()
    assert protocol.subprotocol == agreed
    assert calls == [["a", "b"]]
    make_handshake("13", options).accept()
    assert calls == [["a", "b"]]


def test_what_a_handshake_knows():
    origin = "Origin: http://server.example.com"
    handshake = make_handshake("13", **{"with": [origin]})
    assert handshake.version == "13"
    assert handshake.origin == "http://server.example.com"
    assert handshake.resource_name == "/chat?room=1"
    assert make_handshake("13").origin is None


@pytest.mark.parametrize(
    ("base", "name", "known"),
    [
        ("13", "Origin", "http://server.example.com"),
        ("8", "Sec-WebSocket-Origin", "http://server.example.com"),
        # drafts 55 and 76 echo it, so that it stays as it is
        ("55", "Origin", "HTTP://Server.example.com"),
        ("76", "Origin", "HTTP://Server.example.com"),
    ],
)
def test_the_origin_is_in_lowercase(base, name, known):
    """RFC 6455, 4.2.2: "The origin is serialized to ASCII and converted to
    lowercase."."""
    allowed = Options(allowed_origins=re.compile(known))
    origin = f"{name}: HTTP://Server.example.com"
    assert make_handshake(base, allowed, **{"with": [origin]}).origin == known


def test_a_handshake_of_no_version_has_no_fields_and_no_answer():
    site = Site.parse("http", "example.com")
    handshake = Handshake("0", site, "/", Options())
    with pytest.raises(NotImplementedError):
        handshake.read({})
    with pytest.raises(NotImplementedError):
        handshake.accept()


# Keys


def test_accept_key():
    """RFC 6455, 1.3."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 12), st.data())
def test_key_number_is_what_a_client_hid(number, spaces, data):
    """Draft 76's client: multiply by the spaces, sprinkle letters, add the spaces."""
    characters = list(str(number * spaces))
    letters = st.sampled_from("!\"#$%&'()*+,-./:;<=>?@ABCxyz{|}~")
    for filler in data.draw(st.lists(letters, min_size=1, max_size=12)):
        place = data.draw(st.integers(0, len(characters)))
        characters.insert(place, filler)
    for _ in range(spaces):
        place = data.draw(st.integers(1, len(characters) - 1)) if characters[1:] else 0
        characters.insert(place, " ")
    assert key_number("".join(characters)) == number


def test_a_key_of_many_digits_costs_nothing():
    with pytest.raises(ValueError, match="a key"):
        key_number("9" * 60_000 + " ")


def test_a_key_may_have_any_number_of_leading_zeros():
    """Draft 76: "its decimal digits, concatenated"."""
    assert key_number("0" * 300 + "12 3  ") == 41


# What is refused


def test_a_refusal_names_the_versions_that_are_served():
    """RFC 6455, 4.2.2: "a |Sec-WebSocket-Version| header field indicating the
    version(s) the server is capable of understanding"; drafts 55 and 76 have none."""
    for served, named in ((("8", "55", "13"), ["13, 8"]), (("76", "55"), [])):
        with pytest.raises(Refusal) as caught:
            make_handshake("8", Options(versions=served), without=["Upgrade"])
        headers = caught.value.headers
        assert [value for key, value in headers if "Version" in key] == named
