"""Proxies: which one is to be used, and how it is asked for a tunnel. No I/O.

Draft 55, section 4.1, step 2, and RFC 6455, section 4.1, item 3 of its first list;
CONNECT is RFC 7231's, section 4.3.6; a 407 is answered with Digest (RFC 7616) or with
Basic (RFC 7617). SOCKS is left to a library.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import ip_address, ip_network
from random import Random
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from wsmiddleware.exceptions import HandshakeError
from wsmiddleware.headers import is_field_value
from wsmiddleware.responses import Limits, Response
from wsmiddleware.urls import WebSocketURL

__all__ = ["Outcome", "Proxy", "Tunnel", "find_proxy", "parse_proxy"]

PORTS = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}


@dataclass(frozen=True)
class Proxy:
    """Hold where a proxy is, and who it is told that we are.

    `scheme` is one of http, https, socks4, socks4a, socks5 and socks5h; of the two
    names of a version of SOCKS, the longer one has the proxy resolve the host.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str = field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        """Tell whether this is a SOCKS proxy and not one of HTTP."""
        return self.scheme.startswith("socks")

    @property
    def resolves(self) -> bool:
        """Tell whether the proxy is given the host's name and not its address."""
        return self.scheme not in ("socks4", "socks5")


def parse_proxy(url: str) -> Proxy:
    """Parse a proxy's URL; without a scheme it is that of an HTTP proxy.

    Raises ValueError for what is no such URL.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise ValueError("proxy is not a URL") from None
    # Desktops write socks:// for a proxy of version 5.
    scheme = "socks5h" if parts.scheme == "socks" else parts.scheme
    if scheme not in PORTS:
        raise ValueError(f"scheme of the proxy is none of {', '.join(PORTS)}")
    if not parts.hostname:
        raise ValueError("proxy has no host")
    name = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "")
    return Proxy(scheme, parts.hostname, port or PORTS[scheme], name, password)


def find_proxy(
    url: WebSocketURL, variables: Mapping[str, str] | None = None
) -> Proxy | None:
    """Return the proxy that the environment has for a URL, or None.

    `variables` are the environment's proxies by the names of their variables, without
    "_proxy"; by default they are read from it.
    """
    # A long import, which a server that connects nowhere does without.
    from urllib.request import getproxies

    found = dict(getproxies() if variables is None else variables)
    if _is_exempt(url, found.get("no", "")):
        return None
    # What is meant for our own scheme goes before everything.
    own = found.get("wss" if url.secure else "ws")
    if own:
        return parse_proxy(own)
    # Draft 55, step 2: "encouraged to use a SOCKS proxy for Web Socket connections, if
    # available, or failing that, to prefer the proxy configured for HTTPS connections
    # over the proxy configured for HTTP connections"
    names = ("socks", "https", "all", "http")
    proxies = [parse_proxy(found[name]) for name in names if found.get(name)]
    return min(proxies, key=lambda proxy: not proxy.is_socks, default=None)


def _is_exempt(url: WebSocketURL, exempt: str) -> bool:
    # The variable's entries are names, which stand for their subdomains too, names
    # with a port, addresses, networks, or "*" for everything.
    host = url.host.strip("[]")
    names = ("", host, url.host, f"{url.host}:{url.port}")
    for entry in exempt.lower().replace(",", " ").split():
        name = entry.removeprefix("*").removeprefix(".")
        if name in names or host.endswith(f".{name}"):
            return True
        if _is_in_network(host, entry):
            return True
    return False


def _is_in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


class Outcome(Enum):
    """Say what a proxy's answer has come to."""

    INCOMPLETE = auto()
    OPEN = auto()
    # Connect anew: the next request has the credentials that were asked for.
    AGAIN = auto()


class Tunnel:
    """Ask an HTTP proxy for a tunnel, with credentials once it asks for them."""

    def __init__(self, proxy: Proxy, url: WebSocketURL, random: Random) -> None:
        self._proxy = proxy
        # RFC 7231, section 4.3.6: "using the authority-form of request-target"
        self._authority = f"{url.host}:{url.port}"
        self._random = random
        self._credentials: str | None = None
        self._renewed = False
        self._response = Response(Limits())

    def request(self) -> bytes:
        """Return the octets to send on a new connection to the proxy."""
        self._response = Response(Limits())
        lines = [
            f"CONNECT {self._authority} HTTP/1.1",
            f"Host: {self._authority}",
        ]
        if self._credentials is not None:
            lines.append(f"Proxy-Authorization: {self._credentials}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")

    def feed(self, data: bytes) -> Outcome:
        """Take octets from the proxy; raises HandshakeError when it refuses."""
        response = self._response
        response.feed(data)
        response.pass_over_interim()
        if not response.has_head:
            return Outcome.INCOMPLETE
        if f"{response.status}".startswith("2"):
            # Neither a WebSocket server nor one of TLS is the first to speak.
            if response.rest:
                raise response.error("octets behind the proxy's answer")
            return Outcome.OPEN
        if response.status == 407 and self._answer_challenges():
            return Outcome.AGAIN
        if response.complete:
            raise self.closed()
        return Outcome.INCOMPLETE

    def closed(self) -> HandshakeError:
        """Return the error of a connection that ends here."""
        response = self._response
        if not response.has_head:
            return response.error("connection closed by the proxy")
        return response.refusal(f"proxy refused with status {response.status}")

    def _answer_challenges(self) -> bool:
        value = self._response.value("proxy-authenticate")
        challenges = parse_challenges(value)
        if self._proxy.username is None or not self._may_try(challenges):
            return False
        self._credentials = self._make_credentials(challenges)
        return self._credentials is not None

    def _may_try(self, challenges: "Challenges") -> bool:
        # What was refused is not tried again, except once with another nonce. RFC
        # 7616, section 3.3: "If stale is true, the client may wish to simply retry the
        # request with a new encrypted response".
        if self._credentials is None:
            return True
        stale = any(
            parameters.get("stale", "").lower() == "true"
            for _, parameters in challenges
        )
        if self._renewed or not stale:
            return False
        self._renewed = True
        return True

    def _make_credentials(self, challenges: "Challenges") -> str | None:
        name, password = self._proxy.username or "", self._proxy.password
        # The strongest first, whatever order the proxy has.
        for algorithm in _ALGORITHMS:
            for scheme, parameters in challenges:
                if scheme == "digest" and _algorithm(parameters) == algorithm:
                    return digest(
                        parameters,
                        name,
                        password,
                        ("CONNECT", self._authority),
                        f"{self._random.getrandbits(128):032x}",
                    )
        if any(scheme == "basic" for scheme, _ in challenges):
            pair = b64encode(f"{name}:{password}".encode())
            return f"Basic {pair.decode()}"
        return None


# RFC 7235: what a proxy asks for, and (RFC 7616) the answer

Challenges: TypeAlias = list[tuple[str, dict[str, str]]]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+(?![ \t=])|$)")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*({_TOKEN}|"((?:[^"\\]|\\.)*)")')

_ALGORITHMS = {"sha-256": "sha256", "md5": "md5"}


def parse_challenges(value: str) -> Challenges:
    """Parse a Proxy-Authenticate header into schemes and their parameters.

    Names are in lowercase. What does not match the grammar is passed over.
    """
    challenges: Challenges = []
    for match in _ELEMENT.finditer(value):
        element = match[0].strip(" \t")
        scheme = _SCHEME.match(element)
        if scheme is not None:
            challenges.append((scheme[1].lower(), {}))
            element = element[scheme.end() :]
        parameter = _PARAMETER.fullmatch(element)
        if parameter is not None and challenges:
            quoted = parameter[3]
            text = parameter[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            challenges[-1][1][parameter[1].lower()] = text
    return challenges


def _algorithm(parameters: Mapping[str, str]) -> str | None:
    # Of a challenge that can be answered, else None.
    qop = parameters.get("qop")
    if qop is not None and "auth" not in re.split(r"[ \t]*,[ \t]*", qop.lower()):
        return None
    if "nonce" not in parameters or "realm" not in parameters:
        return None
    return parameters.get("algorithm", "MD5").lower().removesuffix("-sess")


def digest(
    challenge: Mapping[str, str],
    name: str,
    password: str,
    target: tuple[str, str],
    cnonce: str,
) -> str | None:
    """Answer a Digest challenge for a method and a URI (RFC 7616, section 3.4).

    Returns None when the answer cannot be written in a header.
    """
    method, uri = target
    algorithm = challenge.get("algorithm", "MD5")
    kind = _ALGORITHMS[algorithm.lower().removesuffix("-sess")]

    def hash_of(*parts: str) -> str:
        octets = ":".join(parts).encode()
        return hashlib.new(kind, octets, usedforsecurity=False).hexdigest()

    realm, nonce = challenge["realm"], challenge["nonce"]
    # RFC 7616, section 3.4.2: A1, which "-sess" binds to the nonces
    secret = hash_of(name, realm, password)
    if algorithm.lower().endswith("-sess"):
        secret = hash_of(secret, nonce, cnonce)
    fields = {"username": name, "realm": realm, "nonce": nonce, "uri": uri}
    bare = {"algorithm": algorithm}
    if "qop" in challenge:
        middle = [nonce, "00000001", cnonce, "auth"]
        fields["cnonce"] = cnonce
        bare.update(qop="auth", nc="00000001")
    else:
        middle = [nonce]
    fields["response"] = hash_of(secret, *middle, hash_of(method, uri))
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    value = "Digest " + ", ".join(
        [f'{key}="{_escape(text)}"' for key, text in fields.items()]
        + [f"{key}={text}" for key, text in bare.items()]
    )
    return value if is_field_value(value) else None


def _escape(text: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", text)
