"""What is believed of a request that a reverse proxy forwards."""

import pytest

from wsmiddleware.proxies import client_address, forwarded_host, forwarded_scheme

TRUSTED = ["10.0.0.0/8", "::1", "unix"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        # not a proxy of ours: what it says of others counts for nothing
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("::1", "198.51.100.7", "198.51.100.7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("::ffff:192.0.2.1", "198.51.100.7", "::ffff:192.0.2.1"),
        ("", "198.51.100.7", "198.51.100.7"),
        (None, "198.51.100.7", "198.51.100.7"),
        # two proxies of ours
        ("10.0.0.1", "198.51.100.7, 10.9.9.9", "198.51.100.7"),
        # a client that claims to be someone else
        ("10.0.0.1", "203.0.113.1, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "10.5.5.5, 198.51.100.7", "198.51.100.7"),
        # all of them ours
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.7,", "10.0.0.1"),
        ("10.0.0.1", "unknown", "unknown"),
        ("10.0.0.1", "198.51.100.7, unknown", "unknown"),
    ],
)
def test_the_client_is_the_nearest_that_is_no_proxy_of_ours(peer, forwarded, client):
    environ = {}
    if peer is not None:
        environ["REMOTE_ADDR"] = peer
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_address(environ, TRUSTED) == client


@pytest.mark.parametrize("trusted", ["::ffff:10.0.0.1", "::ffff:0:0/96", "10.0.0.1"])
def test_a_proxy_may_be_named_as_a_socket_for_both_families_does(trusted):
    environ = {
        "REMOTE_ADDR": "::ffff:10.0.0.1",
        "HTTP_X_FORWARDED_FOR": "198.51.100.7",
    }
    assert client_address(environ, [trusted]) == "198.51.100.7"


def test_nobody_is_believed_unless_configured():
    environ = {"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}
    assert client_address(environ, []) == ""


@pytest.mark.parametrize(
    ("peer", "fields", "host", "scheme"),
    [
        ("192.0.2.1", {}, "example.com", "http"),
        ("10.0.0.1", {}, "example.com", "http"),
        ("192.0.2.1", {"HOST": "a.com", "PROTO": "https"}, "example.com", "http"),
        ("10.0.0.1", {"HOST": "a.com", "PROTO": "https"}, "a.com", "https"),
        (
            "10.0.0.1",
            {"HOST": "evil.com, a.com", "PROTO": "x, HTTPS"},
            "a.com",
            "https",
        ),
        ("10.0.0.1", {"PROTO": "wss"}, "example.com", "https"),
        ("10.0.0.1", {"PROTO": "ws"}, "example.com", "http"),
        ("10.0.0.1", {"PROTO": "gopher"}, "example.com", "http"),
        ("10.0.0.1", {"HOST": "", "PROTO": ""}, "example.com", "http"),
    ],
)
def test_host_and_scheme_are_those_of_the_client(peer, fields, host, scheme):
    environ = {
        "REMOTE_ADDR": peer,
        "HTTP_HOST": "example.com",
        "wsgi.url_scheme": "http",
    }
    environ |= {f"HTTP_X_FORWARDED_{name}": value for name, value in fields.items()}
    assert forwarded_host(environ, TRUSTED) == host
    assert forwarded_scheme(environ, TRUSTED) == scheme


def test_there_may_be_no_host():
    assert forwarded_host({"REMOTE_ADDR": "192.0.2.1"}, TRUSTED) == ""
