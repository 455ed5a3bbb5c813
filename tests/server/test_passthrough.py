"""Ordinary requests pass through the middleware as if it were not there."""

import pytest
from webtest import TestApp
from webtest.lint import middleware as lint

from wsmiddleware import WebSocketMiddleware

TEXT = [("Content-Type", "text/plain")]


def wrap(application):
    """Put the middleware between two checkers of the WSGI standard."""
    return TestApp(lint(WebSocketMiddleware(lint(application))), lint=False)


def raw(application):
    return TestApp(WebSocketMiddleware(application), lint=False)


def test_status_and_fields():
    def application(environ, start_response):
        fields = [*TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Y", "z")]
        start_response("418 I'm a teapot", fields)
        return [b"short and stout"]

    response = wrap(application).get("/", status=418)
    assert response.status == "418 I'm a teapot"
    assert response.headerlist == [
        ("Content-Type", "text/plain"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-Y", "z"),
        ("Content-Length", "15"),  # WebTest's own
    ]
    assert response.body == b"short and stout"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_methods_and_bodies(method):
    def application(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [*TEXT, ("X-Method", environ["REQUEST_METHOD"])])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    response = wrap(application).request("/", method=method, body=b"some body")
    assert response.headers["X-Method"] == method
    assert response.body == (b"" if method == "HEAD" else b"some body")


def test_environ_is_handed_over_as_it_is():
    seen = {}

    def application(environ, start_response):
        seen["application"] = environ
        start_response("200 OK", TEXT)
        return [b""]

    def outside(environ, start_response):
        seen["before"] = dict(environ)
        seen["server"] = environ
        return WebSocketMiddleware(application)(environ, start_response)

    TestApp(outside, lint=False).get("/path?q=1", headers={"X-Thing": "1"})
    assert seen["application"] is seen["server"]
    assert seen["application"] == seen["before"]
    assert "wsgi.websocket" not in seen["application"]


def test_iterable_and_start_response_are_handed_over_as_they_are():
    iterable = iter([b"one"])
    seen = []

    def application(environ, start_response):
        seen.append(start_response)
        start_response("200 OK", TEXT)
        return iterable

    def start_response(status, fields, exc_info=None):
        """Stand in for a server's."""

    environ = TestApp(application).RequestClass.blank("/").environ
    assert WebSocketMiddleware(application)(environ, start_response) is iterable
    assert seen == [start_response]


def test_streaming_body_is_not_read_ahead():
    events = []

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        for number in range(3):
            events.append(f"make {number}")
            yield str(number).encode()

    environ = TestApp(application).RequestClass.blank("/").environ
    result = WebSocketMiddleware(application)(environ, lambda *_: lambda data: None)
    for piece in result:
        events.append(f"send {piece.decode()}")
    assert events == ["make 0", "send 0", "make 1", "send 1", "make 2", "send 2"]


class Closable:
    """An iterable that wants to be closed."""

    def __init__(self, pieces, fault=None):
        self.pieces = pieces
        self.fault = fault
        self.closed = 0

    def __iter__(self):
        yield from self.pieces
        if self.fault:
            raise self.fault

    def close(self):
        self.closed += 1


def test_iterable_is_closed_once():
    body = Closable([b"a", b"b"])

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        return body

    assert wrap(application).get("/").body == b"ab"
    assert body.closed == 1


def test_iterable_is_closed_when_it_raises():
    body = Closable([b"a"], ValueError("halfway"))

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        return body

    with pytest.raises(ValueError, match="halfway"):
        raw(application).get("/")
    assert body.closed == 1


@pytest.mark.parametrize("fault", [ValueError("mine"), SystemExit(3), StopIteration()])
def test_exceptions_come_out_as_they_are(fault):
    def application(environ, start_response):
        raise fault

    environ = TestApp(application).RequestClass.blank("/").environ
    with pytest.raises(type(fault)) as caught:
        WebSocketMiddleware(application)(environ, lambda *_: lambda data: None)
    assert caught.value is fault


def test_write_of_start_response():
    def application(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"written, ")
        write(b"not returned, ")
        return [b"returned"]

    assert raw(application).get("/").body == b"written, not returned, returned"


def test_exc_info_of_start_response_replaces_the_answer():
    def application(environ, start_response):
        import sys

        start_response("200 OK", TEXT)
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Late", TEXT, sys.exc_info())
        return [b"the error page"]

    response = wrap(application).get("/", status=500)
    assert response.status == "500 Late"
    assert response.body == b"the error page"


@pytest.mark.parametrize(
    "fields",
    [
        {"Connection": "Upgrade"},
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"},
        {"Upgrade": "TLS/1.0", "Connection": "Upgrade"},
        {"Sec-WebSocket-Version": "13"},
        {"Sec-WebSocket-Protocol": "chat"},
    ],
    ids=str,
)
def test_what_is_not_a_websocket_upgrade_is_an_ordinary_request(fields):
    def application(environ, start_response):
        start_response("200 OK", TEXT)
        return [str("wsgi.websocket" in environ).encode()]

    assert wrap(application).get("/", headers=fields).body == b"False"


def test_upgrade_on_a_server_without_sockets_gets_503():
    def application(environ, start_response):
        raise AssertionError("called for an upgrade that cannot be served")

    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    response = wrap(application).get("/", headers=fields, status=503)
    assert response.content_type == "text/plain"
    assert b"wsmiddleware.worker.WebSocketWorker" in response.body


def test_file_wrapper_reaches_the_server():
    """gunicorn sends a file with sendfile only when it gets its own wrapper back."""

    class FileWrapper:
        """Stand in for a server's."""

        def __init__(self, file):
            self.file = file

    wrapped = FileWrapper(None)

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        return wrapped

    environ = TestApp(application).RequestClass.blank("/").environ
    result = WebSocketMiddleware(application)(environ, lambda *_: None)
    assert result is wrapped
