"""`connect`, against scripted servers and our own; in every way of waiting."""

import socket
import threading
import time
from functools import partial
from http.cookiejar import CookieJar

import pytest
from server.peers import PATIENCE

from wsmiddleware import ConnectionClosed, HandshakeError, InvalidURL
from wsmiddleware.channel import Establishing, GreenletWaiting, ThreadWaiting
from wsmiddleware.client import ClientOptions, connect

from .concurrency import MODE, concurrently, expect_timeout, sleep, until
from .scripted import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Request,
    accept_13,
    answer_13,
    echo_13,
    expect_close,
    frame,
    read_frame,
    refuse,
)

VERSIONS = ("55", "76", "7", "8", "13")


# Our own server, in every version


@pytest.fixture
def ours(shared):
    return shared("ours")


@pytest.mark.parametrize("version", VERSIONS)
def test_echo_by_our_own_server(ours, version):
    url = f"ws://{ours.host}/echo?room=1"
    with connect(url, version=version, origin=ours.origin) as ws:
        assert (ws.version, ws.path, ws.origin) == (
            version,
            "/echo?room=1",
            ours.origin,
        )
        assert ws.environ is None
        messages = ["hello", "", "wörld \U0001f600", "x" * 200_000]
        if version not in ("55", "76"):
            messages += [b"binary", b"", b"\x00\xff" * 100_000]
        for message in messages:
            ws.send(message)
            assert ws.receive(timeout=PATIENCE) == message
    assert ws.closed
    assert ws.receive() is None
    with pytest.raises(ConnectionClosed):
        ws.send("too late")


@pytest.mark.parametrize("version", VERSIONS)
def test_our_own_server_refuses(ours, version):
    ours.allowed_faults.append("GET /unauthorized")
    with pytest.raises(HandshakeError) as caught:
        connect(f"ws://{ours.host}/unauthorized", version=version)
    assert str(caught.value) == "server refused the handshake with status 401"
    assert caught.value.status == 401
    headers = {name.lower(): value for name, value in caught.value.headers}
    assert headers["www-authenticate"] == 'Basic realm="here"'
    assert caught.value.body == b"who are you?\n"


def test_compression_is_on_unless_switched_off(ours):
    received = []
    for compression in (True, False):
        with connect(f"ws://{ours.host}/echo", compression=compression) as ws:
            ws.send("x" * 100_000)
            assert ws.receive(timeout=PATIENCE) == "x" * 100_000
            received.append(ws.bytes_received)
    assert received[0] < 2000
    assert received[1] > 100_000


def test_the_version_is_13_unless_given(ours):
    with connect(f"ws://{ours.host}/echo", version=None) as ws:
        assert ws.version == "13"


# The handshake


def test_what_is_asked_for_reaches_the_server(scripted):
    requests = []

    def script(wire):
        accept_13(wire, "Sec-WebSocket-Protocol: b", noted=requests)
        wire.send(frame(TEXT, b"at once"))
        expect_close(wire, 1000)

    server = scripted(script)
    url = server.url("/pä th?q").replace("ws://", "ws://name:secret@")
    settings = {
        "subprotocols": ["a", "b"],
        "origin": "http://o.example",
        "headers": {"X-One": "1", "X-Two": "2"},
    }
    with connect(url, **settings) as ws:
        # What came together with the handshake is not lost.
        assert ws.receive(timeout=PATIENCE) == "at once"
        assert ws.subprotocol == "b"
    (request,) = requests
    assert request.target == "/p%C3%A4%20th?q"
    assert request.value("Origin") == "http://o.example"
    assert request.value("Sec-WebSocket-Protocol") == "a, b"
    assert request.value("Authorization") == "Basic bmFtZTpzZWNyZXQ="
    assert (request.value("X-One"), request.value("X-Two")) == ("1", "2")


def test_a_server_that_closes_without_an_answer(scripted):
    server = scripted(Request)
    with pytest.raises(HandshakeError, match="connection closed before the end of"):
        connect(server.url())


def test_a_server_that_resets_the_connection(scripted):
    def script(wire):
        Request(wire)
        wire.reset()

    with pytest.raises(HandshakeError, match="connection closed before the end of"):
        connect(scripted(script).url())


def test_a_server_that_refuses_before_it_reads(scripted):
    def script(wire):
        wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
        wire.read_to_end()

    with pytest.raises(HandshakeError) as caught:
        connect(scripted(script).url(), headers={"X-Large": "x" * 1_000_000})
    assert (caught.value.status, caught.value.body) == (503, b"busy")


@pytest.mark.parametrize(
    ("url", "settings", "error"),
    [
        ("http://example.com/", {}, InvalidURL),
        ("ws://example.com/#x", {}, InvalidURL),
        ("ws://example.com/", {"version": "14"}, ValueError),
        ("ws://example.com/", {"subprotocols": "chat"}, ValueError),
        ("ws://example.com/", {"subprotocols": ["a b"]}, ValueError),
        ("ws://example.com/", {"headers": {"Host": "x"}}, ValueError),
        ("ws://example.com/", {"proxy": "gopher://x"}, ValueError),
        ("ws://example.com/", {"max_message_size": -1}, ValueError),
        ("ws://example.com/", {"allowed_origins": "*"}, TypeError),
        ("ws://example.com/", {"nonsense": 1}, TypeError),
    ],
)
def test_settings_that_make_no_sense(url, settings, error):
    with pytest.raises(error):
        connect(url, **settings)


def test_headers_may_come_from_anywhere():
    pairs = [("A", "1"), ("B", "2")]
    for headers in (dict(pairs), pairs, iter(pairs), tuple(pairs)):
        assert ClientOptions(headers=headers).headers == pairs


# Cookies (draft 55, section 4.1, steps 9 and 23)


@pytest.mark.parametrize("version", ["55", "13"])
def test_cookies_are_kept_and_sent(scripted, version):
    requests = []

    def script(wire):
        if version == "13":
            accept_13(
                wire, "Set-Cookie: a=1", "Set-Cookie: b=2; Path=/x", noted=requests
            )
            return
        requests.append(Request(wire))
        host = requests[-1].value("Host")
        wire.send(
            b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
            b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n"
            b"Set-Cookie: a=1\r\nset-cookie: b=2; path=/x\r\n"
            + f"WebSocket-Origin: http://{host}\r\n".encode()
            + f"WebSocket-Location: ws://{host}{requests[-1].target}\r\n\r\n".encode()
        )

    server = scripted(script)
    jar = CookieJar()
    for path in ("/", "/x/y", "/"):
        connect(server.url(path), version=version, cookies=jar).close()
    cookies = [sorted(request.values("Cookie")) for request in requests]
    assert cookies[0] == []
    assert cookies[1] in (["b=2; a=1"], ["a=1; b=2"])
    assert cookies[2] == ["a=1"]
    if version == "55":
        assert requests[2].raw.endswith(b"\r\nCookie: a=1\r\n\r\n")


def test_cookies_of_a_refusal_are_kept(scripted):
    server = scripted(lambda wire: refuse(wire, "401 Who", "Set-Cookie: a=1"))
    jar = CookieJar()
    with pytest.raises(HandshakeError):
        connect(server.url(), cookies=jar)
    assert [cookie.name for cookie in jar] == ["a"]


def test_a_cookie_header_of_the_callers_goes_before_the_jar(scripted):
    requests = []
    server = scripted(lambda wire: accept_13(wire, "Set-Cookie: jar=1", noted=requests))
    jar = CookieJar()
    for headers in ({}, {"Cookie": "own=1"}):
        connect(server.url(), cookies=jar, headers=headers).close()
    assert requests[1].values("Cookie") == ["own=1"]


def test_secure_cookies_do_not_go_in_the_clear(scripted):
    requests = []
    server = scripted(
        lambda wire: accept_13(wire, "Set-Cookie: a=1; Secure", noted=requests)
    )
    jar = CookieJar()
    for _ in range(2):
        connect(server.url(), cookies=jar).close()
    assert requests[1].values("Cookie") == []


# Redirects


def redirecting(location, status="302 Found"):
    return lambda wire: refuse(wire, status, f"Location: {location}")


def test_redirects_are_not_followed_unless_asked_for(scripted):
    server = scripted(redirecting("/elsewhere"))
    with pytest.raises(HandshakeError) as caught:
        connect(server.url())
    assert caught.value.status == 302
    assert ("Location", "/elsewhere") in caught.value.headers


@pytest.mark.parametrize("status", ["301 a", "302 b", "303 c", "307 d", "308 e"])
def test_redirects_are_followed_when_asked_for(scripted, status):
    requests = []
    target = scripted(lambda wire: accept_13(wire, noted=requests))
    first = scripted(redirecting(f"http://{target.host}/there?x#part", status))
    connect(first.url(), max_redirects=1, headers={"X": "y"}).close()
    assert requests[0].target == "/there?x"
    assert requests[0].values("X") == ["y"]


def test_a_relative_redirect_keeps_to_the_server(scripted):
    requests = []

    def script(wire):
        request = Request(wire)
        requests.append(request)
        if request.target == "/a/b":
            wire.send(b"HTTP/1.1 302 x\r\nLocation: ../c\r\nContent-Length: 0\r\n\r\n")
        else:
            wire.send(answer_13(request))

    server = scripted(script)
    url = server.url("/a/b").replace("ws://", "ws://name@")
    connect(url, max_redirects=1, headers={"Cookie": "a=1"}).close()
    assert [request.target for request in requests] == ["/a/b", "/c"]
    assert requests[1].values("Cookie") == ["a=1"]
    assert requests[1].values("Authorization") == ["Basic bmFtZTo="]


def test_a_redirect_does_not_tell_others_what_was_meant_for_one(scripted):
    requests = []
    target = scripted(lambda wire: accept_13(wire, noted=requests))
    first = scripted(redirecting(target.url("/")))
    url = first.url().replace("ws://", "ws://name:secret@")
    headers = {"cookie": "a=1", "X-Kept": "yes"}
    connect(url, max_redirects=5, headers=headers).close()
    assert requests[0].values("Cookie") == requests[0].values("Authorization") == []
    assert requests[0].values("X-Kept") == ["yes"]


def test_redirects_have_an_end(scripted):
    requests = []

    def script(wire):
        # Noted before it is answered, so that the client cannot be faster.
        requests.append(wire)
        refuse(wire, "302 x", "Location: /again")

    server = scripted(script)
    with pytest.raises(HandshakeError) as caught:
        connect(server.url(), max_redirects=3)
    assert caught.value.status == 302
    assert len(requests) == 4


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["Location: mailto:x@example.com"],
        ["Location: /a", "Location: /b"],
        ["Location: http://exam ple/"],
    ],
)
def test_a_redirect_that_leads_nowhere_is_a_refusal(scripted, fields):
    server = scripted(lambda wire: refuse(wire, "302 x", *fields))
    with pytest.raises(HandshakeError, match="refused the handshake with status 302"):
        connect(server.url(), max_redirects=5)


# Unix sockets and addresses


def test_a_unix_socket(scripted, tmp_path):
    requests = []

    def script(wire):
        accept_13(wire, noted=requests)
        expect_close(wire, 1000)

    path = str(tmp_path / "socket")
    scripted(script, path=path)
    with connect("ws://example.com/x", unix_path=path, proxy="http://127.0.0.1:1"):
        pass
    assert requests[0].value("Host") == "example.com"
    with pytest.raises(FileNotFoundError, match="missing"):
        connect("ws://example.com/", unix_path=str(tmp_path / "missing"))


@pytest.fixture
def resolve(monkeypatch):
    """Have names resolved to addresses that the test gives."""

    def resolve(addresses):
        def answer(self, host, port, timeout):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", a) for a in addresses]

        for waiting in (ThreadWaiting, GreenletWaiting):
            monkeypatch.setattr(waiting, "resolve", answer)

    return resolve


@pytest.fixture
def silent_port():
    """A port whose connections are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]
        for filler in fillers:
            filler.close()


def test_the_next_address_is_tried(scripted, resolve, refusing_port):
    server = scripted(echo_13)
    resolve([("127.0.0.1", refusing_port), ("127.0.0.1", server.port)])
    with connect("ws://two.example/") as ws:
        ws.send("hello")
        assert ws.receive(timeout=PATIENCE) == "hello"


def test_an_address_that_does_not_answer_leaves_time_for_others(
    scripted, resolve, silent_port
):
    server = scripted(echo_13)
    resolve([("127.0.0.1", silent_port), ("127.0.0.1", server.port)])
    with connect("ws://two.example/", open_timeout=4):
        pass


def test_no_address_can_be_reached(resolve, refusing_port):
    resolve([("127.0.0.1", refusing_port), ("127.0.0.1", refusing_port)])
    with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1 port {refusing_port}"):
        connect("ws://two.example/")


def test_a_name_that_does_not_resolve():
    with pytest.raises(socket.gaierror):
        connect("ws://nowhere.invalid/", open_timeout=None)


# Deadlines


def test_connecting_has_an_end(silent_port):
    expect_timeout(
        partial(connect, f"ws://127.0.0.1:{silent_port}/"),
        f"connecting to 127.0.0.1 port {silent_port}",
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_handshake_has_an_end(scripted, version):
    server = scripted(lambda wire: wire.read_to_end())
    expect_timeout(partial(connect, server.url(), version=version), "opening handshake")


def test_the_tls_handshake_has_an_end(scripted):
    server = scripted(lambda wire: wire.read_to_end())
    url = server.url().replace("ws:", "wss:")
    expect_timeout(partial(connect, url), "TLS handshake with 127.0.0.1")


def test_resolving_has_an_end(monkeypatch):
    def resolve(*_, **__):
        raise TimeoutError

    for waiting in (ThreadWaiting, GreenletWaiting):
        monkeypatch.setattr(waiting, "resolve", resolve)
    with pytest.raises(TimeoutError, match=r"within 10 s: resolving slow\.example"):
        connect("ws://slow.example/", open_timeout=10)


def test_the_close_has_an_end(scripted):
    def script(wire):
        accept_13(wire)
        wire.read_to_end()

    ws = connect(scripted(script).url(), close_timeout=0.2)
    started = time.monotonic()
    ws.close()
    # The default is 5 s.
    assert 0.15 < time.monotonic() - started < 4.5


# One connection at a time (draft 55, section 4.1, step 1)


class Crowd:
    """Count how many handshakes a server has before it at the same time."""

    def __init__(self):
        self.now = 0
        self.most = 0

    def script(self, wire):
        request = Request(wire)
        self.now += 1
        self.most = max(self.most, self.now)
        # Another one would come now, if it came before this one is open.
        wire.is_silent(0.15)
        self.now -= 1
        wire.send(answer_13(request))
        expect_close(wire, 1000)


def test_one_connection_is_established_at_a_time(scripted):
    crowd = Crowd()
    server = scripted(crowd.script)
    # "even if known by another name"
    urls = [server.url("/"), server.url("/", host="localhost"), server.url("/x")]
    open_all = [lambda url=url: connect(url) for url in urls]
    for ws in concurrently(*open_all):
        ws.close()
    assert crowd.most == 1


def test_any_number_is_established_when_it_is_switched_off(scripted):
    everyone = threading.Barrier(3)

    def script(wire):
        request = Request(wire)
        everyone.wait(PATIENCE)
        wire.send(answer_13(request))
        expect_close(wire, 1000)

    server = scripted(script)
    for ws in concurrently(*[lambda: connect(server.url(), establishing=None)] * 3):
        ws.close()


def test_a_connection_that_failed_lets_the_next_one_go(scripted):
    server = scripted(lambda wire: refuse(wire, "503 x"))

    def attempt():
        with pytest.raises(HandshakeError):
            connect(server.url())
        return True

    assert concurrently(*[attempt] * 5) == [True] * 5


def test_waiting_for_the_turn_has_an_end(scripted):
    arrived, released = threading.Event(), threading.Event()

    def script(wire):
        request = Request(wire)
        arrived.set()
        released.wait(PATIENCE)
        wire.send(answer_13(request))

    server = scripted(script)
    establishing = Establishing()

    def impatient():
        try:
            until(arrived.is_set)
            expect_timeout(
                partial(connect, server.url(), establishing=establishing),
                "waiting until another connection to 127.0.0.1 is open",
            )
            # Others need not wait for it.
            expect_timeout(
                partial(connect, server.url(), establishing=Establishing()),
                "opening handshake",
            )
        finally:
            released.set()

    def patient():
        connect(server.url(), establishing=establishing).close()

    concurrently(patient, impatient)
    assert not establishing._queues


# The open connection


def test_pings_are_answered_and_pongs_measured(scripted):
    def script(wire):
        accept_13(wire)
        wire.send(frame(PING, b"are you there"))
        # A ping of the client's may be sooner.
        while (item := read_frame(wire))[0] == PING:
            pass
        assert item == (PONG, b"are you there")
        while (item := read_frame(wire))[0] == PING:
            wire.send(frame(PONG, item[1]) + frame(TEXT, b"ponged"))
        assert item[0] == CLOSE
        wire.send(frame(*item))

    settings = {"ping_interval": 0.1, "ping_timeout": PATIENCE}
    with connect(scripted(script).url(), **settings) as ws:
        # A pong that is behind the next ping tells nothing.
        for _ in range(100):
            assert ws.receive(timeout=PATIENCE) == "ponged"
            if ws.latency is not None:
                break
        assert 0 < ws.latency < PATIENCE


def test_a_server_that_disappears_is_found_out(scripted):
    def script(wire):
        accept_13(wire)
        # Not an octet more, and no end
        wire.read_to_end()

    ws = connect(scripted(script).url(), ping_interval=0.1, ping_timeout=0.2)
    started = time.monotonic()
    assert ws.receive(timeout=PATIENCE) is None
    # The defaults are 25 s and 20 s.
    assert time.monotonic() - started < 10
    assert ws.close_code == 1006
    assert "ping" in ws.close_reason


def test_a_flood_stays_in_the_network(scripted):
    sent = []
    go_on = threading.Event()
    payload = b"x" * 1000
    total = 60_000

    def script(wire):
        accept_13(wire)
        octets = frame(TEXT, payload)
        wire.sock.settimeout(0.5)
        taken = 0
        try:
            for _ in range(total):
                taken += wire.sock.send(octets[taken % len(octets) :])
        except TimeoutError:
            sent.append(taken)
        go_on.wait(PATIENCE)
        wire.sock.settimeout(PATIENCE)
        while taken < total * len(octets):
            taken += wire.sock.send(octets[taken % len(octets) :])
        wire.send(frame(CLOSE, b"\x03\xe8"))
        assert read_frame(wire)[0] == CLOSE

    server = scripted(script)
    ws = connect(server.url(), ping_interval=None)
    # Other work goes on, and nothing is received.
    deadline = time.monotonic() + PATIENCE
    while not sent and time.monotonic() < deadline:
        sleep(0.05)
    # What the system's own buffers hold, and 32 messages
    assert sent
    assert ws.bytes_received < 1 << 20
    go_on.set()
    count = sum(message == payload.decode() for message in ws)
    assert count == total
    assert ws.close_code == 1000


def test_a_message_that_is_too_large_fails_the_connection(scripted):
    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"first"))
        # Only its head; its payload is never waited for.
        wire.send(frame(TEXT, b"x" * 200_000)[:10])
        expect_close(wire, 1009)

    ws = connect(scripted(script).url(), max_message_size=100_000)
    assert list(ws) == ["first"]
    assert ws.close_code == 1009


def test_a_masked_frame_fails_the_connection(scripted):
    def script(wire):
        accept_13(wire)
        # RFC 6455, 5.1: "A client MUST close a connection if it detects a masked
        # frame."
        wire.send(b"\x81\x81\x00\x00\x00\x00x")
        expect_close(wire, 1002)

    ws = connect(scripted(script).url())
    assert list(ws) == []
    assert ws.close_code == 1002


def test_the_server_closes(scripted):
    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"bye") + frame(CLOSE, b"\x0f\xa0because"))
        assert read_frame(wire)[0] == CLOSE

    ws = connect(scripted(script).url())
    assert list(ws) == ["bye"]
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "because", "peer")
    assert ws.wait_closed(PATIENCE)


def test_an_exception_in_the_block_closes_with_1011(scripted):
    def script(wire):
        accept_13(wire)
        expect_close(wire, 1011)

    with pytest.raises(RuntimeError, match="mine"), connect(scripted(script).url()):
        raise RuntimeError("mine")


def test_two_senders_do_not_mix(scripted):
    received = []

    def script(wire):
        accept_13(wire)
        while (item := read_frame(wire))[0] != CLOSE:
            received.append(item[1])
        wire.send(frame(CLOSE, item[1]))

    with connect(scripted(script).url(), compression=False) as ws:
        concurrently(
            *(
                lambda letter=letter: [ws.send(letter * 20_000) for _ in range(20)]
                for letter in "abcd"
            )
        )
    assert len(received) == 80
    assert {len(set(payload)) for payload in received} == {1}


@pytest.mark.skipif(MODE == "threads", reason="gevent.Timeout is for greenlets")
def test_gevent_can_take_the_connecting_caller_away(scripted, silent_port):
    import gevent

    with gevent.Timeout(0.1, False):
        connect(f"ws://127.0.0.1:{silent_port}/")
        pytest.fail("connected")
    server = scripted(lambda wire: wire.read_to_end())
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        connect(server.url(), open_timeout=PATIENCE)
    # The turn was given back.
    other = scripted(echo_13)
    connect(other.url(), open_timeout=PATIENCE).close()
