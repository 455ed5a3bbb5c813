"""HTTP answers as a client reads them; the handshake's tests have the rest."""

import pytest

from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.responses import Limits, Response

ANSWER = b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 4\r\na: 2\r\n\r\nbodyrest"


def read(octets, **limits):
    response = Response(Limits(**limits))
    response.feed(octets)
    return response


def test_an_answer_is_read_in_one_piece_or_octet_by_octet():
    whole = read(ANSWER)
    pieces = Response(Limits())
    complete_at = []
    for position in range(len(ANSWER)):
        pieces.feed(ANSWER[position : position + 1])
        if pieces.complete:
            complete_at.append(position + 1)
    for response in (whole, pieces):
        assert response.status == 200
        assert response.headers == [("A", "1"), ("Content-Length", "4"), ("a", "2")]
        assert response.values("a") == ["1", "2"]
        assert response.value("a") == "1, 2"
        assert response.value("b") == ""
        assert response.rest == b"bodyrest"
        assert response.refusal("no").body == b"body"
    assert complete_at[0] == len(ANSWER) - len("rest")


def test_nothing_is_complete_before_the_head():
    assert not read(b"HTTP/1.1 204 No Content\r\n").complete
    assert read(b"HTTP/1.1 204 No Content\r\n\r\n").complete


def test_interim_answers_can_be_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    response = read(interim * 2 + b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n")
    assert response.status == 100
    for _ in range(2):
        response.pass_over_interim()
        assert response.status == 200
        assert response.headers == [("A", "b")]
    response = read(interim)
    response.pass_over_interim()
    assert not response.has_head


def test_errors_tell_what_was_read():
    response = read(ANSWER)
    error = response.error("rule")
    assert (str(error), error.status, error.body) == ("rule", 200, b"")
    assert error.headers == response.headers


def test_what_is_not_http_is_an_error():
    with pytest.raises(HandshakeError, match="status line is not HTTP's: 'hello'"):
        read(b"hello\r\n\r\n")
