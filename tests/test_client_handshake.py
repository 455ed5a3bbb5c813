"""The client's opening handshake, rule by rule, for every version."""

import re
from contextlib import suppress
from hashlib import md5
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsmiddleware.client_handshake import (
    ClientRequest,
    Hixie55Handshake,
    Hixie76Handshake,
    RFC6455Handshake,
    client_handshake,
)
from wsmiddleware.deflate import Compression
from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.handshake import accept_key, key_number
from wsmiddleware.responses import Limits
from wsmiddleware.urls import parse_url

URL = parse_url("ws://Example.com:8080/demo?room=1")
VERSIONS = ("55", "76", "7", "8", "13")
HYBI = ("7", "8", "13")


def make(version, url=URL, *, limits=None, **wanted):
    request = ClientRequest(url, limits=Limits(**limits or {}), **wanted)
    return client_handshake(version, request)


def lines_of(request):
    head, _, rest = request.partition(b"\r\n\r\n")
    return head.decode("ascii").split("\r\n"), rest


def values_of(request, name):
    lines, _ = lines_of(request)
    pairs = (line.split(": ", 1) for line in lines[1:])
    return [value for key, value in pairs if key == name]


# An answer that each version accepts, as lines; `answers` makes octets of them.


def lines_55(handshake):
    lines = [
        "HTTP/1.1 101 Web Socket Protocol Handshake",
        "Upgrade: WebSocket",
        "Connection: Upgrade",
        f"WebSocket-Origin: {values_of(handshake.request(), 'Origin')[0]}",
        f"WebSocket-Location: {handshake.url}",
    ]
    for name in values_of(handshake.request(), "WebSocket-Protocol"):
        lines.append(f"WebSocket-Protocol: {name}")
    return lines


def lines_76(handshake):
    lines = [
        "HTTP/1.1 101 WebSocket Protocol Handshake",
        "Upgrade: WebSocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Origin: {values_of(handshake.request(), 'Origin')[0]}",
        f"Sec-WebSocket-Location: {handshake.url}",
    ]
    for name in values_of(handshake.request(), "Sec-WebSocket-Protocol"):
        lines.append(f"Sec-WebSocket-Protocol: {name}")
    return lines


def lines_hybi(handshake):
    (key,) = values_of(handshake.request(), "Sec-WebSocket-Key")
    return [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
    ]


def good_lines(handshake):
    makers = {"55": lines_55, "76": lines_76}
    return makers.get(handshake.version, lines_hybi)(handshake)


def digest(handshake):
    if handshake.version != "76":
        return b""
    request = handshake.request()
    challenge = b"".join(
        key_number(values_of(request, f"Sec-WebSocket-Key{n}")[0]).to_bytes(4, "big")
        for n in (1, 2)
    )
    return md5(challenge + lines_of(request)[1]).digest()


def octets_of(lines):
    return "".join(line + "\r\n" for line in [*lines, ""]).encode("utf-8")


def good_answer(handshake):
    return octets_of(good_lines(handshake)) + digest(handshake)


def feed_whole(handshake, octets):
    return handshake.feed(octets)


def feed_octets(handshake, octets):
    for position in range(len(octets)):
        if handshake.feed(octets[position : position + 1]):
            handshake.surplus += octets[position + 1 :]
            return True
    return False


@pytest.fixture(params=[feed_whole, feed_octets], ids=["whole", "octet-by-octet"])
def feed(request):
    return request.param


def error_of(feed, handshake, octets, closed=True):
    """Return the error that the answer leads to, also when the connection ends."""
    try:
        assert not feed(handshake, octets)
    except HandshakeError as error:
        return error
    assert closed
    return handshake.closed()


# The request


def test_request_of_draft_55_is_octet_for_octet_as_written():
    handshake = make("55", origin="http://Example.COM", subprotocols=["Chat,v1"])
    assert handshake.request() == (
        b"GET /demo?room=1 HTTP/1.1\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Host: example.com:8080\r\n"
        b"Origin: http://example.com\r\n"
        b"WebSocket-Protocol: Chat,v1\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ws://example.com/", "example.com"),
        ("ws://example.com:443/", "example.com:443"),
        ("wss://example.com:443/", "example.com"),
        ("wss://example.com:80/", "example.com:80"),
        ("ws://[::1]:81/", "[::1]:81"),
        ("ws://bücher.example/", "xn--bcher-kva.example"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_host_names_the_port_unless_it_is_the_default(version, url, host):
    request = make(version, parse_url(url)).request()
    assert values_of(request, "Host") == [host]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("ws://example.com:81/a", "http://example.com:81"),
        ("wss://example.com/a", "https://example.com"),
    ],
)
@pytest.mark.parametrize("version", ["55", "76"])
def test_hixie_origin_is_that_of_the_server_unless_given(version, url, origin):
    assert values_of(make(version, parse_url(url)).request(), "Origin") == [origin]


def test_own_headers_of_draft_55_stand_where_step_9_has_the_cookies():
    headers = [("Cookie", "a=b"), ("X-Name", "Müller")]
    request = make("55", headers=headers, subprotocols=["chat"]).request()
    assert request.endswith(
        b"WebSocket-Protocol: chat\r\nCookie: a=b\r\n"
        + "X-Name: Müller\r\n\r\n".encode()
    )


def test_request_of_rfc_6455():
    handshake = make(
        "13",
        origin="https://Example.com",
        subprotocols=["chat", "superchat"],
        headers=[("X-Name", "Müller")],
        random=Random(1),
    )
    (key,) = values_of(handshake.request()[:-20], "Sec-WebSocket-Key")
    assert re.fullmatch("[A-Za-z0-9+/]{22}==", key)
    assert handshake.request() == (
        b"GET /demo?room=1 HTTP/1.1\r\n"
        b"Host: example.com:8080\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Origin: https://Example.com\r\n"
        b"Sec-WebSocket-Key: " + key.encode() + b"\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\n"
        b"X-Name: M\xfcller\r\n"
        b"\r\n"
    )
    assert values_of(make("13").request(), "Sec-WebSocket-Key") != [key]
    assert values_of(make("13").request(), "Origin") == []


@pytest.mark.parametrize("version", ["7", "8"])
def test_hybi_drafts_name_their_version_and_the_origin_otherwise(version):
    request = make(version, origin="http://example.com").request()
    assert values_of(request, "Sec-WebSocket-Version") == [version]
    assert values_of(request, "Sec-WebSocket-Origin") == ["http://example.com"]
    assert values_of(request, "Origin") == []


@pytest.mark.parametrize("version", HYBI)
def test_compression_is_offered_only_when_asked_for(version):
    request = make(version, compression=Compression()).request()
    (value,) = values_of(request, "Sec-WebSocket-Extensions")
    assert value.startswith("permessage-deflate")
    assert values_of(make(version).request(), "Sec-WebSocket-Extensions") == []


@given(seed=st.integers())
def test_keys_of_draft_76_are_as_the_draft_makes_them(seed):
    handshake = make("76", random=Random(seed))
    request = handshake.request()
    for name in ("Sec-WebSocket-Key1", "Sec-WebSocket-Key2"):
        (key,) = values_of(request, name)
        assert re.fullmatch(r"[\x20-\x7e]+", key)
        assert key == key.strip(" ")
        assert 1 <= key.count(" ") <= 12
        assert 1 <= len(re.findall(r"[\x21-\x2f\x3a-\x7e]", key)) <= 12
        assert 0 <= key_number(key) * key.count(" ") <= 0xFFFFFFFF
    assert len(lines_of(request)[1]) == 8
    assert handshake.feed(good_answer(handshake))


def test_fields_of_draft_76_come_in_random_order():
    def names(seed):
        request = make("76", random=Random(seed), headers=[("Cookie", "a=b")]).request()
        lines, _ = lines_of(request)
        assert lines[0] == "GET /demo?room=1 HTTP/1.1"
        return [line.split(":")[0] for line in lines[1:]]

    orders = {tuple(names(seed)) for seed in range(20)}
    assert len(orders) > 10
    assert {frozenset(order) for order in orders} == {
        frozenset(
            {
                "Upgrade",
                "Connection",
                "Host",
                "Origin",
                "Cookie",
                "Sec-WebSocket-Key1",
                "Sec-WebSocket-Key2",
            }
        )
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_userinfo_becomes_basic_authorization(version):
    url = parse_url("ws://Aladdin:open%20sesame@example.com/")
    request = make(version, url).request()
    assert values_of(request, "Authorization") == ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]
    own = make(version, url, headers=[("authorization", "Bearer x")]).request()
    assert values_of(own, "authorization") == ["Bearer x"]
    assert values_of(own, "Authorization") == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("wanted", "rule"),
    [
        ({"headers": [("a b", "")]}, "header name is not a token: 'a b'"),
        ({"headers": [("", "")]}, "header name is not a token: ''"),
        ({"headers": [("Host", "h")]}, "header is the handshake's own: 'Host'"),
        ({"headers": [("ORIGIN", "h")]}, "header is the handshake's own: 'ORIGIN'"),
        (
            {"headers": [("Sec-WebSocket-Key", "h")]},
            "header is the handshake's own: 'Sec-WebSocket-Key'",
        ),
        (
            {"headers": [("X", "a\r\nY: b")]},
            "value of the header X has control characters",
        ),
        ({"origin": "http://ü"}, "origin is not printable ASCII: 'http://ü'"),
        ({"origin": "a\r\nb"}, r"origin is not printable ASCII: 'a\r\nb'"),
        ({"origin": ""}, "origin is not printable ASCII: ''"),
    ],
)
def test_what_cannot_be_sent_is_refused(version, wanted, rule):
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        make(version, **wanted)


@pytest.mark.parametrize(
    ("version", "subprotocols", "rule"),
    [
        ("55", ["a", "b"], "draft 55 has room for one subprotocol"),
        ("76", ["a", "b"], "draft 76 has room for one subprotocol"),
        ("55", ["a b"], "subprotocol is not printable: 'a b'"),
        ("55", [""], "subprotocol is not printable: ''"),
        ("13", ["a,b"], "subprotocol is not a token: 'a,b'"),
        ("8", [""], "subprotocol is not a token: ''"),
        ("13", ["a", "b", "a"], "subprotocol offered twice: 'a, b, a'"),
    ],
)
def test_subprotocols_that_cannot_be_offered(version, subprotocols, rule):
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        make(version, subprotocols=subprotocols)


def test_unknown_version():
    with pytest.raises(ValueError, match="version is none of 55, 76, 7, 8, 13: '12'"):
        make("12")


def test_each_version_has_its_class():
    kinds = {version: type(make(version)) for version in VERSIONS}
    assert kinds == {
        "55": Hixie55Handshake,
        "76": Hixie76Handshake,
        "7": RFC6455Handshake,
        "8": RFC6455Handshake,
        "13": RFC6455Handshake,
    }


# The answer, every version


@pytest.mark.parametrize("version", VERSIONS)
def test_a_good_answer_is_accepted_and_what_follows_is_kept(version, feed):
    handshake = make(version, subprotocols=["chat"])
    assert feed(handshake, good_answer(handshake) + b"\x00hello\xff")
    assert handshake.surplus == b"\x00hello\xff"
    assert handshake.status == 101
    assert not handshake.refused
    assert handshake.subprotocol == (None if version in HYBI else "chat")
    assert handshake.compression is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_good_answer_is_waited_for_at_every_octet(version):
    handshake = make(version)
    for octet in good_answer(handshake)[:-1]:
        assert not handshake.feed(bytes([octet]))
    assert handshake.surplus == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_headers_and_any_order_behind_the_first_lines(version, feed):
    handshake = make(version)
    lines = good_lines(handshake)
    fixed = 3 if version == "55" else 1
    lines[fixed:] = ["X-Other: 1", *reversed(lines[fixed:]), "x-other: 2", "X:"]
    assert feed(handshake, octets_of(lines) + digest(handshake))
    assert [value for key, value in handshake.headers if key.lower() == "x-other"] == [
        "1",
        "2",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_without_a_space_and_in_any_case_of_letters(version, feed):
    handshake = make(version)
    lines = good_lines(handshake)
    fixed = 3 if version == "55" else 1
    for position in range(fixed, len(lines)):
        name, _, value = lines[position].partition(": ")
        lines[position] = f"{name.swapcase()}:{value}"
    assert feed(handshake, octets_of(lines) + digest(handshake))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("headers", "sent", "body"),
    [
        (["Content-Length: 5"], b"hello and more", b"hello"),
        (["Content-Length: 0"], b"", b""),
        (["content-length: 9"], b"hello", b"hello"),
        (["Content-Length: x"], b"hello", b"hello"),
        ([], b"hello", b"hello"),
        (["Transfer-Encoding: chunked"], b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\n", b"hello"),
        (["Transfer-Encoding: chunked"], b"2\r\nhe\r\n3\r\nll", b"hell"),
        (["Transfer-Encoding: chunked"], b"2\r\nhe\r\n3", b"he"),
        (["Transfer-Encoding: chunked"], b"2\r\nhe\r\nx\r\n", b"he"),
        (["Transfer-Encoding: chunked"], b"2\r\nhe\r\n", b"he"),
    ],
)
def test_a_refusal_is_heard_out(version, headers, sent, body, feed):
    handshake = make(version)
    lines = ["HTTP/1.1 403 Forbidden", *headers, "X-Reason: no"]
    error = error_of(feed, handshake, octets_of(lines) + sent)
    assert str(error) == "server refused the handshake with status 403"
    assert error.status == 403
    assert ("X-Reason", "no") in error.headers
    assert error.body == body


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.0 404 Not Found", 404),
        ("HTTP/1.1 407 Proxy Authentication Required", 407),
        ("HTTP/1.1 302 ", 302),
    ],
)
def test_a_refusal_has_its_status(version, line, status, feed):
    handshake = make(version)
    error = error_of(feed, handshake, octets_of([line]))
    assert error.status == status
    assert handshake.refused


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", [204, 304])
def test_a_refusal_without_a_body_is_not_waited_for(version, status, feed):
    handshake = make(version)
    octets = octets_of([f"HTTP/1.1 {status} No", "Content-Length: 100"])
    error = error_of(feed, handshake, octets, closed=False)
    assert (error.status, error.body) == (status, b"")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("headers", [[], ["Content-Length: 100000000000"]])
def test_no_more_than_the_start_of_a_body_is_kept(version, headers, feed):
    handshake = make(version, limits={"body_size": 10})
    octets = octets_of(["HTTP/1.1 500 Oh", *headers]) + b"x" * 10
    error = error_of(feed, handshake, octets, closed=False)
    assert error.body == b"x" * 10


@pytest.mark.parametrize("version", VERSIONS)
def test_chunks_without_an_end_are_not_waited_for(version, feed):
    handshake = make(version, limits={"body_size": 10})
    octets = octets_of(["HTTP/1.1 500 Oh", "Transfer-Encoding: chunked"])
    error = error_of(feed, handshake, octets + b"1;" + b"x" * 20, closed=False)
    assert error.body == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_without_an_end_are_refused(version, feed):
    handshake = make(version, limits={"header_size": 300})
    start = octets_of(good_lines(handshake))[:-2]
    error = error_of(feed, handshake, start + b"x" * (301 - len(start)), closed=False)
    assert str(error) == "headers longer than 300 bytes"


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_of_the_largest_size_are_accepted(version, feed):
    handshake = make(version)
    octets = octets_of(good_lines(handshake))
    for limit, accepted in ((len(octets), True), (len(octets) - 1, False)):
        handshake = make(version, limits={"header_size": limit}, random=Random(1))
        answer = good_answer(handshake)
        assert len(octets) == len(octets_of(good_lines(handshake)))
        if accepted:
            assert feed(handshake, answer + b"\x00" * 100)
        else:
            error = error_of(feed, handshake, answer, closed=False)
            assert str(error) == f"headers longer than {limit} bytes"


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_without_number_are_refused(version, feed):
    handshake = make(version, limits={"header_fields": 10})
    octets = octets_of(good_lines(handshake) + ["a: b"] * 10)
    error = error_of(feed, handshake, octets, closed=False)
    assert str(error) == "more than 10 headers"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refusal_whose_headers_have_no_end(version, feed):
    handshake = make(version, limits={"header_size": 100})
    octets = b"HTTP/1.1 404 No\r\nX: " + b"x" * 100
    error = error_of(feed, handshake, octets, closed=False)
    assert str(error) == "headers longer than 100 bytes"
    assert error.status == (None if version in HYBI else 404)


# The answer, versions 7, 8 and 13


@pytest.mark.parametrize("version", HYBI)
@pytest.mark.parametrize(
    ("number", "line", "rule"),
    [
        (0, "HTTP/2 101 x", "status line is not HTTP's: 'HTTP/2 101 x'"),
        (0, "HTTP/1.1 1011", "status line is not HTTP's: 'HTTP/1.1 1011'"),
        (0, "SSH-2.0-x", "status line is not HTTP's: 'SSH-2.0-x'"),
        (0, "HTTP/1.1 101 a\nb", r"status line is not HTTP's: 'HTTP/1.1 101 a\nb'"),
        (0, "HTTP/1.0 101 x", "status 101 in an answer of HTTP/1.0"),
        (1, "X: y", "Upgrade header is '', not 'websocket'"),
        (1, "Upgrade: WebSockets", "Upgrade header is 'WebSockets', not 'websocket'"),
        (2, "X: y", "Connection header lacks 'Upgrade': ''"),
        (2, "Connection: close", "Connection header lacks 'Upgrade': 'close'"),
        (3, "X: y", "0 Sec-WebSocket-Accept headers, not one"),
        (3, "Sec-WebSocket-Accept: x", "Sec-WebSocket-Accept is wrong: 'x'"),
        (1, "no colon", "line is not a header: 'no colon'"),
        (1, "a b: c", "line is not a header: 'a b: c'"),
        (1, ": c", "line is not a header: ': c'"),
        (1, " a: c", "line is not a header: ' a: c'"),
        (1, "a: \x01", "a header has control characters"),
    ],
)
def test_what_rfc_6455_refuses(version, number, line, rule, feed):
    handshake = make(version)
    lines = good_lines(handshake)
    lines[number] = line
    assert str(error_of(feed, handshake, octets_of(lines), closed=False)) == rule


def test_the_accept_of_another_key_is_refused(feed):
    handshake = make("13")
    other = good_answer(make("13"))
    error = error_of(feed, handshake, other, closed=False)
    assert str(error).startswith("Sec-WebSocket-Accept is wrong: ")
    assert error.status == 101
    assert ("Upgrade", "websocket") in error.headers


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["Sec-WebSocket-Accept: x"], "2 Sec-WebSocket-Accept headers, not one"),
        (["Upgrade: x"], "Upgrade header is 'websocket, x', not 'websocket'"),
        (["Sec-WebSocket-Protocol: x"], "subprotocol was not offered: 'x'"),
        (["Sec-WebSocket-Protocol: a, b"], "subprotocol was not offered: 'a, b'"),
        (["Sec-WebSocket-Protocol: A"], "subprotocol was not offered: 'A'"),
        (
            ["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"],
            "2 Sec-WebSocket-Protocol headers, not one",
        ),
        (
            [
                "Sec-WebSocket-Extensions: permessage-deflate",
                "sec-websocket-extensions: x",
            ],
            "extension was not offered: 'permessage-deflate, x'",
        ),
    ],
)
def test_what_rfc_6455_refuses_beyond_the_good_lines(lines, rule, feed):
    handshake = make("13", subprotocols=["a", "b"])
    octets = octets_of(good_lines(handshake) + lines)
    assert str(error_of(feed, handshake, octets, closed=False)) == rule


def test_what_rfc_6455_accepts_beyond_the_good_lines(feed):
    handshake = make("13", subprotocols=["a", "b"])
    lines = good_lines(handshake)
    lines[0] = "HTTP/1.1 101"
    lines[1] = "upgrade: WebSocket"
    lines[2] = "Connection: keep-alive,\tUPGRADE"
    lines[3] = lines[3].replace(": ", ": \t ") + " \t"
    lines.append("Sec-WebSocket-Protocol: b")
    lines += ["X: folded", "  value", "\t", "X-Latin: \u00e9"]
    assert feed(handshake, octets_of(lines))
    assert handshake.subprotocol == "b"
    assert ("X", "folded value") in handshake.headers


def test_interim_answers_are_passed_over(feed):
    handshake = make("13")
    interim = octets_of(["HTTP/1.1 103 Early Hints", "Link: </x>"])
    assert feed(handshake, interim * 2 + good_answer(handshake) + b"more")
    assert handshake.surplus == b"more"
    assert handshake.status == 101


def test_interim_answers_without_an_end_are_refused(feed):
    interim = octets_of(["HTTP/1.1 100 Continue"])
    error = error_of(
        feed, make("13", limits={"header_size": 1000}), interim * 50, closed=False
    )
    assert str(error) == "headers longer than 1000 bytes"


@pytest.mark.parametrize("version", ["55", "76"])
def test_interim_answers_are_refusals_to_hixie(version, feed):
    interim = octets_of(["HTTP/1.1 100 Continue"])
    assert error_of(feed, make(version), interim, closed=False).status == 100


def test_compression_is_what_the_server_agreed_to(feed):
    handshake = make("13", compression=Compression())
    lines = [*good_lines(handshake), "Sec-WebSocket-Extensions: permessage-deflate"]
    assert feed(handshake, octets_of(lines))
    assert handshake.compression is not None


def test_an_extension_that_was_not_offered_is_refused(feed):
    handshake = make("13", compression=Compression())
    lines = [*good_lines(handshake), "Sec-WebSocket-Extensions: x-other"]
    error = error_of(feed, handshake, octets_of(lines), closed=False)
    assert "x-other" in str(error)
    assert error.status == 101


# The answer, drafts 55 and 76: the failures of draft 55, section 4.1


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        # Step 11
        (b"", "connection closed before the end of the status line"),
        (b"HTTP/1.1 101", "connection closed before the end of the status line"),
        (b"\n", r"status line does not end with CR LF: b'\n'"),
        (b"x y z\n", r"status line does not end with CR LF: b'x y z\n'"),
        # Step 12
        (b"\r\n", r"status line has no code: b'\r\n'"),
        (b"HTTP/1.1 101\r\n", r"status line has no code: b'HTTP/1.1 101\r\n'"),
        (b"a b c\r\n", "status line is not HTTP's: 'a b c'"),
        (b"HTTP/1.1 abc d\r\n", "status line is not HTTP's: 'HTTP/1.1 abc d'"),
        (b"HTTP/1.1  x\r\n", "status line is not HTTP's: 'HTTP/1.1  x'"),
    ],
)
@pytest.mark.parametrize("version", ["55", "76"])
def test_failures_of_the_status_line(version, octets, rule, feed):
    assert str(error_of(feed, make(version), octets)) == rule


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"HTTP/1.1 101 web socket protocol handshake\r\n",
        b"HTTP/1.2 101 Web Socket Protocol Handshake\r\n",
        b"HTTP/1.1 101 Web Socket Protocol Handshake \r\n",
        b"HTTP/1.1 101 Web Socket Protocol Handshak\r\n",
    ],
)
def test_draft_55_compares_the_status_line_exactly(line, feed):
    error = error_of(feed, make("55"), line, closed=False)
    assert str(error) == f"status line is not that of draft 55: {line!r}"
    assert error.status == 101


def test_draft_55_tells_http_1_0_apart(feed):
    line = b"HTTP/1.0 101 Web Socket Protocol Handshake\r\n"
    error = error_of(feed, make("55"), line, closed=False)
    assert str(error) == "status 101 in an answer of HTTP/1.0"


@pytest.mark.parametrize(
    "line", ["HTTP/1.1 101 x", "HTTP/1.1 101 ", "ICY 101 Web Socket Protocol Handshake"]
)
def test_draft_76_looks_at_the_code_alone(line, feed):
    handshake = make("76")
    lines = good_lines(handshake)
    lines[0] = line
    assert feed(handshake, octets_of(lines) + digest(handshake))


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"upgrade: WebSocket\r\nConnection: Upgrade\r\n",
        b"Upgrade:WebSocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: WebSocket\r\nConnection: upgrade\r\n",
        b"Upgrade: WebSocket\r\nConnection: Upgrade \r\n",
        b"Upgrade: WebSocket\r\nConnection: Upgrade\n",
        b"Upgrade: WebSocket\r\nX: y\r\nConnection: Upgrade\r\n",
        b"\r\n",
    ],
)
def test_draft_55_compares_the_41_octets_exactly(lines, feed):
    octets = b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n" + lines
    error = error_of(feed, make("55"), octets, closed=False)
    assert str(error).startswith(
        "status line is not followed by 'Upgrade: WebSocket' and 'Connection: Upgrade'"
    )


HIXIE_START = {
    "55": (
        b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n"
    ),
    "76": b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n",
}


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        # Step 16
        (b"", "connection closed in the name of a header"),
        (b"Nam", "connection closed in the name of a header"),
        (b"Nam\r\n", "CR in the name of a header: b'nam'"),
        (b"Nam\n", "LF in the name of a header: b'nam'"),
        (b"\n", "LF in the name of a header: b''"),
        (b"a: b\r\n c: d\n", "LF in the value of a header: b'd'"),
        # Step 17
        (b"Name:", "connection closed behind the name of a header"),
        (b"Name:\n", "LF in the value of a header: b''"),
        # Step 18
        (b"Name: ", "connection closed in the value of a header"),
        (b"Name: valu", "connection closed in the value of a header"),
        (b"Name: valu\n", "LF in the value of a header: b'valu'"),
        # Step 19
        (b"Name: value\r", "connection closed behind the value of a header"),
        (b"Name: value\r\r", "CR without LF behind a header: b'value'"),
        (b"Name:\rx", "CR without LF behind a header: b''"),
        # Step 22
        (b"a: b\r\n\r", "connection closed before the end of the headers"),
        (b"a: b\r\n\r\r", "CR without LF behind the headers"),
    ],
)
@pytest.mark.parametrize("version", ["55", "76"])
def test_failures_of_the_header_loop(version, octets, rule, feed):
    error = error_of(feed, make(version), HIXIE_START[version] + octets)
    assert str(error) == rule
    assert error.status == 101


def test_connection_closed_in_the_41_octets(feed):
    error = error_of(feed, make("55"), HIXIE_START["55"][:60])
    assert str(error) == (
        "connection closed before the end of the lines Upgrade and Connection"
    )


@pytest.mark.parametrize("version", HYBI)
def test_connection_closed_in_the_headers(version, feed):
    error = error_of(feed, make(version), b"HTTP/1.1 101 x\r\n")
    assert str(error) == "connection closed before the end of the headers"


@pytest.mark.parametrize("version", ["55", "76"])
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("origin", "http://example.com:8080", "http://Example.com:8080"),
        ("origin", "http://example.com:8080", "http://example.com:8080 "),
        ("origin", "http://example.com:8080", " http://example.com:8080"),
        ("origin", "http://example.com:8080", ""),
        ("location", "ws://example.com:8080/demo?room=1", "ws://example.com:8080/demo"),
        (
            "location",
            "ws://example.com:8080/demo?room=1",
            "ws://hostile.example:8080/demo?room=1",
        ),
        (
            "location",
            "ws://example.com:8080/demo?room=1",
            "wss://example.com:8080/demo?room=1",
        ),
        ("protocol", "chat", "Chat"),
        ("protocol", "chat", "chat, chat"),
    ],
)
def test_values_are_compared_exactly(version, name, good, bad, feed):
    handshake = make(version, subprotocols=["chat"])
    name = {"55": "WebSocket-", "76": "Sec-WebSocket-"}[version] + name.capitalize()
    lines = good_lines(handshake)
    lines[lines.index(f"{name}: {good}")] = f"{name}: {bad}"
    error = error_of(feed, handshake, octets_of(lines) + bytes(16), closed=False)
    assert str(error) == f"{name.lower()} header is {bad!r}, not {good!r}"


@pytest.mark.parametrize("version", ["55", "76"])
@pytest.mark.parametrize("name", ["origin", "location", "protocol"])
@pytest.mark.parametrize("count", [0, 2])
def test_each_header_that_counts_comes_exactly_once(version, name, count, feed):
    handshake = make(version, subprotocols=["chat"])
    name = {"55": "WebSocket-", "76": "Sec-WebSocket-"}[version] + name.capitalize()
    lines = good_lines(handshake)
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    position = lines.index(line)
    lines[position : position + 1] = [line] * count
    error = error_of(feed, handshake, octets_of(lines) + bytes(16), closed=False)
    assert str(error) == f"{count} {name.lower()} headers, not one"


@pytest.mark.parametrize("version", ["55", "76"])
def test_a_header_with_an_empty_name_fails(version, feed):
    handshake = make(version)
    octets = octets_of([*good_lines(handshake), ": value"]) + bytes(16)
    error = error_of(feed, handshake, octets, closed=False)
    assert str(error) == "header with an empty name"


@pytest.mark.parametrize("version", ["55", "76"])
def test_a_protocol_that_was_not_asked_for_is_ignored(version, feed):
    handshake = make(version)
    name = {"55": "WebSocket-Protocol", "76": "Sec-WebSocket-Protocol"}[version]
    lines = [*good_lines(handshake), f"{name}: a", f"{name}: b"]
    assert feed(handshake, octets_of(lines) + digest(handshake))
    assert handshake.subprotocol is None


@pytest.mark.parametrize("version", ["55", "76"])
def test_headers_are_utf_8_with_replacement_characters(version, feed):
    handshake = make(version)
    octets = octets_of(good_lines(handshake))[:-2]
    octets += b"N\xc3\xa4me:  v\xffl \r\n\xe2\x84\xaa: k\r\n\r\n" + digest(handshake)
    assert feed(handshake, octets)
    assert handshake.headers[-2:] == [("näme", " v\ufffdl "), ("\u212a", "k")]


@pytest.mark.parametrize(
    ("number", "line", "rule"),
    [
        (1, "Upgrade: websocket", "upgrade header is 'websocket', not 'WebSocket'"),
        (1, "X: y", "0 upgrade headers, not one"),
        (2, "Connection: close", "connection header is 'close', not 'upgrade'"),
        (2, "X: y", "0 connection headers, not one"),
        (3, "Upgrade: WebSocket", "2 upgrade headers, not one"),
    ],
)
def test_what_draft_76_refuses_of_its_fixed_headers(number, line, rule, feed):
    handshake = make("76")
    lines = good_lines(handshake)
    lines[number] = line
    octets = octets_of(lines) + digest(handshake)
    assert str(error_of(feed, handshake, octets, closed=False)) == rule


def test_draft_76_takes_connection_in_any_case_of_letters(feed):
    handshake = make("76")
    lines = good_lines(handshake)
    lines[2] = "Connection: uPGRADE"
    assert feed(handshake, octets_of(lines) + digest(handshake))


def test_a_wrong_digest_fails(feed):
    handshake = make("76")
    wrong = bytearray(digest(handshake))
    wrong[15] ^= 1
    octets = octets_of(good_lines(handshake)) + bytes(wrong)
    error = error_of(feed, handshake, octets, closed=False)
    assert str(error) == f"digest of the challenge is wrong: {bytes(wrong)!r}"


def test_connection_closed_in_the_digest(feed):
    handshake = make("76")
    error = error_of(feed, handshake, good_answer(handshake)[:-1])
    assert str(error) == "connection closed before the end of the challenge's digest"


@pytest.mark.parametrize("version", VERSIONS)
@given(octets=st.binary(), cut=st.integers(0, 300))
def test_any_octets_are_an_answer_or_an_error(version, octets, cut):
    for answer in (octets, good_answer(make(version))[:cut] + octets):
        with suppress(HandshakeError):
            make(version).feed(answer)


@pytest.mark.parametrize("version", ["55", "76"])
def test_cookies_are_handled_only_when_nothing_has_failed(version, feed):
    """Draft 55, 4.1, step 23: "then fail the Web Socket connection and abort these
    steps.  Otherwise, handle each entry in the /headers/ list as follows: [...] If the
    entry's name is "set-cookie" [...] Handle the cookie"."""
    for more, kept in (
        ([], 1),
        (["Sec-WebSocket-Origin: a", "WebSocket-Origin: a"], 0),
    ):
        handshake = make(version)
        octets = octets_of([*good_lines(handshake), "Set-Cookie: a=1", *more])
        with suppress(HandshakeError):
            feed(handshake, octets + digest(handshake))
        assert ("set-cookie", "a=1") in handshake.headers
        assert handshake.cookie_headers.count(("set-cookie", "a=1")) == kept


def test_cookies_of_a_refusal_are_http_s(feed):
    """RFC 6455, 4.1: "If the status code received from the server is not 101, the
    client handles the response per HTTP [RFC2616] procedures."."""
    handshake = make("13")
    error_of(feed, handshake, b"HTTP/1.1 401 Who\r\nSet-Cookie: a=1\r\n\r\n")
    assert handshake.cookie_headers == [("Set-Cookie", "a=1")]
