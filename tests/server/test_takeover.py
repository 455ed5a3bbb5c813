"""What becomes of the server's HTTP side: nothing lost, nothing run, nothing left."""

import json
import os
import time

import pytest

from . import peers

VERSIONS = ["55", "76", "13"]


@pytest.fixture
def token():
    return os.urandom(6).hex()


def smuggle(server, token):
    return peers.http_request(f"/delete?{token}", server.host)


def executed(server):
    return json.loads(server.get("/executed").body)


# ---- smuggling


@pytest.mark.parametrize("version", VERSIONS)
def test_request_behind_an_upgrade_is_never_executed(server, token, version):
    client = server.client(version, origin=server.origin)
    client.wire.send(client.request() + smuggle(server, token))
    client.wire.end_of_writing()
    answer = client.wire.read_to_end()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.count(b"HTTP/1.1") == 1, "an HTTP answer in the stream"
    assert token not in executed(server)
    assert not server.log.find(token, server.mark), "it is in the log"


@pytest.mark.parametrize("version", VERSIONS)
def test_request_behind_the_closing_handshake_is_never_executed(server, token, version):
    client = server.client(version, origin=server.origin)
    endings = {
        "55": b"",
        "76": b"\xff\x00",
        "13": peers.encode_frame(peers.CLOSE, peers.close_payload(1000)),
    }
    client.wire.send(client.request() + endings[version] + smuggle(server, token))
    client.wire.end_of_writing()
    answer = client.wire.read_to_end()
    assert answer.count(b"HTTP/1.1") == 1, "an HTTP answer in the stream"
    assert token not in executed(server)


@pytest.mark.parametrize("path", ["/returns", "/close?1000=", "/raises"])
def test_request_behind_an_upgrade_whose_handler_ends(server, token, path):
    server.allowed_faults = [r"Traceback|\bERROR\b"]
    client = server.client("13", path)
    client.wire.send(client.request() + smuggle(server, token))
    client.wire.end_of_writing()
    answer = client.wire.read_to_end()
    assert answer.count(b"HTTP/1.1") == 1
    assert token not in executed(server)


def test_handler_that_neither_answers_nor_uses_the_websocket(server, token):
    """Applications that shake hands by themselves end so; nothing may be added."""
    client = server.client("13", "/never-used")
    client.wire.send(client.request() + smuggle(server, token))
    assert client.wire.read_to_end() == b""
    assert token not in executed(server)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", ["/unauthorized", "/nothing-here", "/redirect"])
def test_request_behind_an_upgrade_that_the_application_refuses(
    server, token, version, path
):
    client = server.client(version, path, origin=server.origin)
    client.wire.send(client.request() + smuggle(server, token))
    answer = client.wire.read_to_end()
    assert answer.split(b" ")[1] in (b"401", b"404", b"302")
    assert answer.count(b"HTTP/1.1") == 1
    assert token not in executed(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_request_behind_an_upgrade_that_the_middleware_refuses(server, token, version):
    server.allowed_faults = ["evil"]
    client = server.client(version, origin="http://evil.example")
    client.wire.send(client.request() + smuggle(server, token))
    answer = client.wire.read_to_end()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert token not in executed(server)


def test_request_as_the_announced_body_of_an_upgrade(server, token):
    server.allowed_faults = [r"\bWARNING\b"]
    hidden = smuggle(server, token)
    client = server.client("13", fields=[("Content-Length", str(len(hidden)))])
    client.wire.send(client.request() + hidden)
    client.wire.end_of_writing()
    answer = client.wire.read_to_end()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert token not in executed(server)


def test_request_behind_frames(server, token):
    """The stream stays a WebSocket, whatever its bytes look like."""
    client = server.open("13")
    client.send("one")
    assert client.receive() == "one"
    client.wire.send(smuggle(server, token))
    # The request's first octet, "G", has a reserved bit set.
    assert client.expect_close() == 1002
    assert token not in executed(server)


def test_request_as_text_of_draft_55(server, token):
    client = server.open("55", origin=server.origin)
    text = smuggle(server, token).decode()
    client.send(text)
    assert client.receive() == text
    client.close()
    assert token not in executed(server)


# ---- keep-alive


@pytest.mark.parametrize(
    ("path", "status"),
    [("/unauthorized", 401), ("/nothing-here", 404), ("/redirect", 302)],
)
@pytest.mark.parametrize("version", ["13", "55"])
def test_refusal_leaves_the_connection_usable(server, path, status, version):
    client = server.client(version, path, origin=server.origin)
    wire = client.wire
    wire.send(client.request())
    response = peers.read_response(wire)
    assert response.status == status
    if status == 401:
        assert response.body == b"who are you?\n"
        assert response.field("www-authenticate") == 'Basic realm="here"'
    response = peers.exchange(wire, "/", host=server.host)
    assert (response.status, response.body) == (200, b"plain HTTP\n")
    # and for a second upgrade, which is accepted
    second = peers.RFC6455Client(wire, server.host, "/echo")
    second.connect()
    second.send("after a refusal")
    assert second.receive() == "after a refusal"
    second.close()


@pytest.mark.parametrize("version", ["13", "55"])
def test_websocket_of_a_refused_request_is_of_no_use(server, version):
    client = server.client(version, "/refuse-and-keep", origin=server.origin)
    client.wire.send(client.request())
    assert peers.read_response(client.wire).status == 403
    response = peers.exchange(client.wire, "/use-kept", host=server.host)
    assert response.body == b"ConnectionClosed ConnectionClosed None"


def test_websocket_cannot_begin_within_a_response(server):
    client = server.client("13", "/too-late")
    client.wire.send(client.request())
    response = peers.read_response(client.wire)
    assert response.status == 200
    assert response.body.startswith(b"begun, an HTTP response has begun")


def test_upgrade_after_plain_requests_on_the_same_connection(server):
    wire = server.connect()
    for path in ("/", "/stream", "/nothing-here"):
        assert peers.exchange(wire, path, host=server.host).status in (200, 404)
    wire.send(
        peers.http_request(
            "/post", server.host, "POST", fields=[("Content-Length", "4")]
        )
        + b"body"
    )
    assert peers.read_response(wire).body == b"body"
    client = peers.RFC6455Client(wire, server.host, "/echo").connect()
    client.send("after plain HTTP")
    assert client.receive() == "after plain HTTP"
    client.close()


def test_upgrade_pipelined_behind_a_plain_request(server):
    client = server.client("13")
    first = peers.http_request("/", server.host)
    client.wire.send(first + client.request() + client.encode("in one segment"))
    assert peers.read_response(client.wire).body == b"plain HTTP\n"
    client.verify()
    assert client.receive() == "in one segment"
    client.close()


# ---- the end, and the access log


@pytest.mark.parametrize("version", VERSIONS)
def test_access_log_has_one_line(server, token, stopwatch, version):
    path = f"/echo?{token}"
    client = server.client(version, path, origin=server.origin)
    client.connect()
    opening = stopwatch.lap()
    client.send("payload")
    assert client.receive() == "payload"
    # The true duration is what is tested here.
    time.sleep(0.3)
    held = stopwatch.lap()
    client.close()
    lines = server.access_lines(path)
    closing = stopwatch.lap()
    server.settle()
    assert server.access_lines(path) == lines
    assert len(lines) == 1
    status, sent, seconds = lines[0]
    assert status == 101
    assert held - 0.05 <= seconds <= opening + held + closing + 0.05
    # The close's deadline is 5 s.
    assert closing < 4.5, "the connection lingers"
    head = client.wire.received - sent
    assert head == 0 or head > 100, f"{sent} of {client.wire.received} bytes"


@pytest.mark.parametrize("path", ["/returns", "/close?4000=over", "/old-style"])
def test_nothing_follows_the_end(server, token, path):
    separator = "&" if "?" in path else "?"
    path = path if "=" in path else f"{path}{separator}{token}"
    client = server.open("13", path)
    if path.startswith("/old-style"):
        client.close()
    else:
        client.expect_close()
    statuses = [status for status, _, _ in server.access_lines(path)]
    assert statuses == [101]


@pytest.mark.parametrize("version", VERSIONS)
def test_client_resets_the_connection(server, token, version):
    path = f"/echo?{token}"
    client = server.client(version, path, origin=server.origin).connect()
    client.send("going")
    assert client.receive() == "going"
    client.wire.reset()
    assert [status for status, _, _ in server.access_lines(path)] == [101]


@pytest.mark.parametrize("version", VERSIONS)
def test_client_goes_before_the_answer(server, token, version):
    path = f"/echo?{token}"
    client = server.client(version, path, origin=server.origin)
    client.wire.send(client.request())
    client.wire.reset()
    # It may have gone before the server has taken the connection: either no line
    # at all is written, or the 101's; never a fault, which the fixture looks for.
    server.settle()
    assert len(server.log.find(token, server.mark)) <= 1


def test_half_of_a_request_head(server):
    with server.connect() as wire:
        wire.send(b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: webso")
        wire.end_of_writing()
        assert b"101" not in wire.read_to_end()


def test_log_of_the_refusal_has_its_status(server, token):
    path = f"/unauthorized?{token}"
    client = server.client("13", path)
    client.wire.send(client.request())
    assert peers.read_response(client.wire).status == 401
    assert [status for status, _, _ in server.access_lines(path)] == [401]


@pytest.mark.parametrize("kind", ["ours", "ours-fast", "gevent", "gevent-fast"])
def test_no_early_hints_after_the_handshake(shared, kind):
    client = shared(kind).open("13", "/hints")
    assert client.receive() == "False"
    assert client.expect_close() == 1000


@pytest.mark.parametrize("kind", ["ours", "ours-fast", "gevent"])
def test_headers_of_the_request_for_an_access_log(start, kind):
    words = "HEADERS %({host}i)s %({x-name}i)s %({sec-websocket-version}i)s"
    server = start(kind, "apps:app", "--access-logformat", words)
    client = server.client("13", fields=[("X-Name", "somebody")]).connect()
    client.close()
    server.log.wait(f"^HEADERS {server.host} somebody 13$")
