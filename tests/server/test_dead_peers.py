"""Peers that vanish without a word: packets are dropped, in a network of its own."""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from . import conftest, peers

CLONE_NEWNET = 0x40000000


def can_make_networks():
    if not all(map(shutil.which, ("unshare", "nsenter", "ip", "tc"))):
        return False
    return (
        subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
    )


pytestmark = pytest.mark.skipif(
    not can_make_networks(), reason="making a network namespace is not allowed here"
)


class IsolatedServer(conftest.Server):
    """A server in a network namespace, whose packets can be dropped."""

    def connect(self, patience=peers.PATIENCE):
        """Connect from inside; a socket stays in the network it was made in."""
        sockets = []

        def work():
            libc = ctypes.CDLL(None, use_errno=True)
            handle = os.open(f"/proc/{self.process.pid}/ns/net", os.O_RDONLY)
            assert libc.setns(handle, CLONE_NEWNET) == 0, ctypes.get_errno()
            os.close(handle)
            sockets.append(socket.create_connection(self.address, timeout=patience))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return self.keep(peers.Wire(sockets[0], patience))

    def run(self, *command):
        inside = ["nsenter", "-t", str(self.process.pid), "-n", *command]
        subprocess.run(inside, check=True, capture_output=True)

    def lose_packets(self):
        """Drop every packet from now on, in both directions."""
        self.run("tc", "qdisc", "add", "dev", "lo", "root", "pfifo", "limit", "0")

    def find_packets(self):
        self.run("tc", "qdisc", "del", "dev", "lo", "root")


def run(application):
    command = [
        *("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
        *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
        *("--bind", "127.0.0.1:0", "-k", conftest.OURS, application),
        *("--access-logfile", "-", "--access-logformat", conftest.ACCESS_FORMAT),
    ]
    server = IsolatedServer("ours", command)
    yield server
    server.stop()


@pytest.fixture
def server():
    yield from run("limits:app")


@pytest.fixture
def patient():
    """A server that waits four seconds for the answer to a ping."""
    yield from run("limits:patient")


# limits.py pings after one second of silence and waits one more; by default it would
# be 25 and 20.
NOTICED = 12.0


def test_while_receiving(server):
    client = server.open("13", "/report-close")
    server.lose_packets()
    started = time.monotonic()
    server.log.wait("^CLOSED True 1006", server.mark)
    assert time.monotonic() - started < NOTICED
    client.wire.close()


def test_while_the_application_does_something_else(server):
    client = server.open("13", "/watch")
    assert client.receive() == "ready"
    server.lose_packets()
    started = time.monotonic()
    server.log.wait("^SEEN CLOSED 1006", server.mark)
    assert time.monotonic() - started < NOTICED
    client.wire.close()


def test_while_sending(server):
    client = server.open("13", "/produce?binary=30000000")
    client.wire.fill()
    server.lose_packets()
    started = time.monotonic()
    server.access_lines("/produce?binary=30000000")
    assert time.monotonic() - started < NOTICED + 1
    client.wire.close()


def test_while_closing(server):
    client = server.open("13", "/last-words")
    assert client.receive() == "ready"
    server.lose_packets()
    client.wire.close()
    started = time.monotonic()
    server.log.wait("^WOKEN None 1006", server.mark)
    server.access_lines("/last-words")
    assert time.monotonic() - started < NOTICED + 1


def test_a_loss_that_is_shorter_than_the_deadline_is_survived(patient):
    client = patient.open("13")
    client.send("before")
    assert client.receive() == "before"
    patient.lose_packets()
    patient.find_packets()
    client.send("after")
    assert client.receive() == "after"
    client.close()


def test_peer_that_answers_pings_is_kept(patient):
    client = patient.open("13")
    pings = 0
    while pings < 6:
        frame = client.read_frame()
        assert frame.opcode == peers.PING
        client.send_frame(peers.PONG, frame.payload)
        pings += 1
    client.send("still here")
    assert client.receive() == "still here"
    client.close()


def test_peer_that_answers_with_data_only_is_kept(patient):
    """Any received data counts, not the pong alone."""
    client = patient.open("13")
    started = time.monotonic()
    while time.monotonic() - started < 6:
        client.send("instead of a pong")
        while (frame := client.read_frame()).opcode == peers.PING:
            pass
        assert frame.payload == b"instead of a pong"
        client.wire.is_silent(0.4)
    client.close()


def test_peer_that_answers_no_ping_is_closed(server):
    client = server.open("13", "/report-close")
    started = time.monotonic()
    assert client.read_frame().opcode == peers.PING
    data = client.wire.read_to_end()
    assert data == b"" or data[0] == 0x88
    assert time.monotonic() - started < NOTICED
    server.log.wait("^CLOSED True (1006|1011)", server.mark)


@pytest.mark.parametrize("version", ["55", "76"])
def test_drafts_without_a_ping_have_the_keepalive_of_tcp(server, version):
    client = server.open(version, "/keepalive", origin=server.origin)
    keepalive, idle, interval, count = map(int, client.receive().split())
    assert keepalive == 1
    assert idle + interval * count <= 60
    client.expect_close()
