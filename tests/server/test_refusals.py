"""What each bad request gets: its status and a sentence, on every server."""

import contextlib

import pytest

from . import peers

GOOD = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]


def changed(**changes):
    """Change, drop (None) or add fields of a good request."""
    renamed = {key.replace("_", "-").lower(): value for key, value in changes.items()}
    fields = []
    for name, value in GOOD:
        value = renamed.pop(name.lower(), value)
        if value is not None:
            fields.append((name, value))
    return fields + list(renamed.items())


def refuse(server, fields, **options):
    """Send a request that must be refused; return the answer."""
    server.allowed_faults = [r"\bWARNING\b"]
    options.setdefault("host", server.host)
    with server.connect() as wire:
        wire.send(peers.http_request("/echo", fields=fields, **options))
        return peers.read_response(wire)


def check_sentence(response):
    """See that the body is plain text that tells a person something."""
    assert (response.field("content-type") or "").startswith("text/plain")
    text = response.body.decode()
    assert len(text.split()) >= 3, f"no sentence: {text!r}"
    assert "<" not in text
    assert "Traceback" not in text


MALFORMED = {
    "no key": changed(Sec_WebSocket_Key=None),
    "empty key": changed(Sec_WebSocket_Key=""),
    "short key": changed(Sec_WebSocket_Key="dGhlIHNhbXBsZQ=="),
    "long key": changed(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ=="),
    "key not base64": changed(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ!!"),
    "key without padding": changed(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"),
    "key with a space": changed(Sec_WebSocket_Key="dGhlIHNhbXBs ZSBub25jZQ=="),
    "two keys": [*GOOD, ("Sec-WebSocket-Key", "c2Vjb25kIHNhbXBsZSBrZQ==")],
    "body": changed(Content_Length="5"),
    "chunked body": changed(Transfer_Encoding="chunked"),
    "protocol with a space": changed(Sec_WebSocket_Protocol="a b"),
    "protocol with a separator": changed(Sec_WebSocket_Protocol="a;b"),
    "protocol twice": changed(Sec_WebSocket_Protocol="chat, chat"),
    "empty extension": changed(Sec_WebSocket_Extensions="a; ; b"),
    "extension without a name": changed(Sec_WebSocket_Extensions="; a=b"),
    "extension with an open quote": changed(Sec_WebSocket_Extensions='a; b="c'),
    "extension with a bad value": changed(Sec_WebSocket_Extensions="a; b=c d"),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_malformed_request_gets_400(server, fields):
    bodies = {
        "Content-Length": b"hello",
        "Transfer-Encoding": b"5\r\nhello\r\n0\r\n\r\n",
    }
    body = b"".join(bodies.get(name.title(), b"") for name, _ in fields)
    with server.connect() as wire:
        server.allowed_faults = [r"\bWARNING\b"]
        wire.send(peers.http_request("/echo", server.host, fields=fields) + body)
        response = peers.read_response(wire)
    assert response.status == 400
    check_sentence(response)


def test_missing_host_gets_400(server):
    response = refuse(server, GOOD, host=None)
    assert response.status == 400
    # gunicorn's own parser may be the one that refuses, with its own page.
    if "html" not in (response.field("content-type") or ""):
        check_sentence(response)


@pytest.mark.parametrize(
    "version", ["0", "6", "9", "12", "14", "99", "013", "+13", "x"]
)
def test_unknown_version_gets_426_and_the_known_ones(server, version):
    response = refuse(server, changed(Sec_WebSocket_Version=version))
    assert response.status == 426
    assert response.field("sec-websocket-version") == "13, 8, 7"
    check_sentence(response)


def test_upgrade_that_a_proxy_stripped_gets_426(server):
    fields = changed(Upgrade=None, Connection="close")
    response = refuse(server, fields)
    assert response.status == 426
    assert response.field("sec-websocket-version") == "13, 8, 7"
    check_sentence(response)
    assert "proxy" in response.body.decode().lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_get_405(server, method):
    server.allowed_faults = [r"\bWARNING\b"]
    with server.connect() as wire:
        response = peers.exchange(
            wire, "/echo", host=server.host, method=method, fields=GOOD
        )
    assert response.status == 405
    assert response.field("allow") == "GET"
    if method != "HEAD":
        check_sentence(response)


def test_http_1_0_gets_505(server):
    response = refuse(server, GOOD, version="1.0")
    assert response.status == 505
    check_sentence(response)


@pytest.mark.parametrize(
    ("key1", "key2"),
    [
        ("12998 5 Y3 1  .P00", None),
        (None, "12998 5 Y3 1  .P00"),
        ("12345678", "12998 5 Y3 1  .P00"),
        ("a b c d", "12998 5 Y3 1  .P00"),
        ("a 1 2 5 b", "12998 5 Y3 1  .P00"),
        ("x 4294967296 3 y", "12998 5 Y3 1  .P00"),
        ("x 99999999999 y", "12998 5 Y3 1  .P00"),
    ],
    ids=[
        "one key",
        "the other key",
        "no spaces",
        "no digits",
        "not a multiple",
        "quotient of 33 bits",
        "quotient too large",
    ],
)
def test_malformed_keys_of_draft_76_get_400(server, key1, key2):
    server.allowed_faults = [r"\bWARNING\b"]
    client = server.client("76", origin=server.origin)
    fields = [("Upgrade", "WebSocket"), ("Connection", "Upgrade")]
    fields.append(("Origin", server.origin))
    if key1 is not None:
        fields.append(("Sec-WebSocket-Key1", key1))
    if key2 is not None:
        fields.append(("Sec-WebSocket-Key2", key2))
    client.wire.send(peers.http_request("/echo", server.host, fields=fields))
    client.wire.send(b"8 octets")
    response = peers.read_response(client.wire)
    assert response.status == 400
    check_sentence(response)
    # The eight octets are not the start of another request.
    with contextlib.suppress(ConnectionResetError):
        assert client.wire.read_to_end() == b""


@pytest.mark.parametrize("version", ["55", "76"])
def test_drafts_without_an_origin_get_403(server, version):
    server.allowed_faults = [r"\bWARNING\b"]
    client = server.client(version, origin=None)
    client.wire.send(client.request())
    response = peers.read_response(client.wire)
    assert response.status == 403
    check_sentence(response)


@pytest.mark.parametrize("version", ["55", "76", "7", "8", "13"])
def test_foreign_origin_gets_403_and_a_line_in_the_log(server, version):
    server.allowed_faults = [r"evil\.example"]
    client = server.client(version, origin="http://evil.example")
    client.wire.send(client.request())
    response = peers.read_response(client.wire)
    assert response.status == 403
    check_sentence(response)
    line = server.log.wait(r".*http://evil\.example.*", server.mark)[0][0]
    assert server.host in line, "the host is not in the log line"
    assert "http" in line.replace("http://evil.example", ""), "no scheme in the line"


def test_connection_without_the_upgrade_token(server):
    """Section 4.2.1 asks for it; such a request is never taken for an upgrade."""
    response = refuse(server, changed(Connection="keep-alive"))
    assert response.status in (400, 426)
    check_sentence(response)


def test_nothing_is_executed_behind_a_refusal(server):
    """What stands behind a bad handshake may be anything but a request."""
    server.allowed_faults = [r"\bWARNING\b"]
    with server.connect() as wire:
        fields = changed(Sec_WebSocket_Version="99")
        wire.send(
            peers.http_request("/echo", server.host, fields=fields)
            + peers.http_request("/delete?behind-a-refusal", server.host)
        )
        assert peers.read_response(wire).status == 426
        assert wire.read_to_end() == b""
    assert b"behind-a-refusal" not in server.get("/executed").body


@pytest.mark.parametrize("cookie", ["session=s3cr3t", "a=b; token=s3cr3t"])
def test_secrets_stay_out_of_the_log(server, cookie):
    server.allowed_faults = [r"\bWARNING\b"]
    for fields in (
        [*GOOD, ("Cookie", cookie), ("Origin", "http://evil.example")],
        [*changed(Sec_WebSocket_Key="s3cr3t"), ("Cookie", cookie)],
        [*GOOD, ("Cookie", cookie), ("Authorization", "Bearer s3cr3t")],
    ):
        client = server.client("13")
        client.wire.send(peers.http_request("/echo", server.host, fields=fields))
        peers.read_response(client.wire)
        client.wire.close()
    server.settle()
    assert "s3cr3t" not in server.log.text(server.mark)
