"""Each line of the documented configurations that is said to be needed, is."""

import re
import time

import pytest
from server import peers

from wsmiddleware.options import Options

from .setups import DOCUMENTED
from .test_proxies import client_of

# A change to a configuration, and a handshake that fails by it with a status.
BREAKING = {
    "nginx without Upgrade": (
        *("nginx", "proxy_set_header Upgrade    $http_upgrade;", ""),
        *("http", "13", 426),
    ),
    "nginx without Connection": (
        *("nginx", "proxy_set_header Connection $connection_upgrade;", ""),
        *("http", "13", 400),
    ),
    "nginx without HTTP/1.1": (
        *("nginx", "proxy_http_version 1.1;", ""),
        *("http", "13", 505),
    ),
    "nginx without Host": (
        *("nginx", "proxy_set_header Host $http_host;", ""),
        *("http", "13", 403),
    ),
    "nginx with a Host that has lost its port": (
        *("nginx", "proxy_set_header Host $http_host;", "proxy_set_header Host $host;"),
        *("http", "13", 403),
    ),
    "nginx without X-Forwarded-Proto": (
        *("nginx", "proxy_set_header X-Forwarded-Proto $scheme;", ""),
        *("https", "76", 403),
    ),
    "HAProxy without X-Forwarded-Proto": (
        "haproxy",
        "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        *("", "https", "13", 403),
    ),
    "HAProxy that takes all for HTTP": (
        *("haproxy", "if HTTP !websocket", "if HTTP"),
        *("http", "76", 400),
    ),
}


@pytest.mark.parametrize("case", BREAKING.values(), ids=BREAKING)
def test_line_is_needed(build, case):
    kind, line, instead, port, version, status = case
    site = build(kind, proxy_changes={line: instead})
    site.gunicorn.allowed_faults = ["origin", "proxy"]
    client = client_of(site, port, version)
    with client.wire:
        client.wire.send(client.request())
        response = peers.read_response(client.wire)
        assert response.status == status
        if kind == "nginx" and status in (400, 426):
            assert b"proxy_set_header Upgrade" in response.body


def test_scheme_of_a_proxy_that_is_not_trusted_is_not_believed(build):
    changes = {'forwarded_allow_ips = "127.0.0.1,::1"': 'forwarded_allow_ips = "::1"'}
    site = build("nginx", gunicorn_changes=changes)
    client = client_of(site, "https", "13")
    with client.wire:
        client.wire.send(client.request())
        assert peers.read_response(client.wire).status == 403


def test_proxy_protocol_of_a_stranger_is_not_believed(build):
    changes = {'proxy_allow_ips = "127.0.0.1,::1"': 'proxy_allow_ips = "::1"'}
    site = build("haproxy", gunicorn_changes=changes)
    client = client_of(site, "http", "76")
    with client.wire:
        client.wire.send(client.request())
        assert peers.read_response(client.wire).status == 403


@pytest.mark.parametrize(
    ("kind", "version"), [("nginx", "13"), ("haproxy", "13"), ("haproxy", "76")]
)
def test_client_of_a_trusted_proxy_cannot_name_another_host(build, kind, version):
    site = build(kind, application="application:trusting")
    site.gunicorn.allowed_faults = ["origin"]
    fields = [("X-Forwarded-Host", "evil.example")]
    client = client_of(site, "http", version, "/", fields=fields)
    client.origin = "http://evil.example"
    with client.wire:
        client.wire.send(client.request())
        assert peers.read_response(client.wire).status == 403


def seconds_of(name, pattern):
    """Return the time that a documented configuration sets."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = re.search(pattern, (DOCUMENTED / name).read_text()).groups()
    return int(number) * units[unit]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("nginx.conf", r"proxy_read_timeout (\d+)(\w);"),
        ("nginx.conf", r"proxy_timeout (\d+)(\w);"),
        ("haproxy.cfg", r"timeout tunnel (\d+)(\w)\n"),
    ],
)
def test_pings_come_more_often_than_the_proxy_loses_patience(name, pattern):
    assert 2 * Options().ping_interval < seconds_of(name, pattern)


IMPATIENT = {
    "nginx": {"proxy_read_timeout 60s;": "proxy_read_timeout 2s;"},
    "haproxy": {"timeout tunnel 1h": "timeout tunnel 2s"},
}


@pytest.mark.parametrize("kind", IMPATIENT)
def test_pings_keep_an_idle_connection_open(build, kind):
    application = "application:pinging"
    site = build(kind, proxy_changes=IMPATIENT[kind], application=application)
    client = client_of(site, "http", "13")
    with client.wire:
        client.connect()
        started = time.monotonic()
        while time.monotonic() < started + 4.5:
            frame = client.read_frame()
            assert frame.opcode == peers.PING
            client.send_frame(peers.PONG, frame.payload)
        client.send("still here")
        assert client.receive() == "still here"
        client.close()


@pytest.mark.parametrize("kind", IMPATIENT)
def test_what_the_client_sends_keeps_a_connection_open(build, kind):
    application = "application:silent"
    site = build(kind, proxy_changes=IMPATIENT[kind], application=application)
    client = client_of(site, "http", "13")
    with client.wire:
        client.connect()
        for _ in range(12):
            client.send_frame(peers.PONG)
            assert client.wire.is_silent(0.4)
        client.close()


@pytest.mark.parametrize("version", ["13", "76"])
@pytest.mark.parametrize("kind", IMPATIENT)
def test_idle_connection_without_pings_is_cut_off(build, kind, version):
    application = "application:silent"
    site = build(kind, proxy_changes=IMPATIENT[kind], application=application)
    client = client_of(site, "http", version)
    with client.wire:
        client.connect()
        assert client.wire.read_to_end() == b""
    [(status, _, seconds)] = site.gunicorn.access_lines("/echo")
    assert status == 101
    assert 1.9 < seconds < 20
