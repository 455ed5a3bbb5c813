"""Which proxy is used, and how it is asked for a tunnel."""

from random import Random

import pytest

from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.tunnels import (
    Outcome,
    Proxy,
    Tunnel,
    digest,
    find_proxy,
    parse_challenges,
    parse_proxy,
)
from wsmiddleware.urls import parse_url

URL = parse_url("ws://Example.com/demo")


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", Proxy("http", "proxy", 3128)),
        ("http://proxy", Proxy("http", "proxy", 80)),
        ("proxy:3128", Proxy("http", "proxy", 3128)),
        ("proxy", Proxy("http", "proxy", 80)),
        ("HTTPS://Proxy/", Proxy("https", "proxy", 443)),
        ("socks4://[::1]", Proxy("socks4", "::1", 1080)),
        ("socks4a://proxy:1", Proxy("socks4a", "proxy", 1)),
        ("socks5://a@proxy", Proxy("socks5", "proxy", 1080, "a")),
        ("socks5h://a:b%40@proxy", Proxy("socks5h", "proxy", 1080, "a", "b@")),
        ("socks://proxy", Proxy("socks5h", "proxy", 1080)),
    ],
)
def test_a_proxy_is_a_url(text, proxy):
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "proxy has no host"),
        ("http://", "proxy has no host"),
        ("http://:80", "proxy has no host"),
        ("http://proxy:x", "proxy is not a URL"),
        ("http://[proxy", "proxy is not a URL"),
        ("ftp://proxy", "scheme of the proxy is none of http, https, socks4"),
        ("socks6://proxy", "scheme of the proxy is none of http, https, socks4"),
    ],
)
def test_what_is_no_proxy(text, rule):
    with pytest.raises(ValueError, match=rule):
        parse_proxy(text)


def test_a_proxy_keeps_its_password_out_of_sight():
    assert "secret" not in repr(parse_proxy("http://name:secret@proxy"))


@pytest.mark.parametrize(
    ("scheme", "socks", "resolves"),
    [
        ("http", False, True),
        ("https", False, True),
        ("socks4", True, False),
        ("socks4a", True, True),
        ("socks5", True, False),
        ("socks5h", True, True),
    ],
)
def test_who_resolves_the_host(scheme, socks, resolves):
    proxy = Proxy(scheme, "proxy", 1)
    assert (proxy.is_socks, proxy.resolves) == (socks, resolves)


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"http": ""}, None),
        ({"http": "http://h"}, "http://h"),
        ({"http": "http://h", "https": "http://s"}, "http://s"),
        ({"http": "http://h", "all": "http://a"}, "http://a"),
        ({"https": "http://s", "all": "http://a"}, "http://s"),
        # A SOCKS proxy is preferred, whatever its variable is called.
        ({"https": "http://s", "all": "socks5://a"}, "socks5://a"),
        ({"https": "http://s", "http": "socks4a://h"}, "socks4a://h"),
        ({"socks": "socks5h://x", "all": "socks5://a"}, "socks5h://x"),
        # What is meant for our scheme comes before that.
        ({"ws": "http://w", "all": "socks5://a"}, "http://w"),
        ({"wss": "http://w", "all": "socks5://a"}, "socks5://a"),
        ({"https": "http://s", "no": "example.org"}, "http://s"),
        ({"https": "http://s", "no": "example.com"}, None),
        ({"https": "http://s", "no": ".com"}, None),
        ({"https": "http://s", "no": "*"}, None),
        ({"ws": "http://s", "no": "example.com"}, None),
    ],
)
def test_the_environments_proxy(variables, proxy):
    assert find_proxy(URL, variables) == (proxy and parse_proxy(proxy))


@pytest.mark.parametrize(
    ("url", "exempt"),
    [
        ("ws://example.com/", "EXAMPLE.com"),
        ("ws://a.b.example.com/", "x.org, example.com"),
        ("ws://a.example.com/", ".example.com"),
        ("ws://a.example.com/", "*.example.com"),
        ("ws://a.example.com/", "*"),
        ("ws://example.com/", "example.com:80"),
        ("ws://example.com:81/", "x example.com:81"),
        ("ws://127.0.0.1/", "127.0.0.1"),
        ("ws://10.1.2.3/", "10.0.0.0/8"),
        ("ws://[::1]/", "::1"),
        ("ws://[::1]:81/", "[::1]:81"),
        ("ws://[::1]:81/", "[::1]"),
        ("ws://[fe80::1]/", "fe80::/10"),
    ],
)
def test_hosts_that_need_no_proxy(url, exempt):
    assert find_proxy(parse_url(url), {"all": "http://h", "no": exempt}) is None


@pytest.mark.parametrize(
    ("url", "exempt"),
    [
        ("ws://example.com/", ""),
        ("ws://example.com/", "xample.com, a.example.com, com.example"),
        ("ws://example.com/", "example.com:81"),
        ("ws://10.1.2.3/", "11.0.0.0/8, 10.1.2.4, ::/0"),
        ("ws://example.com/", "10.0.0.0/8"),
    ],
)
def test_hosts_that_need_one(url, exempt):
    assert find_proxy(parse_url(url), {"all": "http://h", "no": exempt}) is not None


def test_the_environments_proxy_of_a_secure_url():
    url = parse_url("wss://example.com/")
    variables = {"wss": "http://w", "ws": "http://x"}
    assert find_proxy(url, variables) == parse_proxy("http://w")


def test_the_environment_is_read(monkeypatch):
    for name in ("HTTP", "HTTPS", "ALL", "SOCKS", "WS", "NO"):
        monkeypatch.delenv(f"{name}_PROXY", raising=False)
        monkeypatch.delenv(f"{name.lower()}_proxy", raising=False)
    assert find_proxy(URL) is None
    monkeypatch.setenv("https_proxy", "http://s:1")
    assert find_proxy(URL) == Proxy("http", "s", 1)
    monkeypatch.setenv("no_proxy", "example.com")
    assert find_proxy(URL) is None


# The tunnel


def make_tunnel(proxy="http://proxy", url=URL):
    return Tunnel(parse_proxy(proxy), url, Random(1))


def answer(status, *headers, body=""):
    lines = [f"HTTP/1.1 {status} x", *headers, f"Content-Length: {len(body)}", ""]
    return "".join(f"{line}\r\n" for line in lines).encode() + body.encode()


def credentials_of(tunnel):
    for line in tunnel.request().decode().split("\r\n"):
        if line.startswith("Proxy-Authorization: "):
            return line.partition(": ")[2]
    return None


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("ws://Example.com/demo", "example.com:80"),
        ("wss://example.com/demo", "example.com:443"),
        ("ws://[::1]:81/", "[::1]:81"),
    ],
)
def test_the_request_names_the_authority(url, authority):
    assert make_tunnel(url=parse_url(url)).request() == (
        f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
    )


@pytest.mark.parametrize("status", [200, 204, 299])
def test_an_open_tunnel(status):
    tunnel = make_tunnel()
    octets = answer(status)
    for position in range(len(octets) - 1):
        assert tunnel.feed(octets[position : position + 1]) is Outcome.INCOMPLETE
    assert tunnel.feed(octets[-1:]) is Outcome.OPEN


def test_interim_answers_are_passed_over():
    """RFC 7231, 6.2: "A client MUST be able to parse one or more 1xx responses received
    prior to a final response, even if the client does not expect one."."""
    tunnel = make_tunnel()
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert tunnel.feed(interim) is Outcome.INCOMPLETE
    assert tunnel.feed(interim + answer(200)) is Outcome.OPEN


def test_octets_behind_the_answer_are_refused():
    with pytest.raises(HandshakeError, match="octets behind the proxy's answer"):
        make_tunnel().feed(answer(200) + b"x")


@pytest.mark.parametrize("status", [101, 302, 403, 407, 502])
def test_a_refusal_has_its_status_headers_and_body(status):
    tunnel = make_tunnel("http://name@proxy")
    octets = answer(status, "X-Why: no", body="" if status == 101 else "because")
    with pytest.raises(
        HandshakeError, match=f"^proxy refused with status {status}$"
    ) as e:
        tunnel.feed(octets)
    assert e.value.status == status
    assert ("X-Why", "no") in e.value.headers
    assert e.value.body == (b"" if status == 101 else b"because")


def test_a_refusal_is_heard_out():
    tunnel = make_tunnel()
    assert tunnel.feed(answer(403, body="because")[:-3]) is Outcome.INCOMPLETE
    assert tunnel.closed().body == b"beca"


def test_a_proxy_that_closes_without_an_answer():
    error = make_tunnel().closed()
    assert (str(error), error.status) == ("connection closed by the proxy", None)


def test_credentials_are_not_sent_before_they_are_asked_for():
    tunnel = make_tunnel("http://name:secret@proxy")
    assert credentials_of(tunnel) is None
    octets = answer(407, 'Proxy-Authenticate: Basic realm="a, b"', body="x" * 100)
    assert tunnel.feed(octets[:80]) is Outcome.AGAIN
    assert credentials_of(tunnel) == "Basic bmFtZTpzZWNyZXQ="
    assert tunnel.feed(answer(200)) is Outcome.OPEN


@pytest.mark.parametrize(
    ("proxy", "challenge"),
    [
        ("http://proxy", 'Basic realm="x"'),
        ("http://name:secret@proxy", "Negotiate"),
        ("http://name:secret@proxy", ""),
        ("http://name:secret@proxy", 'Digest realm="x", nonce="y", algorithm=MD4'),
        ("http://name:secret@proxy", 'Digest realm="x", nonce="y", qop="auth-int"'),
        ("http://name:secret@proxy", 'Digest realm="x"'),
        ("http://name:secret@proxy", 'Digest nonce="x"'),
        # A name that no header can carry
        ("http://n%E2%82%ACme:secret@proxy", 'Digest realm="x", nonce="y"'),
    ],
)
def test_a_challenge_that_cannot_be_answered(proxy, challenge):
    tunnel = make_tunnel(proxy)
    with pytest.raises(HandshakeError, match="proxy refused with status 407"):
        tunnel.feed(answer(407, f"Proxy-Authenticate: {challenge}"))


def test_credentials_that_were_refused_are_not_tried_again():
    tunnel = make_tunnel("http://name:secret@proxy")
    octets = answer(407, 'Proxy-Authenticate: Basic realm="x"')
    assert tunnel.feed(octets) is Outcome.AGAIN
    tunnel.request()
    with pytest.raises(HandshakeError, match="proxy refused with status 407"):
        tunnel.feed(octets)


def test_a_stale_nonce_is_renewed_once():
    tunnel = make_tunnel("http://name:secret@proxy")
    start = 'Proxy-Authenticate: Digest realm="x", qop="auth", nonce='
    assert tunnel.feed(answer(407, start + '"1"')) is Outcome.AGAIN
    assert 'nonce="1"' in credentials_of(tunnel)
    octets = answer(407, start + '"2", stale=TRUE')
    assert tunnel.feed(octets) is Outcome.AGAIN
    assert 'nonce="2"' in credentials_of(tunnel)
    with pytest.raises(HandshakeError, match="proxy refused with status 407"):
        tunnel.feed(octets)


@pytest.mark.parametrize(
    ("challenges", "start"),
    [
        (['Basic realm="x"', 'Digest realm="x", nonce="y"'], "Digest "),
        (['Digest realm="x", nonce="y"', 'Basic realm="x"'], "Digest "),
        (['Basic realm="x", Digest realm="x", nonce="y"'], "Digest "),
        (["Negotiate, NTLM abc==, Basic realm=x"], "Basic "),
    ],
)
def test_the_stronger_scheme_is_used(challenges, start):
    tunnel = make_tunnel("http://name:secret@proxy")
    headers = [f"Proxy-Authenticate: {challenge}" for challenge in challenges]
    assert tunnel.feed(answer(407, *headers)) is Outcome.AGAIN
    assert credentials_of(tunnel).startswith(start)


def test_the_stronger_algorithm_is_used():
    tunnel = make_tunnel("http://name:secret@proxy")
    value = (
        'Digest realm="x", nonce="1", Digest realm="x", nonce="2", algorithm=SHA-256'
    )
    tunnel.feed(answer(407, f"Proxy-Authenticate: {value}"))
    assert 'nonce="2"' in credentials_of(tunnel)


def test_challenges_are_parsed():
    value = (
        'Digest realm="a, \\"b\\"",  Nonce = "c" , qop=auth,, NTLM dGVzdA==, '
        'Basic , realm=x, =, "y"'
    )
    assert parse_challenges(value) == [
        ("digest", {"realm": 'a, "b"', "nonce": "c", "qop": "auth"}),
        ("ntlm", {}),
        ("basic", {"realm": "x"}),
    ]
    assert parse_challenges('realm="x"') == []


# RFC 7616, section 3.9.1, and RFC 2617, section 3.5
MUFASA = {
    "realm": "http-auth@example.org",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    "qop": "auth, auth-int",
}
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (
            "SHA-256",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ],
)
def test_digests_of_rfc_7616(algorithm, response):
    challenge = {**MUFASA, "algorithm": algorithm}
    target = ("GET", "/dir/index.html")
    value = digest(challenge, "Mufasa", "Circle of Life", target, CNONCE)
    assert value == (
        f'Digest username="Mufasa", realm="{MUFASA["realm"]}", '
        f'nonce="{MUFASA["nonce"]}", uri="/dir/index.html", cnonce="{CNONCE}", '
        f'response="{response}", opaque="{MUFASA["opaque"]}", '
        f"algorithm={algorithm}, qop=auth, nc=00000001"
    )


def test_digest_without_qop_is_that_of_rfc_2069():
    challenge = {
        "realm": "testrealm@host.com",
        "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
    }
    target = ("GET", "/dir/index.html")
    value = digest(challenge, "Mufasa", "CircleOfLife", target, "x")
    # RFC 2069, section 2.4, with the response that its erratum 749 gives
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in value
    assert "qop" not in value
    assert "cnonce" not in value
    assert "opaque" not in value


def test_digest_of_a_session_is_bound_to_both_nonces():
    challenge = {"realm": "r", "nonce": "n", "qop": "auth", "algorithm": "MD5-sess"}
    one = digest(challenge, "name", "secret", ("CONNECT", "h:1"), "c1")
    two = digest(challenge, "name", "secret", ("CONNECT", "h:1"), "c2")
    plain = digest(
        {**challenge, "algorithm": "MD5"}, "name", "secret", ("CONNECT", "h:1"), "c1"
    )
    responses = {value.split('response="')[1][:32] for value in (one, two, plain)}
    assert len(responses) == 3
    # md5(md5(md5(name:r:secret):n:c1):n:00000001:c1:auth:md5(CONNECT:h:1))
    assert 'response="ae7f03755ac23cbc83b637c45599f4c9"' in one


def test_quotes_are_escaped():
    value = digest({"realm": 'a"b', "nonce": "n"}, "c\\d", "", ("GET", "/"), "x")
    assert 'realm="a\\"b"' in value
    assert 'username="c\\\\d"' in value
