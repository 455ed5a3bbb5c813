"""Unmodified applications run: with the middleware, and on our worker without it."""

import pytest

from . import peers
from .conftest import ROOT, SUPPORTED

APPS = ["flask_app", "bottle_app", "wsgi_app"]
SERVERS = [("ours", "frameworks"), *((kind, "wrapped") for kind in SUPPORTED)]


@pytest.fixture(params=SERVERS, ids=" ".join)
def place(request):
    """A kind of server, with the module whose applications run on it."""
    return request.param


@pytest.fixture(params=APPS)
def server(request, place, shared):
    kind, module = place
    return shared(kind, f"{module}:{request.param}")


@pytest.mark.parametrize("version", ["55", "76", "13"])
def test_echo(server, version):
    assert server.get("/").body == b"plain HTTP\n"
    client = server.open(version, origin=server.origin)
    for message in ("one", "two", "\N{SNOWMAN}"):
        client.send(message)
        assert client.receive() == message
    client.close()
    assert [status for status, _, _ in server.access_lines("/echo")] == [101]


def test_binary_messages_come_back_as_binary(server):
    client = server.open("13")
    client.send(b"\x00\xff\x80")
    assert client.receive() == b"\x00\xff\x80"
    client.close()


def test_path_query_and_cookie(server):
    client = server.open("13", "/room/blue?user=ann", fields=[("Cookie", "who=me")])
    assert client.receive() == "blue ann me"
    close = client.read_close()
    assert (close.code, close.reason) == (4001, "that was all")
    client.send_frame(peers.CLOSE, close.payload)
    client.wire.expect_end()


def test_abort_before_use_is_the_refusal(server):
    client = server.client("13", "/login")
    client.wire.send(client.request())
    assert peers.read_response(client.wire).status == 401
    assert peers.exchange(client.wire, "/", host=server.host).status == 200


@pytest.mark.parametrize("path", ["/echo", "/chat/echo", "/declared"])
@pytest.mark.parametrize("kind", ["ours", "gevent"])
def test_routes_of_flask(shared, kind, path):
    """A route is reached, whether it says websocket=True or nothing."""
    server = shared(kind, "wrapped:flask_app")
    client = server.open("13", path)
    client.send("hello")
    assert client.receive() == "hello"
    client.close()


@pytest.mark.parametrize("application", APPS)
def test_wrapped_application_is_not_wrapped_twice(shared, application):
    """Its own policy decides, not the default of a second middleware around it."""
    server = shared("ours", f"wrapped:{application}")
    server.allowed_faults = [r"evil\.example"]
    for version in ("55", "76", "13"):
        client = server.client(version, origin="http://evil.example")
        client.wire.send(client.request())
        assert peers.read_response(client.wire).status == 403
        client.wire.close()
    server.settle()
    refusals = server.log.find(r"http://evil\.example", server.mark)
    assert len(refusals) == 3, "refused, or logged, more than once"


@pytest.mark.parametrize("version", ["55", "76", "13"])
def test_middleware_inside_of_a_middleware(shared, version):
    server = shared("ours", "policies:hidden_app")
    for path in ("/hidden", "/elsewhere"):
        client = server.open(version, path, origin=server.origin)
        assert client.receive() == "hello"
        client.expect_close()
        assert len(server.access_lines(path)) == 1


@pytest.mark.parametrize("application", ["echo:app", "flask_echo:app"])
@pytest.mark.parametrize("kind", ["ours", "gevent"])
def test_examples(start, kind, application):
    server = start(kind, application, "--chdir", str(ROOT / "examples"))
    assert server.get("/").status == 200
    for version in ("55", "76", "13"):
        client = server.open(version, origin=server.origin)
        client.send("hello")
        assert client.receive() == "hello"
        client.close()
    server.check()


def test_readme_application(start, tmp_path):
    """The first thing that a user writes, with pages of another site let in."""
    (tmp_path / "site_app.py").write_text(
        "from flask import Flask, request\n"
        "from wsmiddleware import WebSocketMiddleware\n"
        "app = Flask(__name__)\n"
        "@app.route('/')\n"
        "def page(): return 'plain HTTP on the same port'\n"
        "@app.route('/echo')\n"
        "def echo():\n"
        "    ws = request.environ['wsgi.websocket']\n"
        "    for message in ws:\n"
        "        ws.send(message)\n"
        "    return ''\n"
        "app.wsgi_app = WebSocketMiddleware(\n"
        "    app.wsgi_app, allowed_origins=['https://example.com'])\n"
    )
    for kind in ("ours", "gevent"):
        server = start(kind, "site_app:app", "--chdir", str(tmp_path))
        assert server.get("/").body == b"plain HTTP on the same port"
        client = server.open("13", origin="https://example.com")
        client.send("hello")
        assert client.receive() == "hello"
        client.close()
        server.check()
        server.allowed_faults = [r"\bWARNING\b"]
        with pytest.raises(peers.Refused, match="403"):
            server.open("13", origin="https://other.example")
