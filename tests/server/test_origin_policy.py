"""Which pages may connect, as a table, against running servers."""

import pytest

from . import peers

OWN = "<own>"
NONE = None

TABLE = [
    # policy, origin, may connect
    ("default", OWN, True),
    ("default", NONE, True),
    ("default", "http://evil.example", False),
    ("default", "https" + "<own>", False),
    ("default", "http://127.0.0.1", False),
    ("default", "http://127.0.0.1:1", False),
    ("default", "null", False),
    ("default", "file://", False),
    ("default", "", False),
    ("exact", "https://example.com", True),
    ("exact", "https://example.com:443", True),
    ("exact", "http://localhost:3000", True),
    ("exact", "http://example.com", False),
    ("exact", "https://example.com:8443", False),
    ("exact", "https://sub.example.com", False),
    ("exact", "https://example.com.evil.example", False),
    ("exact", "https://evil.example/https://example.com", False),
    ("exact", "https://example.comx", False),
    ("exact", "null", False),
    ("pattern", "https://a.example.com", True),
    ("pattern", "https://a.b.example.com", True),
    ("pattern", "https://example.com", False),
    ("pattern", "http://a.example.com", False),
    ("pattern", "https://evilexample.com", False),
    ("pattern", "https://a.example.com.evil.example", False),
    ("pattern", "https://evil.example/.example.com", False),
    ("pattern", "https://evil.example?.example.com", False),
    ("pattern", "https://evil.example#.example.com", False),
    ("pattern", "https://evil.example:80@a.example.com", False),
    ("regex", "https://a.example", True),
    ("regex", "https://c.example", False),
    ("regex", "https://a.example.evil", False),
    ("regex", "xhttps://a.example", False),
    ("any", "http://evil.example", True),
    ("any", "null", True),
    ("any", NONE, True),
    ("callable", "https://some.test", True),
    ("callable", "https://some.example", False),
    ("callable", NONE, True),
]

OFFERED_BY = ["ours", "gevent", "gevent_pywsgi"]


@pytest.fixture(params=OFFERED_BY)
def policies(request, shared):
    server = shared(request.param, "policies:app")
    server.allowed_faults = [r"\bWARNING\b"]
    return server


def answer(server, policy, origin, version="13", fields=(), host=None):
    if origin is not None:
        origin = origin.replace("https<own>", "https://" + server.host)
        origin = origin.replace(OWN, server.origin)
    client = server.client(version, f"/{policy}", origin=origin, fields=fields)
    client.host = host or client.host
    client.wire.send(client.request())
    response = peers.read_response(client.wire)
    client.wire.close()
    return response.status


@pytest.mark.parametrize(("policy", "origin", "allowed"), TABLE)
def test_policy(policies, policy, origin, allowed):
    assert answer(policies, policy, origin) == (101 if allowed else 403)


@pytest.mark.parametrize("version", ["7", "8"])
def test_policy_of_the_hybi_drafts(policies, version):
    """Until draft 12 the field was named Sec-WebSocket-Origin."""
    assert answer(policies, "default", OWN, version) == 101
    assert answer(policies, "default", NONE, version) == 101
    assert answer(policies, "default", "http://evil.example", version) == 403


@pytest.mark.parametrize("version", ["55", "76"])
@pytest.mark.parametrize("policy", ["default", "any", "callable"])
def test_drafts_must_name_their_origin(policies, policy, version):
    assert answer(policies, policy, NONE, version) == 403


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://example.com", "example.com", 101),
        ("http://example.com", "example.com:80", 101),
        ("http://example.com:80", "example.com", 101),
        ("http://EXAMPLE.com", "example.COM", 101),
        ("http://example.com:8080", "example.com:8080", 101),
        ("http://example.com", "example.com:8080", 403),
        ("http://example.com:8080", "example.com", 403),
        ("https://example.com", "example.com", 403),
        ("http://[::1]:8000", "[::1]:8000", 101),
    ],
)
def test_same_origin_normalises_default_ports(policies, origin, host, status):
    assert answer(policies, "default", origin, host=host) == status


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("same-origin", 101)],
)
def test_sec_fetch_site_is_honoured(policies, site, status):
    fields = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "websocket")]
    assert answer(policies, "default", OWN, fields=fields) == status


@pytest.mark.parametrize("server_kind", ["ours", "gevent"])
def test_scheme_is_the_one_that_a_trusted_proxy_names(shared, server_kind):
    """gunicorn derives the scheme from the proxy's X-Forwarded-Proto."""
    server = shared(server_kind, "policies:app")
    server.allowed_faults = [r"\bWARNING\b"]
    forwarded = [("X-Forwarded-Proto", "https")]
    host = "example.com"
    assert (
        answer(server, "default", "https://example.com", "13", forwarded, host) == 101
    )
    assert answer(server, "default", "http://example.com", "13", forwarded, host) == 403
    client = server.client("55", "/default", secure=True, origin="https://example.com")
    client.host, client.fields = host, forwarded
    client.connect()
    assert client.answered_fields["websocket-location"] == "wss://example.com/default"
    assert client.receive() == "hello"
    client.expect_close()


@pytest.mark.parametrize("first", ["https://example.com", "http://evil.example"])
def test_second_origin_field_opens_no_door(policies, first):
    """Servers join two fields with a comma; neither half may count alone."""
    both = {"https://example.com", "http://evil.example"}
    second = (both - {first}).pop()
    assert answer(policies, "exact", first, fields=[("Origin", second)]) in (400, 403)
