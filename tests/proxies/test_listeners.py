"""Listening sockets that gunicorn shares, inherits, or is told about by a proxy."""

import contextlib
import json
import signal
import socket
import struct
import subprocess
import sys

import pytest
from server import peers
from server.conftest import reserve

from .setups import HERE, Gunicorn, fill_in, require

VERSIONS = ["13", "8", "76", "55"]


def ask_who(client):
    client.send("who")
    return json.loads(client.receive())


def expect_all_versions(server):
    for version in VERSIONS:
        client = server.open(version, origin=server.origin)
        with client.wire:
            client.send("hello")
            assert client.receive() == "hello"
            client.close()


# ---- SO_REUSEPORT


def test_workers_share_a_port_with_reuse_port(start):
    """The kernel spreads connections over the workers, each on a socket of its own."""
    with reserve("127.0.0.1") as [port]:
        place = f"127.0.0.1:{port}"
        server = start(
            *("--reuse-port", "--workers", "3", "--bind", place),
            announced=(place, "Booting worker"),
        )
    server.log.wait("Booting worker", count=3)
    server.mark = server.log.mark()

    def pids():
        with contextlib.ExitStack() as stack:
            clients = [server.open("13", origin=server.origin) for _ in range(24)]
            for client in clients:
                stack.enter_context(client.wire)
            return {ask_who(client)["pid"] for client in clients}

    peers.until(lambda: len(pids()) == 3)
    expect_all_versions(server)


# ---- systemd's socket activation


@pytest.fixture(params=["TCP", "unix"])
def activated(request, start, tmp_path):
    """gunicorn that was given its socket as systemd gives it."""
    unix = request.param == "unix"
    place = str(tmp_path / "activated.sock") if unix else "127.0.0.1:0"
    launcher = [sys.executable, str(HERE / "activate.py"), place]
    return start(launcher=launcher)


def test_socket_that_systemd_opened(activated):
    expect_all_versions(activated)


def test_reload_keeps_the_socket_that_systemd_opened(activated):
    mark = activated.log.mark()
    activated.signal(signal.SIGHUP)
    activated.log.wait("Booting worker", mark)
    activated.log.wait("Worker exiting", mark)
    expect_all_versions(activated)
    activated.mark = activated.log.mark()


def test_who_connects_during_a_restart_waits(start):
    """systemd keeps the socket open while the service is away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        launcher = [sys.executable, str(HERE / "activate.py"), str(descriptor)]
        first = start(launcher=launcher, descriptors=[descriptor])
        expect_all_versions(first)
        first.stop()
        early = first.client("13", origin=first.origin)
        early.wire.send(early.request())
        second = start(launcher=launcher, descriptors=[descriptor])
        early.verify()
        early.send("patient")
        assert early.receive() == "patient"
        early.close()
        assert second.access_lines("/echo", mark=0)


def test_socket_that_systemd_itself_opened(start):
    """systemd's own tool listens, and starts gunicorn at the first connection."""
    tool = require("systemd-socket-activate")
    with reserve("127.0.0.1") as [port]:
        place = f"127.0.0.1:{port}"
        server = start(
            launcher=[tool, f"--listen={place}", "--setenv=PYTHONPATH"],
            announced=(place, "Listening on"),
        )
    expect_all_versions(server)


# ---- the PROXY protocol


def preface_v1(source, destination):
    family = "TCP6" if ":" in source[0] else "TCP4"
    places = f"{source[0]} {destination[0]} {source[1]} {destination[1]}"
    return f"PROXY {family} {places}\r\n".encode()


def preface_v2(source, destination):
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    addresses = b"".join(socket.inet_pton(family, p[0]) for p in (source, destination))
    addresses += struct.pack("!HH", source[1], destination[1])
    kind = 0x21 if family == socket.AF_INET6 else 0x11
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    return signature + struct.pack("!BBH", 0x21, kind, len(addresses)) + addresses


PREFACES = {"v1": preface_v1, "v2": preface_v2}
CLIENTS = [("192.0.2.1", 5678), ("2001:db8::1", 5678)]


@pytest.fixture(scope="module")
def running_behind_proxy_protocol():
    options = ["--proxy-protocol", "--keep-alive", "10"]
    server = Gunicorn(*options, "--bind", "127.0.0.1:0")
    yield server
    server.stop()


@pytest.fixture
def behind_proxy_protocol(running_behind_proxy_protocol):
    running_behind_proxy_protocol.mark = running_behind_proxy_protocol.log.mark()
    yield running_behind_proxy_protocol
    running_behind_proxy_protocol.check()


@pytest.mark.parametrize("preface", PREFACES)
@pytest.mark.parametrize("source", CLIENTS, ids=["IPv4", "IPv6"])
def test_proxy_protocol_names_the_client(behind_proxy_protocol, preface, source):
    server = behind_proxy_protocol
    ours = ("::1" if ":" in source[0] else "127.0.0.1", 80)
    for version in VERSIONS:
        client = server.client(version, origin=server.origin)
        with client.wire:
            client.wire.send(PREFACES[preface](source, ours) + client.request())
            client.verify()
            assert ask_who(client)["REMOTE_ADDR"] == source[0]
            client.close()


def test_proxy_protocol_byte_by_byte(behind_proxy_protocol):
    server = behind_proxy_protocol
    for version in VERSIONS:
        client = server.client(version, origin=server.origin)
        with client.wire:
            preface = preface_v2(CLIENTS[0], ("127.0.0.1", 80))
            client.wire.send_bytewise(preface + client.request(), pause=0)
            client.verify()
            assert ask_who(client)["REMOTE_ADDR"] == CLIENTS[0][0]
            client.close()


def test_proxy_protocol_on_a_connection_that_was_kept(behind_proxy_protocol):
    """The preface is sent once for a connection, and holds for its first request."""
    server = behind_proxy_protocol
    with server.connect() as wire:
        wire.send(preface_v1(CLIENTS[0], ("127.0.0.1", 80)))
        first = peers.exchange(wire, "/", host=server.host)
        assert json.loads(first.body)["REMOTE_ADDR"] == CLIENTS[0][0]
        client = peers.RFC6455Client(wire, server.host, origin=server.origin)
        client.connect()
        client.send("hello")
        assert client.receive() == "hello"
        client.close()


@pytest.mark.parametrize("unit", ["app.service", "app.socket"])
def test_documented_unit_is_understood_by_systemd(tmp_path, unit):
    verify = require("systemd-analyze")
    places = {
        "app.socket": {},
        "app.service": {
            "/srv/app/.venv/bin/gunicorn": sys.executable,
            "/srv/app": str(tmp_path),
            "User=app": "User=root",
        },
    }
    for name, values in places.items():
        (tmp_path / name).write_text(fill_in(name, values))
    command = [verify, "verify", "--man=no", tmp_path / unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
