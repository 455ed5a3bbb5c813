"""Where a server listens and how it is set up: TLS, unix sockets, IPv6, workers."""

import contextlib
import signal
import socket
import ssl
import threading

import pytest

from . import peers
from .conftest import launch, reserve

GUNICORN = ["ours", "gevent", "gevent_pywsgi"]
VERSIONS = ["55", "76", "13"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Make an authority and a certificate for localhost; return the paths."""
    trustme = pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


@pytest.fixture(scope="module", params=GUNICORN)
def running_tls_server(request, certificate):
    pem = str(certificate / "server.pem")
    context = ssl.create_default_context(cafile=certificate / "authority.pem")
    options = ["--certfile", pem, "--keyfile", pem]
    server = launch(request.param, "apps:app", *options, tls=context)
    yield server
    server.stop()


@pytest.fixture
def tls_server(running_tls_server):
    server = running_tls_server
    server.mark = server.log.mark()
    server.allowed_faults = []
    yield server
    server.close_wires()
    server.check()


def test_tls(tls_server):
    for version in VERSIONS:
        client = tls_server.open(version, origin=tls_server.origin)
        client.send("over TLS")
        assert client.receive() == "over TLS"
        client.close()


def test_tls_byte_by_byte_and_frames_behind_the_handshake(tls_server):
    for version in VERSIONS:
        client = tls_server.client(version, origin=tls_server.origin)
        client.wire.send_bytewise(client.request())
        client.verify()
        client.close()
        client = tls_server.client(version, origin=tls_server.origin)
        client.wire.send(client.request() + client.encode("early") * 50)
        client.verify()
        assert [client.receive() for _ in range(50)] == ["early"] * 50
        client.close()


def test_tls_messages_of_many_records(tls_server):
    """A record holds 16 KiB: some of a message waits inside of OpenSSL."""
    for size in (16384, 16385, 200_000, 1 << 20):
        client = tls_server.open("13")
        message = ("0123456789abcde\n" * (size // 16 + 1))[:size]
        # In one thread: an SSLSocket is not for two.
        client.send(message)
        assert client.receive() == message
        client.close()


def test_tls_many_small_messages_in_one_record(tls_server):
    client = tls_server.open("13")
    client.wire.send(b"".join(client.encode(str(n)) for n in range(500)))
    assert [client.receive() for _ in range(500)] == [str(n) for n in range(500)]
    client.close()


def test_tls_many_senders(tls_server):
    client = tls_server.open("13", "/many-senders?10x10")
    count = 0
    while client.receive() != "done":
        count += 1
    assert count == 100
    client.close()


@pytest.mark.parametrize(
    "data",
    [b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", b"", b"\x16\x03\x01\x02\x00\x01"],
    ids=["HTTP", "nothing", "half of a hello"],
)
def test_tls_handshake_that_fails(tls_server, data):
    if tls_server.kind != "ours":
        tls_server.allowed_faults = ["Traceback"]  # gevent's own, for each of them
    with socket.create_connection(tls_server.address, timeout=10) as sock:
        sock.sendall(data)
        with contextlib.suppress(OSError):  # the server may have been faster
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    if tls_server.kind == "ours":
        tls_server.log.wait(r"\[INFO\] TLS handshake failed: ", tls_server.mark)
    client = tls_server.open("13")
    client.send("others are unaffected")
    assert client.receive() == "others are unaffected"
    client.close()


def test_tls_client_that_goes_without_a_word(tls_server):
    client = tls_server.open("13", "/report-close")
    client.wire.reset()
    tls_server.log.wait(r"^CLOSED True 1006", tls_server.mark)


def test_tls_connections_are_closed_when_the_worker_stops(start, certificate):
    pem = str(certificate / "server.pem")
    context = ssl.create_default_context(cafile=certificate / "authority.pem")
    options = ["--certfile", pem, "--keyfile", pem]
    server = start("ours", "apps:app", *options, tls=context)
    clients = [server.open(v, "/last-words", origin=server.origin) for v in VERSIONS]
    for client in clients:
        assert client.receive() == "ready"
    server.signal(signal.SIGTERM)
    for client in clients:
        code = client.expect_close()
        assert code == (1001 if client.version == "13" else None)
    server.process.wait(peers.PATIENCE)
    server.log.reader.join(peers.PATIENCE)
    assert not server.log.find("Traceback")


@pytest.mark.parametrize("kind", ["ours", "gevent"])
def test_full_worker_goes_on_answering_http(start, kind):
    """One in ten of its connections is for HTTP; more WebSockets get 503."""
    server = start(kind, "apps:app", "--worker-connections", "20")
    server.allowed_faults = [r"\bWARNING\b|handshake refused"]
    clients = [server.open(VERSIONS[n % 3], origin=server.origin) for n in range(18)]
    late = server.client("13")
    late.wire.send(late.request())
    response = peers.read_response(late.wire)
    assert response.status == 503
    assert int(response.field("retry-after")) >= 1
    late.wire.close()
    assert server.get("/").body == b"plain HTTP\n"
    clients.pop().close()
    server.access_lines("/echo", count=2)
    client = server.open("13")
    client.send("there is room again")
    assert client.receive() == "there is room again"
    server.check()


@pytest.mark.parametrize("kind", GUNICORN)
def test_unix_socket(start, tmp_path, kind):
    server = start(kind, bind=f"unix:{tmp_path / 'socket'}")
    for version in VERSIONS:
        client = server.open(version, origin="http://localhost")
        client.send("over a unix socket")
        assert client.receive() == "over a unix socket"
        client.close()
    server.access_lines("/echo", count=len(VERSIONS))
    server.check()


def test_unix_socket_with_several_clients_at_once(start, tmp_path):
    server = start("ours", bind=f"unix:{tmp_path / 'socket'}")
    clients = [server.open("13") for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(str(number))
        assert client.receive() == str(number)
    for client in clients:
        client.close()
    server.check()


@pytest.mark.parametrize("kind", GUNICORN)
def test_ipv6(start, kind):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = start(kind, bind="[::1]:0")
    for version in VERSIONS:
        client = server.open(version, origin=server.origin)
        client.send("over IPv6")
        assert client.receive() == "over IPv6"
        client.close()
    server.check()


@pytest.mark.parametrize(
    "options",
    [["--workers", "3"], ["--preload"], ["--reuse-port"], ["--keep-alive", "0"]],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", ["ours", "gevent"])
def test_options_of_gunicorn(start, kind, options):
    with reserve("127.0.0.1") as [port]:
        server = start(kind, "apps:app", *options, bind=f"127.0.0.1:{port}")
    clients = [server.open(v, origin=server.origin) for v in VERSIONS * 3]
    for client in clients:
        client.send("hello")
        assert client.receive() == "hello"
    for client in clients:
        client.close()
    server.settle()
    assert not server.log.find("Traceback")


def test_statsd_is_told_of_the_request(start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(peers.PATIENCE)
        place = f"127.0.0.1:{sink.getsockname()[1]}"
        server = start("ours", "apps:app", "--statsd-host", place)
        server.open("13").close()
        while b"gunicorn.request.status.101" not in sink.recv(65536):
            pass


def test_a_hundred_clients_at_once(start):
    server = start("ours")
    outcomes = []

    def talk(number):
        client = server.open(VERSIONS[number % 3], origin=server.origin)
        for turn in range(5):
            client.send(f"{number} {turn}")
            assert client.receive() == f"{number} {turn}"
        client.close()
        outcomes.append(number)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == list(range(100))
    server.access_lines("/echo", count=100)
    server.check()
