"""Web Socket URLs: every step of draft 55, sections 3.1 and 3.2."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsmiddleware.exceptions import InvalidURL
from wsmiddleware.urls import WebSocketURL, construct_url, parse_url


@pytest.mark.parametrize(
    ("url", "components"),
    [
        # The scheme, in any case, decides about the secure flag and the default port.
        ("ws://example.com/demo", ("example.com", 80, "/demo", False)),
        ("wss://example.com/demo", ("example.com", 443, "/demo", True)),
        ("WsS://example.com/", ("example.com", 443, "/", True)),
        # A port that is there counts, also where it is the other scheme's default.
        ("ws://example.com:443/", ("example.com", 443, "/", False)),
        ("wss://example.com:80/", ("example.com", 80, "/", True)),
        ("ws://example.com:65535/", ("example.com", 65535, "/", False)),
        ("ws://example.com:0081/", ("example.com", 81, "/", False)),
        ("ws://example.com:/", ("example.com", 80, "/", False)),
        # The host in lowercase; the path and the query as they are.
        ("ws://EXAMPLE.com/Demo?A=B", ("example.com", 80, "/Demo?A=B", False)),
        # An empty path becomes a slash; a query that is there is kept, even empty.
        ("ws://example.com", ("example.com", 80, "/", False)),
        ("ws://example.com?a=1", ("example.com", 80, "/?a=1", False)),
        ("ws://example.com/?", ("example.com", 80, "/?", False)),
        ("ws://example.com/a?b?c", ("example.com", 80, "/a?b?c", False)),
        # White space around an address is no part of it.
        (" \t\r\n\fws://example.com/ \n", ("example.com", 80, "/", False)),
        # Resolving removes the dot segments.
        ("ws://h/a/./b/../c", ("h", 80, "/a/c", False)),
        ("ws://h/../../a", ("h", 80, "/a", False)),
        ("ws://h/a/b/..", ("h", 80, "/a/", False)),
        ("ws://h/a/.", ("h", 80, "/a/", False)),
        ("ws://h//a", ("h", 80, "//a", False)),
        ("ws://h/a?../b", ("h", 80, "/a?../b", False)),
    ],
)
def test_components(url, components):
    parsed = parse_url(url)
    assert (parsed.host, parsed.port, parsed.resource_name, parsed.secure) == components
    assert parsed.userinfo is None


@pytest.mark.parametrize(
    ("url", "resource_name"),
    [
        ("ws://h/ü?ü=ß", "/%C3%BC?%C3%BC=%C3%9F"),
        ("ws://h/\U0001f600", "/%F0%9F%98%80"),
        ("ws://h/a b", "/a%20b"),
        # No field can be smuggled into the request.
        ("ws://h/a\r\nX: y", "/a%0D%0AX:%20y"),
        ('ws://h/"<>[\\]^`{|}', "/%22%3C%3E%5B%5C%5D%5E%60%7B%7C%7D"),
        # What is percent-encoded stays so, and so does a percent sign alone.
        ("ws://h/%7e%zz%", "/%7e%zz%"),
        ("ws://h/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
        ("ws://h/a:b@c", "/a:b@c"),
    ],
)
def test_what_is_not_allowed_in_a_resource_name_is_percent_encoded(url, resource_name):
    assert parse_url(url).resource_name == resource_name


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("bücher.example.", "xn--bcher-kva.example."),
        # RFC 3490, section 3.1: four characters are label separators.
        ("日本\u3002例\uff0eexample\uff61jp", "xn--wgv71a.xn--fsq.example.jp"),
        ("faß.de", "fass.de"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("example%2Ecom", "example.com"),
        ("my_service", "my_service"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::A]", "[2001:db8::a]"),
    ],
)
def test_host(written, host):
    assert parse_url(f"ws://{written}:8080/").host == host
    assert parse_url(f"ws://{written}").host == host


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "URL is not absolute: ''"),
        ("/demo", "URL is not absolute: '/demo'"),
        ("//example.com/", "URL is not absolute: '//example.com/'"),
        ("1ws://example.com/", "URL is not absolute: '1ws://example.com/'"),
        ("http://example.com/", "scheme is neither ws nor wss: 'http'"),
        ("wsss://example.com/", "scheme is neither ws nor wss: 'wsss'"),
        ("ws:", "URL has no host"),
        ("ws:example.com", "URL has no host"),
        ("ws:/example.com", "URL has no host"),
        ("ws://", "URL has no host"),
        ("ws:///demo", "URL has no host"),
        ("ws://:80/", "host is not a name: ''"),
        ("ws://user@/", "host is not a name: ''"),
        ("ws://example.com/#", "URL has a fragment: '#'"),
        ("ws://example.com/a?b#c\n?", "URL has a fragment: '#c\\n?'"),
        ("ws://example.com:0/", "port is not in the range 1 to 65535: 0"),
        ("ws://example.com:65536/", "port is not in the range 1 to 65535: 65536"),
        (f"ws://h:{'9' * 5000}/", f"port is not in the range 1 to 65535: {'9' * 20}"),
        ("ws://h:80a/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://h:\u0663/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://h:1:2/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://::1/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://a@b@h/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://us%3Aer:secret@h/", "user name has a colon"),
        ("ws://[::1/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://[::1]a/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://[]/", "host is not an IPv6 address: '[]'"),
        ("ws://[127.0.0.1]/", "host is not an IPv6 address: '[127.0.0.1]'"),
        ("ws://[v1.a]/", "host is not an IPv6 address: '[v1.a]'"),
        ("ws://[fe80::1%25lo]/", "IPv6 address has a zone: '[fe80::1%25lo]'"),
        ("ws://exam ple.com/", "host is not a name: 'exam ple.com'"),
        ("ws://h\r\nX: y/", "authority is not of the form [userinfo@]host[:port]"),
        ("ws://h%0D%0A/", "host is not a name: 'h%0D%0A'"),
        ("ws://h\\x/", "host is not a name: 'h\\\\x'"),
        ("ws://a..b/", "host is not a name: 'a..b'"),
        ("ws://./", "host is not a name: '.'"),
        (f"ws://{'a' * 64}/", f"host is not a name: '{'a' * 64}'"),
        (f"ws://{'a.' * 127}a/", f"host is not a name: '{'a.' * 127}a'"),
        ("ws://%FF/", "host is not UTF-8: '%FF'"),
        ("ws://\ud800/", "host is not UTF-8: '\\ud800'"),
        # UseSTD3ASCIIRules: what ToASCII is applied to has letters, digits, hyphens.
        ("ws://b_ü.de/", "host breaks the rules of STD 3: 'b_ü.de'"),
        ("ws://-ü.de/", "host breaks the rules of STD 3: '-ü.de'"),
        ("ws://ü-.de/", "host breaks the rules of STD 3: 'ü-.de'"),
        ("ws://xn--ü.de/", "IDNA ToASCII fails for the host 'xn--ü.de'"),
        ("ws://ü\u200e.de/", "IDNA ToASCII fails for the host 'ü\\u200e.de'"),
        (f"ws://{'ü' * 64}/", f"IDNA ToASCII fails for the host '{'ü' * 64}'"),
        ("ws://ü..de/", "host is not a name: 'ü..de'"),
        ("ws://h/\ud800", "resource name has a lone surrogate"),
    ],
)
def test_failures(url, rule):
    with pytest.raises(InvalidURL, match=f"^{re.escape(rule)}$"):
        parse_url(url)


def test_invalid_url_is_a_value_error():
    with pytest.raises(ValueError, match="neither ws nor wss"):
        parse_url("ftp://example.com/")


def test_protocol_is_printable_ascii():
    assert parse_url("ws://h/", "chat.v1,!~").host == "h"
    for protocol in ("", "a b", "ü", "a\n", "\x7f"):
        with pytest.raises(InvalidURL, match="subprotocol is not printable ASCII"):
            parse_url("ws://h/", protocol)


@pytest.mark.parametrize(
    ("written", "userinfo"),
    [
        ("user:secret@", ("user", "secret")),
        ("user@", ("user", "")),
        (":@", ("", "")),
        ("us%40er:s%40%C3%BC:x@", ("us@er", "s@ü:x")),
    ],
)
def test_userinfo_is_kept_apart_and_out_of_sight(written, userinfo):
    parsed = parse_url(f"ws://{written}example.com/")
    assert parsed.userinfo == userinfo
    assert parsed.host == "example.com"
    assert str(parsed) == "ws://example.com/"
    assert "secret" not in repr(parsed)


@pytest.mark.parametrize(
    ("components", "url"),
    [
        (("example.com", 80, "/demo", False), "ws://example.com/demo"),
        (("example.com", 443, "/demo", True), "wss://example.com/demo"),
        (("example.com", 443, "/demo", False), "ws://example.com:443/demo"),
        (("example.com", 80, "/demo", True), "wss://example.com:80/demo"),
        (("[::1]", 8080, "/a?b", False), "ws://[::1]:8080/a?b"),
    ],
)
def test_construct(components, url):
    assert construct_url(*components) == url
    assert str(WebSocketURL(*components)) == url
    assert parse_url(url) == WebSocketURL(*components)


def test_hostport_names_the_port_unless_it_is_the_default():
    assert parse_url("ws://h:80/").hostport == "h"
    assert parse_url("wss://h:80/").hostport == "h:80"


@given(st.text())
def test_any_text_parses_to_what_constructs_and_parses_again_or_fails(text):
    for url in (text, f"ws://{text}", f"ws://h/{text}"):
        try:
            parsed = parse_url(url)
        except InvalidURL:
            continue
        assert str(parsed).isascii()
        assert re.fullmatch(r"/[\x21-\x7e]*", parsed.resource_name)
        again = parse_url(str(parsed))
        assert str(again) == str(parsed)
