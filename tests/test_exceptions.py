"""What the exceptions say, and what they can be caught as."""

import pytest

from wsmiddleware.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    HandshakeError,
    InvalidURL,
    WebSocketError,
)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "connection closed with code 1006"),
        ((1000,), "connection closed with code 1000"),
        ((4000, "bye"), "connection closed with code 4000: bye"),
    ],
)
def test_connection_closed(arguments, text):
    error = ConnectionClosed(*arguments)
    assert str(error) == text
    assert (error.code, error.reason) == (arguments + (1006, "")[len(arguments) :])


def test_handshake_error_carries_the_answer():
    error = HandshakeError("refused", 403, [("A", "b")], b"no")
    assert str(error) == "refused"
    assert (error.status, error.headers, error.body) == (403, [("A", "b")], b"no")
    bare = HandshakeError("refused")
    assert (bare.status, bare.headers, bare.body) == (None, [], b"")


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (InvalidURL("a"), (WebSocketError, ValueError)),
        (ConcurrencyError("a"), (WebSocketError, RuntimeError)),
        (ConnectionClosed(), (WebSocketError,)),
        (HandshakeError("a"), (WebSocketError,)),
    ],
)
def test_what_they_are(error, kinds):
    for kind in kinds:
        assert isinstance(error, kind)
