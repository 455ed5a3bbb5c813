"""Servers that cannot carry a WebSocket: the upgrade gets 503, HTTP goes on."""

import pytest

from . import peers

UNSUPPORTED = ["sync", "gthread", "werkzeug"]
HINT = r"wsmiddleware\.worker\.WebSocketWorker"


@pytest.fixture(params=UNSUPPORTED)
def server(request, shared):
    server = shared(request.param)
    server.allowed_faults = [HINT]
    return server


@pytest.mark.parametrize("version", ["55", "76", "7", "8", "13"])
def test_upgrade_gets_503_with_a_sentence(server, version):
    client = server.client(version, origin=server.origin)
    client.wire.send(client.request())
    response = peers.read_response(client.wire)
    assert response.status == 503
    assert response.field("content-type").startswith("text/plain")
    assert len(response.body.decode().split()) > 3
    client.wire.close()


def test_http_goes_on(server):
    client = server.client("13")
    client.wire.send(client.request())
    assert peers.read_response(client.wire).status == 503
    client.wire.close()
    for path, body in (("/", b"plain HTTP\n"), ("/has-websocket", b"False")):
        assert server.get(path).body == body


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_one_log_line_names_the_worker_to_use(start, kind):
    server = start(kind)
    for _ in range(5):
        client = server.client("13")
        client.wire.send(client.request())
        assert peers.read_response(client.wire).status == 503
        client.wire.close()
    server.settle()
    lines = server.log.find(HINT)
    assert len(lines) == 1, "not one line:\n" + server.log.text()
    assert not server.log.find("Traceback")


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_request_behind_the_upgrade_is_not_executed(shared, kind):
    server = shared(kind)
    server.allowed_faults = [HINT]
    client = server.client("13")
    client.wire.send(
        client.request() + peers.http_request("/delete?smuggled", server.host)
    )
    client.wire.end_of_writing()
    assert client.wire.read_to_end().count(b"HTTP/1.") == 1
    assert b"smuggled" not in server.get("/executed").body
