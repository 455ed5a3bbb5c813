"""Settings that bound a connection or the number of them, on real servers."""

import contextlib
import re
import signal
import time

import pytest

from . import peers
from .documents import settings_of_gunicorn

VERSIONS = ["13", "8", "76", "55"]


@pytest.fixture
def server(shared):
    return shared("ours", "settings:app")


def refusal(client):
    """Return the answer to a handshake that is refused."""
    client.wire.send(client.request())
    return peers.read_response(client.wire)


def test_settings_in_gunicorns_file(start, tmp_path):
    """The ones that the docs show: an origin, and a limit of 64 KiB."""
    config = settings_of_gunicorn(tmp_path, "raw_env")
    server = start("ours", "apps:bare", "--config", str(config))
    foreign = server.client("13", origin=server.origin)
    assert refusal(foreign).status == 403
    client = server.open("13", origin="https://chat.example.com")
    client.send("x" * 65536)
    assert len(client.receive()) == 65536
    client.send("x" * 65537)
    assert client.read_close().code == 1009
    client.wire.close()


# ---- time


@pytest.mark.parametrize("version", VERSIONS)
def test_connection_that_carries_no_message_is_closed(server, version, stopwatch):
    client = server.open(version, "/idle", origin=server.origin)
    if version in ("13", "8"):
        frame = client.read_close()
        assert (frame.code, frame.reason) == (1001, "idle for too long")
        client.send_frame(peers.CLOSE, frame.payload)
        client.wire.expect_end()
    else:
        client.expect_close()
    assert 0.3 < stopwatch.lap() < 15


def test_connection_that_carries_messages_is_kept(server, stopwatch):
    client = server.open("13", "/idle-longer")
    while stopwatch.start + 5 > time.monotonic():
        client.send("on")
        assert client.receive() == "on"
        client.wire.is_silent(0.1)
    # What is no message does not count.
    stopwatch.lap()
    pinging = 0
    while (frame := client.read_frame() if pinging else None) is None or (
        frame.opcode == peers.PONG
    ):
        client.wire.is_silent(0.05)
        client.send_frame(peers.PING)
        pinging += 1
    assert frame.code == 1001
    assert stopwatch.lap() < 15
    client.send_frame(peers.CLOSE, frame.payload)


@pytest.mark.parametrize("version", VERSIONS)
def test_connection_that_is_too_old_is_closed(server, version, stopwatch):
    client = server.open(version, "/lifetime", origin=server.origin)
    with contextlib.suppress(AssertionError, EOFError, OSError):
        while stopwatch.start + 15 > time.monotonic():
            client.send("still busy")
            assert client.receive() == "still busy"
    assert 0.5 < stopwatch.lap() < 15
    client.wire.close()
    (_, _, seconds) = server.access_lines("/lifetime")[0]
    assert 0.5 < seconds < 15
    server.log.wait(
        rf"version={version} .*closed_by=local code=1001 reason='lifetime is over'",
        server.mark,
    )


# ---- amounts


def test_pings_that_are_too_many_fail_the_connection(server):
    client = server.open("13", "/pings")
    client.wire.send(peers.encode_frame(peers.PING, b"1") * 20)
    for _ in range(20):
        assert client.read_frame().opcode == peers.PONG
    client.wire.send(peers.encode_frame(peers.PONG) * 21)
    frame = client.read_close()
    assert (frame.code, frame.reason) == (1008, "more than 20 control frames a second")


def test_pings_are_counted_by_the_second(server):
    client = server.open("13", "/pings")
    for _ in range(2):
        client.wire.send(peers.encode_frame(peers.PING) * 20)
        for _ in range(20):
            assert client.read_frame().opcode == peers.PONG
        assert client.wire.is_silent(1.02)
    client.close()


@pytest.mark.parametrize("path", ["/queue", "/queued-size"])
def test_reading_stops_when_the_application_lags(server, path):
    """What the kernel holds may be a few megabytes; the rest must wait outside."""
    client = server.open("13", path)
    assert client.receive() == "ready"
    message = client.encode("x" * 60000)
    client.wire.sock.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 64 << 20:
            client.wire.send(message)
            sent += len(message)
    assert sent < 32 << 20, f"{sent} bytes were taken"
    client.wire.close()


# ---- the number of connections


@pytest.mark.parametrize("kind", ["ours", "gevent_pywsgi"])
def test_slots_are_left_for_http(start, kind):
    """By default nine tenths of worker_connections may be WebSockets."""
    server = start(kind, "apps:app", "--worker-connections", "20")
    clients = [server.open("13") for _ in range(18)]
    answer = refusal(server.client("13"))
    assert answer.status == 503
    assert int(answer.field("retry-after")) > 0
    assert b"as many WebSockets as it may have" in answer.body
    assert server.get("/").status == 200
    clients.pop().close()
    peers.until(lambda: refusal(server.client("13")).status == 101)
    for client in clients:
        client.send("undisturbed")
        assert client.receive() == "undisturbed"


@pytest.mark.parametrize("kind", ["ours", "gevent_pywsgi"])
def test_most_connections_of_a_worker_and_of_an_address(start, kind):
    settings = {
        "WSMIDDLEWARE_MAX_CONNECTIONS": "3",
        "WSMIDDLEWARE_MAX_CONNECTIONS_PER_ADDRESS": "2",
        "WSMIDDLEWARE_TRUSTED_PROXIES": "127.0.0.1",
    }
    server = start(kind, env=settings)

    def client_at(address, version="13"):
        fields = [("X-Forwarded-For", address)]
        return server.client(version, fields=fields, origin=server.origin)

    first = client_at("192.0.2.1").connect()
    second = client_at("192.0.2.1", "55").connect()
    for version in VERSIONS:
        answer = refusal(client_at("192.0.2.1", version))
        assert answer.status == 503
        assert b"2 WebSockets from 192.0.2.1 already" in answer.body
        assert answer.field("retry-after")
    third = client_at("192.0.2.2").connect()
    answer = refusal(client_at("192.0.2.3"))
    assert (answer.status, answer.field("retry-after")) == (503, "2")
    # A place is free again, however the connection ended.
    first.wire.reset()
    peers.until(lambda: refusal(client_at("192.0.2.1")).status == 101)
    for client in (second, third):
        client.send("undisturbed")
        assert client.receive() == "undisturbed"


def test_refused_handshakes_take_no_place(start):
    server = start("ours", env={"WSMIDDLEWARE_MAX_CONNECTIONS": "1"})
    for path in ("/unauthorized", "/raises-early", "/never-used", "/stream"):
        with contextlib.suppress(EOFError):
            refusal(server.client("13", path))
    client = server.open("13")
    client.send("still room")
    assert client.receive() == "still room"


# ---- the end of the worker


def stop(start, kind, **settings):
    """Have a worker with ten connections end; return when each got which close."""
    env = {f"WSMIDDLEWARE_{name.upper()}": text for name, text in settings.items()}
    server = start(kind, env=env)
    clients = [server.open("13") for _ in range(10)]
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    closes = []
    waiting = list(clients)
    while waiting:
        for client in list(waiting):
            if client.wire.is_silent(0.005):
                continue
            closes.append((time.monotonic() - started, client.read_close().code))
            client.send_frame(peers.CLOSE, peers.close_payload(closes[-1][1]))
            waiting.remove(client)
        assert time.monotonic() < started + peers.PATIENCE
    assert server.process.wait(peers.PATIENCE) == 0
    return closes


@pytest.mark.parametrize(("kind", "code"), [("ours", 1012), ("gevent", 1001)])
def test_closes_are_spread_over_the_window(start, kind, code):
    closes = stop(start, kind, drain_window="3", drain_code=str(code))
    assert {code for _, code in closes} == {code}
    times = [when for when, _ in closes]
    assert 1.5 < times[-1] - times[0] < 8
    # One at a time, each a tenth of the window behind the other
    gaps = [later - sooner for sooner, later in zip(times, times[1:], strict=False)]
    assert max(gaps) < 1.5


# ---- what proxies say


def address_of(server, path):
    """Return the client's address as our access log has it."""
    pattern = rf'(\S+) "GET {re.escape(path)} HTTP/1.1" version='
    return server.log.wait(pattern, server.mark)[0][1]


@pytest.mark.parametrize(
    ("path", "forwarded", "address"),
    [
        ("/address", "192.0.2.7", "192.0.2.7"),
        ("/address", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("/address", "192.0.2.7, 10.1.2.3", "192.0.2.7"),
        ("/address", "", "127.0.0.1"),
        ("/stranger", "192.0.2.7", "127.0.0.1"),
        ("/unix", "192.0.2.7", "127.0.0.1"),
    ],
)
def test_address_is_that_which_a_trusted_proxy_names(server, path, forwarded, address):
    client = server.open("13", path, fields=[("X-Forwarded-For", forwarded)])
    client.close()
    assert address_of(server, path) == address


def test_address_behind_a_unix_socket(start, tmp_path):
    server = start("ours", "settings:app", bind=f"unix:{tmp_path}/socket")
    fields = [("X-Forwarded-For", "192.0.2.7")]
    server.open("13", "/unix", fields=fields).close()
    assert address_of(server, "/unix") == "192.0.2.7"
    server.open("13", "/address", fields=fields).close()
    assert address_of(server, "/address") == "-"


@pytest.mark.parametrize("version", ["13", "76", "55"])
@pytest.mark.parametrize(
    ("path", "status"), [("/address", 101), ("/stranger", 403), ("/unix", 403)]
)
def test_site_is_that_which_a_trusted_proxy_names(server, version, path, status):
    """Origin and location depend on it."""
    server.allowed_faults = ["handshake refused"]
    fields = [
        ("X-Forwarded-Host", "evil.example, chat.example"),
        ("X-Forwarded-Proto", "https"),
    ]
    origin = "https://chat.example"
    client = server.client(version, path, fields=fields, origin=origin)
    if status != 101:
        assert refusal(client).status == status
        return
    client.host = "chat.example"
    client.secure = True
    sent = client.request().replace(
        b"chat.example\r\n", server.host.encode() + b"\r\n", 1
    )
    client.wire.send(sent)
    client.verify()  # for the drafts, that the location is wss://chat.example/address
    client.close()


def test_client_of_a_proxy_cannot_name_the_site(server):
    """The last of several is the proxy's."""
    server.allowed_faults = ["handshake refused"]
    fields = [("X-Forwarded-Host", "evil.example, chat.example")]
    origin = "http://evil.example"
    client = server.client("13", "/address", fields=fields, origin=origin)
    assert refusal(client).status == 403
