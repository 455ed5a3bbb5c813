"""Every version through nginx and HAProxy, http and https in front."""

import json

import pytest
from server import peers

from .setups import RelayedDraft76Client, is_secure

HYBI = ["13", "8", "7"]
# A way is a proxy, one of its ports, and a version that passes there.
WAYS = [
    *[("nginx", port, version) for port in ("http", "https") for version in HYBI],
    *[("nginx", port, "76") for port in ("http", "https")],
    *[
        ("nginx", port, version)
        for port in ("stream", "stream-tls")
        for version in ("13", "76", "55")
    ],
    *[
        ("haproxy", port, version)
        for port in ("http", "https")
        for version in [*HYBI, "76", "55"]
    ],
    *[("nginx", "http6", "13"), ("nginx", "https6", "76")],
    *[("haproxy", "http6", "76"), ("haproxy", "https6", "13")],
]
every_way = pytest.mark.parametrize(
    ("kind", "port", "version"), WAYS, ids=["-".join(way) for way in WAYS]
)


def client_of(site, port, version, path="/echo", **handshake):
    """Make the client that the way asks for."""
    if site.kind == "nginx" and port.startswith("http") and version == "76":
        handshake["kind"] = RelayedDraft76Client
    return site.proxy.client(port, version, path, **handshake)


def ask_who(client):
    client.send("who")
    return json.loads(client.receive())


@pytest.fixture(params=["tcp", "unix"])
def site(request, shared, kind):
    """A site, reached over TCP or a unix socket."""
    return shared(kind, unix=request.param == "unix")


@every_way
def test_messages_pass_both_ways(site, port, version):
    client = client_of(site, port, version)
    with client.wire:
        client.connect()
        for message in ("hello", "", "\N{SNAKE}" * 50_000):
            client.send(message)
            assert client.receive() == message
        client.close()
    assert site.gunicorn.access_lines("/echo")[0][0] == 101


@every_way
def test_application_sees_the_scheme_the_host_and_the_client(site, port, version):
    client = client_of(site, port, version)
    with client.wire:
        facts = ask_who(client.connect())
        assert facts["wsgi.url_scheme"] == ("https" if is_secure(port) else "http")
        assert facts["HTTP_HOST"] == site.proxy.host(port)
        # Either the proxy says it in a field, or the PROXY protocol does.
        address = site.proxy.ports[port][0]
        assert address in (facts["HTTP_X_FORWARDED_FOR"], facts["REMOTE_ADDR"])
        client.close()


@every_way
def test_frames_in_the_segment_of_the_handshake_pass(site, port, version):
    client = client_of(site, port, version)
    with client.wire:
        early = ["early bird", "x" * 300]
        frames = b"".join(client.encode(message) for message in early)
        client.wire.send(client.request() + frames)
        client.verify()
        assert [client.receive() for _ in early] == early
        client.close()


@every_way
def test_handshake_byte_by_byte_passes(site, port, version):
    client = client_of(site, port, version)
    with client.wire:
        client.wire.send_bytewise(client.request(), pause=0)
        client.verify()
        client.send("slow")
        assert client.receive() == "slow"
        client.close()


@every_way
def test_end_by_the_application_passes(site, port, version):
    client = client_of(site, port, version, "/bye")
    with client.wire:
        client.connect()
        assert client.receive() == "bye"
        code = client.expect_close()
        assert code == (1000 if version in HYBI else None)


@every_way
def test_reset_by_the_client_ends_the_request(site, port, version):
    client = client_of(site, port, version)
    with client.wire:
        client.connect()
        client.send("here")
        assert client.receive() == "here"
        client.wire.reset()
    assert site.gunicorn.access_lines("/echo")[0][0] == 101


@every_way
def test_pages_of_another_origin_are_refused(site, port, version):
    site.gunicorn.allowed_faults = ["origin"]
    # The same place, except for the scheme: it must be the client's, not gunicorn's.
    scheme = "http" if is_secure(port) else "https"
    for origin in ("https://evil.example", f"{scheme}://{site.proxy.host(port)}"):
        client = client_of(site, port, version, origin=origin)
        with client.wire:
            client.wire.send(client.request())
            response = peers.read_response(client.wire)
            assert response.status == 403
            assert b"origin" in response.body


@every_way
def test_refusal_by_the_application_passes(site, port, version):
    client = client_of(site, port, version, "/refused")
    with client.wire:
        client.wire.send(client.request())
        response = peers.read_response(client.wire)
        assert (response.status, response.body) == (403, b"not you")


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
@pytest.mark.parametrize("port", ["http", "https"])
def test_key3_is_sent_when_the_head_has_come(site, port):
    """A proxy may hold the last eight octets back until it has seen the 101."""
    client = client_of(site, port, "76")
    with client.wire:
        client.wire.send(client.request_head())
        client.verify_head()
        client.wire.send(client.key3)
        client.verify_answer()
        client.send("patience")
        assert client.receive() == "patience"
        client.close()


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
@pytest.mark.parametrize("port", ["http", "https"])
def test_http_passes_and_the_connection_is_kept(site, port):
    with site.proxy.connect(port) as wire:
        for _ in range(3):
            response = peers.exchange(wire, "/", host=site.proxy.host(port))
            assert response.status == 200
            facts = json.loads(response.body)
            assert facts["wsgi.url_scheme"] == port


FORGERIES = [
    ("nginx", "http", "13"),
    ("nginx", "stream", "55"),
    ("haproxy", "http", "13"),
    ("haproxy", "http", "76"),
    ("haproxy", "http", "55"),
]


@pytest.mark.parametrize(("kind", "port", "version"), FORGERIES)
def test_client_cannot_say_what_the_proxy_says(site, port, version):
    fields = [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "192.0.2.7")]
    client = client_of(site, port, version, fields=fields)
    with client.wire:
        facts = ask_who(client.connect())
        assert facts["wsgi.url_scheme"] == "http"
        assert "192.0.2.7" not in (facts["HTTP_X_FORWARDED_FOR"], facts["REMOTE_ADDR"])
        client.close()
