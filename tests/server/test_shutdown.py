"""Deploys: real signals, with connections open. Nobody is cut off without a word."""

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path

import gevent
import pytest
from gevent import socket as gevent_socket

from . import peers
from .peers import until

GUNICORN = ["ours", "gevent", "gevent_pywsgi"]

# How soon a close arrives on a busy machine. Nothing else would end a connection before
# the graceful time has passed, which is 10 s.
AT_ONCE = 6.0


def open_all(server, path="/last-words"):
    """Open connections of every version, whose handlers wait in receive()."""
    clients = [
        server.open(version, path, origin=server.origin)
        for version in ("13", "13", "13", "8", "55", "76")
    ]
    for client in clients:
        assert client.receive() == "ready"
    return clients


def expect_going_away(clients, within, started):
    """See each connection closed in its own way, and nothing else on the wire."""
    for client in clients:
        client.wire.sock.settimeout(max(0.01, within - (time.monotonic() - started)))
        if client.version in ("13", "8"):
            frame = client.read_frame()
            assert (frame.opcode, frame.code) == (peers.CLOSE, 1001)
            client.send_frame(peers.CLOSE, frame.payload)
        elif client.version == "76":
            assert client.wire.read(2) == b"\xff\x00"
            client.wire.send(b"\xff\x00")
        client.wire.sock.settimeout(peers.PATIENCE)
        client.wire.expect_end()


def expect_quiet_log(server, allowed="nothing"):
    for line in server.log.since(server.mark):
        fault = re.search(r"Traceback|\bERROR\b|\bCRITICAL\b|SIGKILL|Error", line)
        assert not fault or re.search(allowed, line), server.log.text(server.mark)


def wait_ended(server):
    """Wait until the whole server has ended; say how long it took."""
    started = time.monotonic()
    server.process.wait(peers.PATIENCE)
    server.log.reader.join(peers.PATIENCE)
    return time.monotonic() - started


def is_running(pid):
    """Say whether there is such a process, and not only what is left of it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("kind", GUNICORN)
def test_sigterm(start, kind):
    server = start(kind)
    clients = open_all(server)
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    expect_going_away(clients, AT_ONCE, started)
    assert wait_ended(server) < 8
    assert len(server.log.find("^WOKEN None")) == len(clients)
    assert len(server.log.find('"GET /last-words HTTP/1.1" 101 ')) == len(clients)
    assert server.process.returncode == 0
    expect_quiet_log(server, allowed=r"Handling signal")


@pytest.mark.parametrize("kind", GUNICORN)
def test_close_comes_before_gunicorn_itself_looks_what_to_do(start, kind):
    """gunicorn would look after 40 s; but its arbiter kills the worker after 10 s."""
    server = start(kind, env={"SECONDS_BETWEEN_LOOKS": "40"})
    clients = open_all(server)
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    expect_going_away(clients, 20, started)
    server.kill()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("ours", signal.SIGINT),
        ("ours", signal.SIGQUIT),
        ("gevent", signal.SIGQUIT),
        ("gevent_pywsgi", signal.SIGINT),
    ],
)
def test_sigint_and_sigquit(start, kind, number):
    server = start(kind)
    clients = open_all(server)
    started = time.monotonic()
    server.signal(number)
    expect_going_away(clients, AT_ONCE, started)
    wait_ended(server)
    expect_quiet_log(server)


@pytest.mark.parametrize("kind", GUNICORN)
def test_sighup(start, kind):
    server = start(kind)
    old = server.workers()
    clients = open_all(server)
    started = time.monotonic()
    server.signal(signal.SIGHUP)
    # The new workers are started first, which takes its time.
    expect_going_away(clients, AT_ONCE + 3, started)
    until(lambda: not set(old) & set(server.workers()))
    fresh = server.open("13")
    fresh.send("a new worker")
    assert fresh.receive() == "a new worker"
    fresh.close()
    expect_quiet_log(server)


@pytest.mark.parametrize("kind", ["ours", "gevent"])
def test_max_requests(start, kind):
    server = start(kind, "apps:app", "--max-requests", "9")
    old = server.workers()
    clients = open_all(server)  # 6 requests, behind the one that waited for readiness
    assert server.get("/").status == 200
    started = time.monotonic()
    assert server.get("/").status == 200
    expect_going_away(clients, AT_ONCE + 1, started)
    until(lambda: not set(old) & set(server.workers()))
    fresh = server.open("13")
    fresh.send("a new worker")
    assert fresh.receive() == "a new worker"
    fresh.wire.close()
    expect_quiet_log(server)


@pytest.mark.parametrize("kind", GUNICORN)
def test_reload(start, tmp_path, kind):
    watched = tmp_path / "settings.ini"
    watched.write_text("old")
    server = start(
        kind,
        *("apps:app", "--reload", "--reload-engine", "poll"),
        *("--reload-extra-file", str(watched)),
    )
    old = server.workers()
    clients = open_all(server)
    os.utime(watched, (1, 1))
    watched.write_text("new")
    server.log.wait(r"settings\.ini", server.mark)
    expect_going_away(clients, AT_ONCE + 1, time.monotonic())
    until(lambda: not set(old) & set(server.workers()))
    fresh = server.open("13")
    fresh.close()
    expect_quiet_log(server)


@pytest.mark.parametrize("kind", GUNICORN)
def test_arbiter_dies(start, kind):
    server = start(kind)
    (worker,) = server.workers()
    clients = open_all(server)
    started = time.monotonic()
    server.signal(signal.SIGKILL)
    try:
        expect_going_away(clients, AT_ONCE + 2, started)
        until(lambda: not is_running(worker))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    expect_quiet_log(server)


def test_peer_that_does_not_answer_delays_nothing(start):
    """The worker is gone soon after the last handler's end, whoever is silent."""
    server = start("ours", env={"WSMIDDLEWARE_CLOSE_TIMEOUT": "60"})
    clients = open_all(server)
    server.signal(signal.SIGTERM)
    server.log.wait("^WOKEN", server.mark, count=len(clients))
    # A second for their answers, and two for the worker; the graceful time is 10 s.
    assert wait_ended(server) < 8
    for client in clients:
        data = client.wire.read_to_end()
        if client.version in ("13", "8"):
            assert data[:1] + data[2:4] == b"\x88\x03\xe9"
    expect_quiet_log(server)


def test_handlers_have_until_the_deadline(start):
    server = start("ours")
    client = server.open("13", "/lingering?2")
    assert client.receive() == "ready"
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    assert client.expect_close() == 1001
    wait_ended(server)
    assert server.log.find("^LINGERED")
    assert 1.5 < time.monotonic() - started < 9
    expect_quiet_log(server)


def test_handler_that_never_ends_is_given_up_before_the_arbiter_kills(start):
    server = start("ours", "apps:app", "--graceful-timeout", "4")
    client = server.open("13", "/lingering?60")
    assert client.receive() == "ready"
    server.signal(signal.SIGTERM)
    assert client.expect_close() == 1001
    assert wait_ended(server) < 15
    assert not server.log.find("SIGKILL|signal 9|LINGERED")


@pytest.mark.parametrize("version", ["55", "76", "13"])
def test_new_upgrades_get_503_while_draining(start, version):
    server = start("ours")
    busy = server.open("13", "/lingering?3")
    assert busy.receive() == "ready"
    wire = server.connect()
    assert peers.exchange(wire, "/", host=server.host).status == 200
    server.signal(signal.SIGTERM)
    assert busy.expect_close() == 1001
    late = peers.CLIENTS[version](wire, server.host, "/echo", origin=server.origin)
    wire.send(late.request())
    response = peers.read_response(wire)
    assert response.status == 503
    assert int(response.field("retry-after")) >= 1
    assert response.field("content-type").startswith("text/plain")
    assert wire.read_to_end() == b""
    wait_ended(server)
    expect_quiet_log(server)


def test_messages_before_the_signal_are_answered(start):
    """What was acknowledged before the close is on the wire before the close."""
    server = start("ours")
    client = server.open("13", "/counted?only")
    data = b"".join(client.encode(f"{n}:" + "x" * 5000) for n in range(500))
    sender = threading.Thread(target=send_quietly, args=(client.wire, data))
    sender.start()
    assert client.receive().startswith("0:")
    server.signal(signal.SIGTERM)
    count = 1
    while not isinstance(message := client.read_any(), peers.Frame):
        assert message.startswith(f"{count}:")
        count += 1
    assert message.code == 1001
    client.send_frame(peers.CLOSE, message.payload)
    client.wire.expect_end()
    sender.join()
    server.log.wait(f"^COUNTED only {count} 1001$", server.mark)
    wait_ended(server)
    expect_quiet_log(server)


def send_quietly(wire, data):
    with contextlib.suppress(OSError):  # the server goes, as it should
        wire.send(data)


class Talker:
    """One client of many: talks, is sent away, and comes back."""

    def __init__(self, server, number):
        self.server = server
        self.number = number
        self.life = 0
        self.received = {}
        self.codes = []
        self.faults = []
        self.refusals = 0
        self.done = False

    def connect(self):
        self.doing = "connecting"
        address = self.server.address
        sock = gevent_socket.create_connection(address, timeout=peers.PATIENCE)
        self.wire = peers.Wire(sock)
        self.life += 1
        self.name = f"{self.number}-{self.life}"
        self.received[self.name] = 0
        self.doing = f"asking from {sock.getsockname()[1]}"
        path = f"/counted?{self.name}"
        client = peers.RFC6455Client(self.wire, self.server.host, path)
        self.client = client.connect()

    def run(self):
        while not self.done:
            try:
                self.live()
            except peers.Refused as refusal:
                self.refusals += 1
                if not str(refusal).startswith("503"):
                    self.faults.append(f"{self.name}: {refusal!r}")
                gevent.sleep(0.2)
            except (OSError, EOFError, AssertionError) as fault:
                self.faults.append(f"{self.name} {self.doing}: {fault!r}")
            finally:
                self.wire.close()

    def live(self):
        self.connect()
        number = 0
        while not self.done:
            self.doing = f"sending {number}"
            # The worker may have waited in vain for a slow client, and be gone: its
            # close is there all the same.
            with contextlib.suppress(OSError):
                self.client.send(f"{number}")
            self.doing = f"receiving {number}"
            message = self.client.read_any()
            if isinstance(message, peers.Frame):
                self.codes.append(message.code)
                # A slow client's answer may come when the worker has gone.
                with contextlib.suppress(OSError):
                    self.client.send_frame(peers.CLOSE, message.payload)
                    assert self.wire.read_to_end() == b""
                return
            assert message == str(number)
            number += 1
            self.received[self.name] = number
            gevent.sleep(0.5)
        self.codes.append(self.client.close())


def test_thousand_clients_through_five_reloads(start):
    """Every close is clean, and what the server had acknowledged has arrived."""
    server = start("ours", "apps:app", "--workers", "2", "--worker-connections", "2000")
    talkers = [Talker(server, number) for number in range(1000)]
    greenlets = []
    for number, talker in enumerate(talkers):
        greenlets.append(gevent.spawn(talker.run))
        if number % 50 == 0:
            gevent.sleep(0.02)
    alive = [talker for talker in talkers if not talker.faults]
    wait_until(lambda: all(any(t.received.values()) for t in alive))
    for _ in range(5):
        lives = {talker: talker.life for talker in talkers}
        server.signal(signal.SIGHUP)
        # until everyone was sent away, and talks again
        wait_until(lambda: all(t.life > lives[t] or t.faults for t in talkers))  # noqa: B023
        wait_until(lambda: all(t.received[t.name] or t.faults for t in talkers))
    for talker in talkers:
        talker.done = True
    gevent.joinall(greenlets, timeout=peers.PATIENCE, raise_error=True)
    faults = [fault for talker in talkers for fault in talker.faults]
    assert not faults, f"{len(faults)} faults: {faults[:10]}"
    codes = [code for talker in talkers for code in talker.codes]
    assert set(codes) == {1000, 1001}
    assert codes.count(1001) >= 5 * len(talkers)
    check_counts(server, talkers)
    expect_quiet_log(server)


def check_counts(server, talkers):
    """Compare what each handler has sent with what its client has received."""
    lives = sum(len(talker.received) for talker in talkers)
    refused = sum(talker.refusals for talker in talkers)
    pattern = r"^COUNTED (\S+) (\d+) "
    counted = server.log.wait(pattern, server.mark, count=lives - refused)
    sent = {match[1]: int(match[2]) for match in counted}
    received = {k: v for talker in talkers for k, v in talker.received.items()}
    lost = {k: (v, received[k]) for k, v in sent.items() if received[k] != v}
    assert not lost, f"sent and received differ: {dict(list(lost.items())[:10])}"


def wait_until(condition, patience=120):
    with gevent.Timeout(patience, AssertionError("waited in vain")):
        while not condition():
            gevent.sleep(0.05)
