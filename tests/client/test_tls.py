"""TLS, with a private certificate authority that these tests make."""

import ssl
from datetime import datetime, timedelta, timezone

import pytest
import trustme
from server.peers import PATIENCE

from wsmiddleware import HandshakeError
from wsmiddleware.client import can_heal, connect

from .scripted import echo_13, refuse


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority):
    """A client's context that trusts the private authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def serve(authority, scripted):
    """Start an echo with a certificate; note the name that the client asks for."""

    def serve(*names, issuer=authority, **details):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(*names, **details).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        asked = []
        context.sni_callback = lambda _, name, __: asked.append(name)

        def script(wire):
            asked.append(wire.sock.selected_alpn_protocol())
            echo_13(wire)

        server = scripted(script, tls=context)
        server.asked = asked
        return server

    return serve


@pytest.fixture
def serve_badly(serve, scripted):
    """Start an echo whose client is expected to break the handshake off."""

    def serve_badly(*names, **details):
        server = serve(*names, **details)
        server.check = lambda: None
        return server

    return serve_badly


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_of_the_private_authority(serve, trust, host):
    server = serve("localhost", "127.0.0.1")
    with connect(server.url(host=host), ssl_context=trust) as ws:
        for message in ("hello", b"x" * 300_000, ""):
            ws.send(message)
            assert ws.receive(timeout=PATIENCE) == message
    assert server.asked[0] == ("localhost" if host == "localhost" else None)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_both_versions_of_tls(serve, authority, version):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.maximum_version = ssl.TLSVersion[version]
    server = serve("localhost")
    with connect(server.url(host="localhost"), ssl_context=context) as ws:
        ws.send("hello")
        assert ws.receive(timeout=PATIENCE) == "hello"


def test_the_default_context_verifies(serve_badly):
    server = serve_badly("localhost")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        connect(server.url(host="localhost"))
    assert not can_heal(caught.value)


def test_the_default_context_asks_for_http_1_1(serve, authority, monkeypatch, tmp_path):
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    server = serve("localhost")
    connect(server.url(host="localhost")).close()
    assert server.asked == ["localhost", "http/1.1"]


def test_another_authority_is_refused(serve_badly, trust):
    server = serve_badly("localhost", issuer=trustme.CA())
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server.url(host="localhost"), ssl_context=trust)


def test_an_expired_certificate_is_refused(serve_badly, trust):
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    server = serve_badly(
        "localhost", not_before=yesterday - timedelta(days=9), not_after=yesterday
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(server.url(host="localhost"), ssl_context=trust)


def test_a_wrong_name_is_refused(serve_badly, trust):
    server = serve_badly("example.com")
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        connect(server.url(host="localhost"), ssl_context=trust)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1"):
        connect(server.url(), ssl_context=trust)


def test_another_name_can_be_expected(serve, trust):
    server = serve("example.com")
    url = server.url()
    with connect(url, ssl_context=trust, server_hostname="example.com") as ws:
        ws.send("hello")
        assert ws.receive(timeout=PATIENCE) == "hello"
    assert server.asked[0] == "example.com"


def test_a_context_of_the_callers_need_not_verify(serve):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connect(serve("example.com").url(), ssl_context=context).close()


def test_a_server_without_tls(scripted, trust):
    server = scripted(lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    url = server.url(host="localhost").replace("ws:", "wss:")
    with pytest.raises(ssl.SSLError):
        connect(url, ssl_context=trust)


def test_it_gives_up_on_a_bad_certificate(serve_badly):
    server = serve_badly("localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        next(connect.reconnecting(server.url(host="localhost")))


def test_a_redirect_does_not_lead_out_of_tls(authority, scripted, trust):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def script(wire):
        refuse(wire, "302 Found", "Location: http://localhost/")

    url = scripted(script, tls=context).url(host="localhost")
    with pytest.raises(
        HandshakeError, match="^redirected from TLS to ws://localhost/$"
    ):
        connect(url, ssl_context=trust, max_redirects=1)
