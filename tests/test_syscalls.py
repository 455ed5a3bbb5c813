"""The system calls of a message: both implementations say the same."""

import os
import socket

import pytest

from wsmiddleware import syscalls

try:
    from wsmiddleware import _native
except ImportError:
    _native = None


@pytest.fixture(params=["interpreted", "compiled"])
def calls(request):
    """Return the room with the functions."""
    if request.param == "interpreted":
        return syscalls
    if _native is None:
        if os.environ.get("WSMIDDLEWARE_REQUIRE_EXTENSION"):
            pytest.fail("the package was installed without its extension")
        pytest.skip("the package was installed without its extension")
    return _native


@pytest.fixture
def ends():
    """Return two connected sockets that do not block."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


@pytest.mark.parametrize("size", [10, 1 << 16, 1 << 18])
def test_what_is_there_is_read(calls, ends, size):
    near, far = ends
    assert calls.read_some(near.fileno(), size) is None
    far.send(b"hello")
    assert calls.read_some(near.fileno(), size) == b"hello"
    far.send(b"x" * 20)
    assert calls.read_some(near.fileno(), 10) == b"x" * 10
    assert calls.read_some(near.fileno(), size).strip(b"x") == b""
    far.shutdown(socket.SHUT_WR)
    assert calls.read_some(near.fileno(), size) == b""


@pytest.mark.parametrize("large", [False, True])
def test_what_fits_is_written(calls, ends, large):
    near, far = ends
    data = b"x" * (1 << 22 if large else 1 << 15)
    wanted = 1 << 24
    written = 0
    while written < wanted:
        count = calls.write_some(near.fileno(), data)
        written += count
        if count == 0:
            break
    assert 0 < written < wanted
    received = 0
    while (piece := calls.read_some(far.fileno(), 1 << 18)) is not None:
        received += len(piece)
    assert received == written


def test_pieces_are_written_in_order(calls, ends):
    near, far = ends
    pieces = [b"one", b"", b"two", b"three"]
    assert calls.write_pieces(near.fileno(), pieces) == 11
    assert far.recv(100) == b"onetwothree"


def test_more_pieces_than_a_call_takes(calls, ends):
    near, far = ends
    pieces = [b"%04d" % number for number in range(3000)]
    sent = 0
    while pieces:
        count = calls.write_pieces(near.fileno(), pieces)
        assert count % 4 == 0
        assert count > 0
        sent += count
        del pieces[: count // 4]
        assert len(far.recv(1 << 16)) == count
    assert sent == 12000


def test_a_view_among_the_pieces(calls, ends):
    near, far = ends
    pieces = [memoryview(b"abc")[1:], b"d", memoryview(b"e"), b"f"]
    received = b""
    while pieces:
        count = calls.write_pieces(near.fileno(), pieces)
        received += far.recv(100)
        while pieces and count >= len(pieces[0]):
            count -= len(pieces.pop(0))
    assert received == b"bcdef"


def test_pieces_that_do_not_fit(calls, ends):
    near, _ = ends
    pieces = [b"x" * 65536] * 8
    while calls.write_pieces(near.fileno(), pieces):
        pass
    assert calls.write_some(near.fileno(), b"x") == 0


def test_a_connection_that_is_gone(calls, ends):
    near, far = ends
    far.close()
    with pytest.raises(BrokenPipeError):
        calls.write_some(near.fileno(), b"x")
    with pytest.raises(BrokenPipeError):
        calls.write_pieces(near.fileno(), [b"x"])
    near.close()
    with pytest.raises(OSError, match="Bad file descriptor|read"):
        calls.read_some(1 << 20, 10)
