"""Proxies: real ones from Debian with authentication, and scripted ones."""

import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import trustme
from server.conftest import reserve
from server.peers import PATIENCE

from wsmiddleware import HandshakeError
from wsmiddleware.client import can_heal, connect

from .concurrency import concurrently
from .scripted import Request, answer_13, echo_13

NAME, PASSWORD = "name", "pass-word"


# Real proxies


def find(program):
    """Return the path of a program; where it is missing, skip, or fail if asked to."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    if found is None and os.environ.get("WSMIDDLEWARE_REQUIRE"):
        pytest.fail(f"{program} is missing, and WSMIDDLEWARE_REQUIRE is set")
    if found is None:
        pytest.skip(f"{program} is missing")
    return found


@contextlib.contextmanager
def running(command, port, log):
    """Run a proxy until the end of the block, which begins when it listens."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, log.read_text(errors="replace")
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that a proxy can read when it has given up root's rights."""
    folder = tmp_path_factory.mktemp("proxies")
    for part in (folder, *folder.parents[:2]):
        part.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def tinyproxy(folder):
    """An HTTP proxy that asks for Basic credentials."""
    program = find("tinyproxy")
    configuration = folder / "tinyproxy.conf"
    with reserve("127.0.0.1") as [port]:
        configuration.write_text(
            f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\n"
            f"LogLevel Info\nAllow 127.0.0.1\nBasicAuth {NAME} {PASSWORD}\n"
        )
        command = [program, "-d", "-c", configuration]
        with running(command, port, folder / "tinyproxy.log"):
            yield port


@pytest.fixture(scope="module")
def squid(folder):
    """An HTTP proxy that asks for Digest credentials."""
    program = find("squid")
    helper = find("/usr/lib/squid/digest_file_auth")
    secret = hashlib.md5(f"{NAME}:here:{PASSWORD}".encode()).hexdigest()
    passwords = folder / "squid.passwords"
    passwords.write_text(f"{NAME}:here:{secret}\n")
    configuration = folder / "squid.conf"
    settings = (
        f"auth_param digest program {helper} -c {passwords}\n"
        "auth_param digest children 1\n"
        "auth_param digest realm here\n"
        "acl known proxy_auth REQUIRED\n"
        "http_access allow known\n"
        "http_access deny all\n"
        f"pid_filename {folder}/squid.pid\n"
        "cache deny all\naccess_log none\ncache_log /dev/null\nnetdb_filename none\n"
        "pinger_enable off\nshutdown_lifetime 0 seconds\nvisible_hostname here\n"
        f"coredump_dir {folder}\n"
    )
    with reserve("127.0.0.1") as [port]:
        configuration.write_text(f"http_port 127.0.0.1:{port}\n{settings}")
        command = [program, "-N", "-f", configuration]
        with running(command, port, folder / "squid.log"):
            yield port


@pytest.fixture(scope="module")
def microsocks(folder):
    """A SOCKS5 proxy that asks for a password."""
    program = find("microsocks")
    with reserve("127.0.0.1") as [port]:
        place = ["-i", "127.0.0.1", "-p", str(port)]
        command = [program, *place, "-u", NAME, "-P", PASSWORD]
        with running(command, port, folder / "microsocks.log"):
            yield port


def with_password(scheme, port, password="pass%2Dword", host="127.0.0.1"):
    return f"{scheme}://{NAME}:{password}@{host}:{port}"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def echoes(url, **settings):
    """Say whether an echo comes back, in messages that need many segments."""
    with connect(url, **settings) as ws:
        for message in ("hello", b"x" * 1_000_000):
            ws.send(message)
            if ws.receive(timeout=PATIENCE) != message:
                return False
    return ws.close_code == 1000


@pytest.fixture(params=["tinyproxy", "squid", "socks5", "socks5h"])
def proxy(request):
    """The URL of each of the real proxies, with the credentials."""
    if request.param.startswith("socks"):
        return with_password(request.param, request.getfixturevalue("microsocks"))
    return with_password("http", request.getfixturevalue(request.param))


def test_echo_through_a_proxy(proxy, scripted):
    assert echoes(scripted(echo_13).url(host="localhost"), proxy=proxy)


def test_tls_through_a_proxy(proxy, scripted, server_tls, trust):
    url = scripted(echo_13, tls=server_tls).url(host="localhost")
    assert echoes(url, proxy=proxy, ssl_context=trust)


def test_a_certificate_is_verified_through_a_proxy(proxy, scripted, server_tls, trust):
    server = scripted(echo_13, tls=server_tls)
    server.check = lambda: None
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1"):
        connect(server.url(), proxy=proxy, ssl_context=trust)


# tinyproxy has another status for credentials that are wrong.
@pytest.mark.parametrize(
    ("name", "password", "status"),
    [
        ("tinyproxy", "wrong", 401),
        ("squid", "wrong", 407),
        ("tinyproxy", None, 407),
        ("squid", None, 407),
    ],
)
def test_wrong_credentials(request, scripted, name, password, status):
    server = scripted(echo_13)
    proxy = f"http://127.0.0.1:{request.getfixturevalue(name)}"
    if password is not None:
        proxy = proxy.replace("//", f"//{NAME}:{password}@")
    with pytest.raises(HandshakeError) as caught:
        connect(server.url(), proxy=proxy)
    assert str(caught.value) == f"proxy refused with status {status}"
    assert caught.value.status == status


def test_wrong_credentials_for_socks(microsocks, scripted):
    proxy = with_password("socks5", microsocks, "wrong")
    with pytest.raises(HandshakeError, match="SOCKS proxy refused") as caught:
        connect(scripted(echo_13).url(), proxy=proxy)
    assert not can_heal(caught.value)


def test_a_proxy_that_cannot_reach_the_server(proxy, refusing_port):
    url = f"ws://127.0.0.1:{refusing_port}/"
    with pytest.raises(HandshakeError, match="refused") as caught:
        connect(url, proxy=proxy)
    assert can_heal(caught.value)


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY", "ws_proxy"])
def test_the_environments_proxy(
    tinyproxy, scripted, monkeypatch, refusing_port, variable
):
    server = scripted(echo_13)
    monkeypatch.setenv(variable, with_password("http", tinyproxy))
    assert echoes(server.url())
    monkeypatch.setenv(variable, f"http://127.0.0.1:{refusing_port}")
    with pytest.raises(ConnectionRefusedError):
        connect(server.url())
    assert echoes(server.url(), proxy=None)
    assert echoes(server.url(), proxy=False)
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    assert echoes(server.url())


# An HTTPS proxy is tinyproxy behind TLS.


@pytest.fixture
def https_proxy(tinyproxy, scripted, server_tls):
    def copy(source, target):
        # gevent's TLS sockets raise ValueError when another thread has closed them.
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError, ValueError):
            target.shutdown(socket.SHUT_WR)

    def relay(wire):
        with socket.create_connection(("127.0.0.1", tinyproxy)) as sock:
            there = threading.Thread(target=copy, args=(wire.sock, sock))
            there.start()
            copy(sock, wire.sock)
            there.join(PATIENCE)

    server = scripted(relay, tls=server_tls)
    return with_password("https", server.port, host="localhost")


def test_echo_through_an_https_proxy(https_proxy, scripted, trust):
    url = scripted(echo_13).url()
    assert echoes(url, proxy=https_proxy, proxy_ssl_context=trust)


def test_tls_through_an_https_proxy(https_proxy, scripted, server_tls, trust):
    url = scripted(echo_13, tls=server_tls).url(host="localhost")
    settings = {"proxy_ssl_context": trust, "ssl_context": trust}
    assert echoes(url, proxy=https_proxy, **settings)


def test_an_https_proxys_certificate_is_verified(scripted, server_tls):
    proxy = scripted(echo_13, tls=server_tls)
    proxy.check = lambda: None
    with pytest.raises(ssl.SSLCertVerificationError):
        connect("ws://example.com/", proxy=f"https://localhost:{proxy.port}")


# Scripted proxies


def test_a_proxy_is_told_the_name_of_the_host(scripted):
    requests = []

    def script(wire):
        requests.append(Request(wire))
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        echo_13(wire)

    proxy = scripted(script)
    url = "ws://bücher.example:81/x"
    assert echoes(url, proxy=f"127.0.0.1:{proxy.port}")
    assert requests[0].raw == (
        b"CONNECT xn--bcher-kva.example:81 HTTP/1.1\r\n"
        b"Host: xn--bcher-kva.example:81\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "connection closed by the proxy"),
        (b"HTTP/1.1 200", "connection closed by the proxy"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", "refused with status 403"),
        (b"HTTP/1.1 403 No\r\n\r\nno", "refused with status 403"),
        (b"hello\r\n\r\n", "status line is not HTTP's"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "octets behind the proxy's answer"),
    ],
)
def test_a_proxy_that_refuses(scripted, answer, reason):
    def script(wire):
        Request(wire)
        wire.send(answer)

    proxy = scripted(script)
    with pytest.raises(HandshakeError, match=reason):
        connect("ws://example.com/", proxy=f"http://127.0.0.1:{proxy.port}")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h", "socks4a"])
def test_a_proxy_that_does_not_answer(scripted, scheme):
    proxy = scripted(lambda wire: wire.read_to_end())
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"connection not open within 0\.3 s: "):
        connect(
            "ws://example.com/",
            proxy=f"{scheme}://127.0.0.1:{proxy.port}",
            open_timeout=0.3,
        )
    assert time.monotonic() - started < 5


def test_the_turn_is_the_host_names_behind_a_proxy(scripted):
    """Two hosts behind one proxy need not wait for each other."""
    both = threading.Barrier(2)

    def script(wire):
        Request(wire)
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        request = Request(wire)
        both.wait(PATIENCE)
        wire.send(answer_13(request))

    proxy = f"http://127.0.0.1:{scripted(script).port}"
    concurrently(
        *(
            lambda url=url: connect(url, proxy=proxy).close()
            for url in ("ws://a.example/", "ws://b.example/")
        )
    )


def test_socks_4a_is_told_the_name_of_the_host(scripted):
    requests = []

    def script(wire):
        requests.append(
            (wire.read(8), wire.read_through(b"\0"), wire.read_through(b"\0"))
        )
        wire.send(b"\x00\x5a\x00\x00\x00\x00\x00\x00")
        echo_13(wire)

    proxy = scripted(script)
    assert echoes("ws://example.com/", proxy=f"socks4a://me@127.0.0.1:{proxy.port}")
    # An address of 0.0.0.x says that a name follows.
    ((head, user, name),) = requests
    assert head[:7] == b"\x04\x01\x00\x50\x00\x00\x00"
    assert (user, name) == (b"me\x00", b"example.com\x00")


def test_socks_4_is_told_the_address(scripted):
    requests = []

    def script(wire):
        requests.append(wire.read(9))
        wire.send(b"\x00\x5a\x00\x00\x00\x00\x00\x00")
        echo_13(wire)

    proxy = scripted(script)
    assert echoes("ws://localhost:81/", proxy=f"socks4://127.0.0.1:{proxy.port}")
    assert requests == [b"\x04\x01\x00\x51\x7f\x00\x00\x01\x00"]


def test_socks_4_has_no_room_for_ipv6():
    with pytest.raises(OSError, match="no IPv4 address"):
        connect("ws://[::1]/", proxy="socks4://127.0.0.1:1")


def test_a_socks_proxy_that_refuses(scripted):
    def script(wire):
        wire.read(9)
        wire.send(b"\x00\x5b\x00\x00\x00\x00\x00\x00")

    proxy = scripted(script)
    with pytest.raises(HandshakeError, match="SOCKS proxy refused"):
        connect("ws://127.0.0.1/", proxy=f"socks4://127.0.0.1:{proxy.port}")


def test_without_its_library_socks_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(ImportError, match=r"install wsmiddleware\[socks\]"):
        connect("ws://127.0.0.1/", proxy="socks5://127.0.0.1:1")
