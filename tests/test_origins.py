"""The origin policy: RFC 6455, section 10.2, and draft 55, section 7."""

import re

import pytest

from wsmiddleware.options import Options
from wsmiddleware.origins import Site, is_allowed, parse_origin

SITE = Site("https", "example.com", 443)


@pytest.mark.parametrize(
    ("scheme", "host", "site"),
    [
        ("http", "example.com", ("http", "example.com", 80)),
        ("https", "example.com", ("https", "example.com", 443)),
        ("https", "Example.COM:8443", ("https", "example.com", 8443)),
        ("http", "example.com:", ("http", "example.com", 80)),
        ("http", "[2001:DB8::1]:8000", ("http", "[2001:db8::1]", 8000)),
        ("http", "192.0.2.1", ("http", "192.0.2.1", 80)),
        ("http", "example.com:65535", ("http", "example.com", 65535)),
        ("app", "localhost", ("app", "localhost", 0)),
    ],
)
def test_site(scheme, host, site):
    assert Site.parse(scheme, host) == Site(*site)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "a b",
        "a/b",
        "a@b",
        "user@example.com",
        "example.com:http",
        "example.com:123456",
        "[::1",
        "::1",
        "a,b",
        "a\n",
        "\xe9",
    ],
)
def test_not_a_host(host):
    with pytest.raises(ValueError, match="not a host with an optional port"):
        Site.parse("http", host)


def test_a_port_out_of_range():
    with pytest.raises(ValueError, match="port out of range: 'example.com:65536'"):
        Site.parse("http", "example.com:65536")


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://example.com", SITE),
        ("HTTPS://EXAMPLE.com:443", SITE),
        ("http://example.com", Site("http", "example.com", 80)),
        ("null", None),
        ("", None),
        ("://example.com", None),
        ("example.com", None),
        ("https://", None),
        ("https://example.com/", None),
    ],
)
def test_origin(origin, site):
    assert parse_origin(origin) == site


@pytest.mark.parametrize(
    ("origin", "allowed", "expected"),
    [
        ("https://example.com", None, True),
        ("https://example.com:443", None, True),
        ("http://example.com", None, False),
        ("https://example.com:8443", None, False),
        ("https://www.example.com", None, False),
        ("https://example.com.evil.com", None, False),
        ("null", None, False),
        ("https://a.com", "*", True),
        ("null", "*", True),
        ("https://a.com", "https://a.com", True),
        ("https://a.com:443", "https://A.com", True),
        ("https://b.com", "https://a.com", False),
        ("null", "https://a.com", False),
        ("null", ["null"], True),
        ("https://a.com", ["https://b.com", "https://a.com"], True),
        ("https://a.com", [], False),
        ("https://example.com", [], False),
        ("https://x.a.com", "https://*.a.com", True),
        ("https://x.y.a.com", ["https://*.a.com"], True),
        ("https://a.com", "https://*.a.com", False),
        ("https://xa.com", "https://*.a.com", False),
        ("http://x.a.com", "https://*.a.com", False),
        ("https://x.a.com:8443", "https://*.a.com", False),
        ("https://x.a.com:8443", "https://*.a.com:8443", True),
        ("null", "https://*.a.com", False),
        ("https://x.a.com", "https://*./", False),
        ("https://a12.com", re.compile(r"https://a\d+\.com"), True),
        ("https://a12.com.evil.com", re.compile(r"https://a\d+\.com"), False),
        ("https://a1.com", [re.compile(r"https://a\d\.com"), "https://b.com"], True),
        ("https://a.com", lambda origin: origin == "https://a.com", True),
        ("https://b.com", lambda origin: origin == "https://a.com", False),
    ],
)
def test_policy(origin, allowed, expected):
    assert is_allowed(origin, SITE, allowed) is expected


@pytest.mark.parametrize(
    ("fetch_site", "origin", "expected"),
    [
        ("same-origin", "https://other.example", True),
        ("cross-site", "https://example.com", False),
        ("same-site", "https://example.com", False),
        ("none", "https://example.com", True),
        ("", "https://example.com", True),
    ],
)
def test_what_a_browser_says_decides_about_the_same_origin(
    fetch_site, origin, expected
):
    assert is_allowed(origin, SITE, None, fetch_site) is expected


@pytest.mark.parametrize("fetch_site", ["same-origin", "cross-site"])
def test_what_a_browser_says_does_not_matter_to_a_list(fetch_site):
    assert is_allowed("https://a.com", SITE, ["https://a.com"], fetch_site)
    assert not is_allowed("https://b.com", SITE, ["https://a.com"], fetch_site)


@pytest.mark.parametrize(
    "allowed",
    [
        None,
        "*",
        "null",
        "https://a.com",
        ["https://a.com", "https://*.b.com", "*"],
        re.compile("https://a.com"),
        [re.compile("https://a.com")],
        lambda origin: True,
    ],
)
def test_policies_that_are_accepted(allowed):
    assert Options(allowed_origins=allowed).allowed_origins is allowed


@pytest.mark.parametrize(
    "pattern", ["a.com", "https://a.com/", "", "https://*.", "*.a"]
)
def test_origins_that_could_never_match(pattern):
    message = re.escape(f"not an origin: {pattern!r}, write it like")
    for allowed in (pattern, [pattern]):
        with pytest.raises(ValueError, match=message):
            Options(allowed_origins=allowed)
