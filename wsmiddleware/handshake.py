"""The server's end of the opening handshake, for every version.

Draft 55, sections 5.1 and 5.2; draft 76; RFC 6455, section 4.2. `read_handshake`
checks a request in the order below and raises `Refusal`, an HTTP answer, at the first
rule that is broken; nothing has been taken over by then. What it returns can be
accepted once.

1. it is a GET of HTTP/1.1 without a body,
2. Host is there and is a host,
3. Upgrade and Connection ask for WebSocket,
4. the version is one that is served,
5. the version's own fields are well-formed,
6. the origin may connect.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import md5, sha1
from typing import Any, TypeAlias

from wsmiddleware.deflate import (
    Compression,
    DeflateParameters,
    PerMessageDeflate,
    accept_offers,
)
from wsmiddleware.headers import has_token, is_field_value, is_token, parse_tokens
from wsmiddleware.hixie import Hixie55, Hixie76
from wsmiddleware.options import Options
from wsmiddleware.origins import Site, is_allowed
from wsmiddleware.protocol import Protocol
from wsmiddleware.proxies import forwarded_host, forwarded_scheme
from wsmiddleware.rfc6455 import RFC6455
from wsmiddleware.urls import construct_url

__all__ = [
    "Handshake",
    "Headers",
    "Refusal",
    "accept_key",
    "is_attempt",
    "key_number",
    "read_handshake",
]

Headers: TypeAlias = Iterable[tuple[str, str]]

# RFC 6455, section 1.3
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

HYBI_VERSIONS = ("13", "8", "7")

STRIPPED = """\
This is a WebSocket handshake without "Upgrade: websocket" or "Connection: Upgrade": \
a proxy removed them. For nginx, in the location of this path:

    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header Host $http_host;
"""

# RFC 2616, 5.1.2: Request-URI = "*" | absoluteURI | abs_path | authority. It is
# printable ASCII, and RFC 6455, section 3, has no "#" in it.
_TARGET = re.compile(
    r"""(?: https?:// ([!"$-.0->@-~]+) | (?=/) ) ([!"$-~]*)""",
    re.IGNORECASE | re.VERBOSE,
)

# The fields that the handshake itself writes
RESERVED = re.compile(
    r"connection|upgrade|content-length|transfer-encoding"
    r"|(sec-)?websocket-(accept|extensions|location|origin|protocol)",
    re.IGNORECASE,
)


class Refusal(Exception):
    """Be the HTTP answer to a handshake that is refused.

    `status` is the code with its phrase, `text` a sentence that says what is wrong.
    """

    def __init__(self, status: str, text: str, headers: Headers = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = list(headers)


def _bad_request(text: str) -> Refusal:
    return Refusal("400 Bad Request", text)


def _upgrade_required(text: str, options: Options) -> Refusal:
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    # RFC 6455, 4.2.2: "a |Sec-WebSocket-Version| header field indicating the
    # version(s) the server is capable of understanding"
    versions = [version for version in HYBI_VERSIONS if version in options.versions]
    if versions:
        headers.append(("Sec-WebSocket-Version", ", ".join(versions)))
    return Refusal("426 Upgrade Required", text, headers)


def is_attempt(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request asks for WebSocket, or did before a proxy cut it."""
    if "HTTP_UPGRADE" in environ:
        return has_token(environ["HTTP_UPGRADE"], "websocket")
    return "HTTP_SEC_WEBSOCKET_KEY" in environ


def accept_key(key: str) -> str:
    """Return the value of Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    # 4.2.2: "concatenating the value of the key [...] with the string
    # '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', taking the SHA-1 hash of this
    # concatenated value to obtain a 20-byte value, and base64-encoding"
    digest = sha1((key + GUID).encode("latin-1"), usedforsecurity=False).digest()
    return b64encode(digest).decode()


def key_number(key: str) -> int:
    """Return the number that a draft-76 key hides; raises ValueError for none."""
    digits = "".join(character for character in key if character in "0123456789")
    spaces = key.count(" ")
    if not digits or not spaces:
        raise ValueError("a key without a digit or without a space")
    # Longer than any number: not converted, for the conversion's cost.
    number, rest = divmod(int(digits.lstrip("0")[:200] or "0"), spaces)
    if rest:
        raise ValueError("a key whose number is not a multiple of its spaces")
    if number > 0xFFFFFFFF:
        raise ValueError("a key whose number exceeds 32 bits")
    return number


class Handshake:
    """Be a handshake that, once it was read and found valid, waits to be accepted.

    `version`, `origin` (None when there was none), `resource_name` (the path with its
    query, as requested), `offered` (the subprotocols that the client offers).
    """

    origin: str | None = None
    offered: Sequence[str] = ()

    def __init__(
        self, version: str, site: Site, resource_name: str, options: Options
    ) -> None:
        self.version = version
        self.resource_name = resource_name
        self.options = options
        self._site = site

    def read(self, environ: Mapping[str, Any]) -> None:
        """Read the fields of this version; raises Refusal."""
        raise NotImplementedError

    @property
    def compression(self) -> bool:
        """Tell whether messages will be compressed."""
        return False

    def accept(
        self, subprotocol: str | None = None, headers: Headers = ()
    ) -> tuple[Protocol, bytes]:
        """Return the protocol to speak from now on and the head of the answer.

        Raises ValueError for a subprotocol that the client did not offer and for a
        header that may not be sent.
        """
        if subprotocol is None:
            subprotocol = self._choose_subprotocol()
        elif subprotocol not in self.offered:
            raise ValueError(f"the client did not offer subprotocol {subprotocol!r}")
        extra = _build_fields(headers)
        protocol, head = self._answer(subprotocol)
        return protocol, head + extra + b"\r\n"

    def _answer(self, subprotocol: str | None) -> tuple[Protocol, bytes]:
        raise NotImplementedError

    def _choose_subprotocol(self) -> str | None:
        choice = self.options.subprotocols
        if callable(choice):
            chosen = choice(self.offered) if self.offered else None
            return chosen if chosen in self.offered else None
        return next((name for name in choice if name in self.offered), None)

    def _location(self) -> str:
        secure = self._site.scheme == "https"
        return construct_url(
            self._site.host, self._site.port, self.resource_name, secure
        )


class Handshake55(Handshake):
    """Answer as draft 55, section 5.1, byte for byte."""

    def read(self, environ: Mapping[str, Any]) -> None:
        """Read the fields of section 5.2."""
        self.origin = environ.get("HTTP_ORIGIN")
        self.offered = _read_protocol(environ, "WEBSOCKET_PROTOCOL")

    def _answer(self, subprotocol: str | None) -> tuple[Protocol, bytes]:
        head = _build_head(
            "101 Web Socket Protocol Handshake",
            "WebSocket",
            ("WebSocket-Origin", self.origin),
            ("WebSocket-Location", self._location()),
            ("WebSocket-Protocol", subprotocol),
        )
        protocol = Hixie55(
            client=False,
            max_message_size=self.options.max_message_size,
            subprotocol=subprotocol,
        )
        return protocol, head


class Handshake76(Handshake):
    """Answer as draft 76; key3, and so the last part of the answer, comes later."""

    numbers: tuple[int, int] = (0, 0)

    def read(self, environ: Mapping[str, Any]) -> None:
        """Read the fields, with the numbers that the keys hide."""
        self.origin = environ.get("HTTP_ORIGIN")
        self.offered = _read_protocol(environ, "SEC_WEBSOCKET_PROTOCOL")
        try:
            self.numbers = (
                key_number(environ.get("HTTP_SEC_WEBSOCKET_KEY1", "")),
                key_number(environ.get("HTTP_SEC_WEBSOCKET_KEY2", "")),
            )
        except ValueError as error:
            raise _bad_request(f"Sec-WebSocket-Key1 or -Key2 is {error}.") from None

    def _answer(self, subprotocol: str | None) -> tuple[Protocol, bytes]:
        head = _build_head(
            "101 WebSocket Protocol Handshake",
            "WebSocket",
            ("Sec-WebSocket-Location", self._location()),
            ("Sec-WebSocket-Origin", self.origin),
            ("Sec-WebSocket-Protocol", subprotocol),
        )
        protocol = Hixie76(
            client=False,
            max_message_size=self.options.max_message_size,
            subprotocol=subprotocol,
            respond=challenge_response(*self.numbers),
        )
        return protocol, head


class Handshake6455(Handshake):
    """Answer as RFC 6455, section 4.2.2."""

    key: str = ""
    deflate: DeflateParameters | None = None
    extensions: str | None = None

    def read(self, environ: Mapping[str, Any]) -> None:
        """Read the fields of section 4.2.1."""
        self.key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
        if not _is_key(self.key):
            raise _bad_request("Sec-WebSocket-Key is not 16 bytes in base64.")
        # hybi-07 to -10 have "Sec-WebSocket-Origin"; hybi-11 and -12, whose version is
        # still 8, have "Origin" as RFC 6455 has.
        origin = environ.get("HTTP_ORIGIN")
        if self.version != "13":
            origin = environ.get("HTTP_SEC_WEBSOCKET_ORIGIN", origin)
        # 4.2.2: "The origin is serialized to ASCII and converted to lowercase."
        self.origin = None if origin is None else origin.lower()
        self.offered = _read_subprotocols(environ)
        # RFC 7692 extends RFC 6455; the frames of hybi-07 to -12 are the same, so a
        # client of theirs that offers it can have it.
        offers = environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS")
        if offers is not None:
            self._read_offers(offers)

    def _read_offers(self, offers: str) -> None:
        try:
            self.extensions, self.deflate = accept_offers(
                [offers], _compression(self.options)
            )
        except ValueError as error:
            raise _bad_request(f"Sec-WebSocket-Extensions: {error}.") from None

    @property
    def compression(self) -> bool:
        """Tell whether permessage-deflate was agreed."""
        return self.deflate is not None

    def _answer(self, subprotocol: str | None) -> tuple[Protocol, bytes]:
        head = _build_head(
            "101 Switching Protocols",
            "websocket",
            ("Sec-WebSocket-Accept", accept_key(self.key)),
            ("Sec-WebSocket-Protocol", subprotocol),
            ("Sec-WebSocket-Extensions", self.extensions),
        )
        options = self.options
        protocol = RFC6455(
            client=False,
            version=self.version,
            max_message_size=options.max_message_size,
            max_frame_size=options.max_frame_size,
            max_fragments=options.max_fragments,
            deflate=self._make_deflate(),
            subprotocol=subprotocol,
        )
        return protocol, head

    def _make_deflate(self) -> PerMessageDeflate | None:
        compression = _compression(self.options)
        if self.deflate is None or compression is None:
            return None
        return compression.codec(self.deflate, client=False)


_HANDSHAKES: dict[str, type[Handshake]] = {
    "13": Handshake6455,
    "8": Handshake6455,
    "7": Handshake6455,
    "76": Handshake76,
    "55": Handshake55,
}


def read_handshake(
    environ: Mapping[str, Any], target: str, options: Options
) -> Handshake:
    """Check a request and return its handshake; raises Refusal.

    `environ` is a WSGI environ, `target` that of the request exactly as it was
    requested.
    """
    _check_request(environ)
    authority, resource_name = _read_target(target)
    site = _read_site(environ, authority, options)
    _check_upgrade(environ, options)
    version = _read_version(environ, options)
    _check_body(environ, version)
    handshake = _HANDSHAKES[version](version, site, resource_name, options)
    handshake.read(environ)
    _check_origin(environ, handshake, site)
    return handshake


def _check_request(environ: Mapping[str, Any]) -> None:
    # RFC 6455, 4.2.1: "An HTTP/1.1 or higher GET request"
    method = environ["REQUEST_METHOD"]
    if method != "GET":
        raise Refusal(
            "405 Method Not Allowed",
            f"A WebSocket handshake is a GET request, not {method}.",
            [("Allow", "GET")],
        )
    http_version = environ.get("SERVER_PROTOCOL", "")
    if not re.fullmatch(r"HTTP/1\.[1-9]", http_version):
        raise Refusal(
            "505 HTTP Version Not Supported",
            f"A WebSocket handshake needs HTTP/1.1, not {http_version}.",
        )


def _read_target(target: str) -> tuple[str, str]:
    """Return the authority that a request's target has, "" for none, and the rest."""
    # RFC 6455, 4.2.1: "a 'Request-URI' [RFC2616] that should be interpreted as a
    # /resource name/ defined in Section 3 (or an absolute HTTP/HTTPS URI containing
    # the /resource name/)"
    match = _TARGET.fullmatch(target)
    if match is None:
        raise _bad_request("The target of the request is not a resource name.")
    authority, name = match.groups("")
    return authority, name if name.startswith("/") else f"/{name}"


def _read_site(environ: Mapping[str, Any], authority: str, options: Options) -> Site:
    # RFC 6455, 4.2.1: "A |Host| header field containing the server's authority."
    host = forwarded_host(environ, options.trusted_proxies)
    if not host:
        raise _bad_request("A WebSocket handshake needs a Host header.")
    if authority:
        # RFC 2616, 5.2: "If Request-URI is an absoluteURI, the host is part of the
        # Request-URI. Any Host header field value in the request MUST be ignored."
        environ = {**environ, "HTTP_HOST": authority}
        host = forwarded_host(environ, options.trusted_proxies)
    try:
        return Site.parse(forwarded_scheme(environ, options.trusted_proxies), host)
    except ValueError as error:
        raise _bad_request(f"The Host header is {error}.") from None


def _check_upgrade(environ: Mapping[str, Any], options: Options) -> None:
    # RFC 6455, 4.2.1: "An |Upgrade| header field containing the value 'websocket',
    # treated as an ASCII case-insensitive value." and "A |Connection| header field
    # that includes the token 'Upgrade', treated as an ASCII case-insensitive value."
    if "HTTP_UPGRADE" not in environ:
        raise _upgrade_required(STRIPPED, options)
    if not has_token(environ.get("HTTP_CONNECTION", ""), "upgrade"):
        raise _bad_request(STRIPPED)


def _read_version(environ: Mapping[str, Any], options: Options) -> str:
    version = _version_of(environ)
    if version not in options.versions:
        served = ", ".join(options.versions)
        raise _upgrade_required(
            f"WebSocket version {version or 'missing'}: this server speaks {served}.",
            options,
        )
    return version


def _version_of(environ: Mapping[str, Any]) -> str:
    # RFC 6455, 4.2.1: "A |Sec-WebSocket-Version| header field, with a value of 13."
    if "HTTP_SEC_WEBSOCKET_VERSION" in environ:
        version = str(environ["HTTP_SEC_WEBSOCKET_VERSION"])
        return version if version in HYBI_VERSIONS else f"{version!r}"
    if "HTTP_SEC_WEBSOCKET_KEY" in environ:
        return ""
    if "HTTP_SEC_WEBSOCKET_KEY1" in environ or "HTTP_SEC_WEBSOCKET_KEY2" in environ:
        return "76"
    # Draft 55, 1.2: "The first three lines in each case are hard-coded (the exact
    # case and order matters)"; every later client names a key or a version as well.
    return "55" if environ["HTTP_UPGRADE"] == "WebSocket" else ""


def _check_body(environ: Mapping[str, Any], version: str) -> None:
    # Some clients of draft 76 declare the eight octets behind the head as a body.
    lengths = ("", "0", "8") if version == "76" else ("", "0")
    if (
        environ.get("CONTENT_LENGTH", "") not in lengths
        or "HTTP_TRANSFER_ENCODING" in environ
    ):
        raise _bad_request("A WebSocket handshake has no body.")


def _is_key(key: str) -> bool:
    # 4.2.1: "A |Sec-WebSocket-Key| header field with a base64-encoded value that,
    # when decoded, is 16 bytes in length."
    try:
        return len(key) == 24 and len(b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def _read_subprotocols(environ: Mapping[str, Any]) -> Sequence[str]:
    value = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")
    if value is None:
        return ()
    try:
        offered = parse_tokens(value)
    except ValueError:
        # What it holds may be a secret, and the answer is also logged.
        raise _bad_request("Sec-WebSocket-Protocol is not a list of tokens.") from None
    # 4.1: "The elements that comprise this value MUST be non-empty strings [...] and
    # MUST all be unique strings."
    if len(set(offered)) < len(offered):
        raise _bad_request("Sec-WebSocket-Protocol names a subprotocol twice.")
    return offered


def _read_protocol(environ: Mapping[str, Any], name: str) -> Sequence[str]:
    # Draft 55, 3.1: a protocol is neither "the empty string" nor does it contain
    # "characters that are not in the range U+0021 to U+007E"; there is one at most.
    value = environ.get(f"HTTP_{name}")
    if value is None:
        return ()
    if not re.fullmatch(r"[!-~]+", value):
        raise _bad_request("The subprotocol is empty or has a forbidden character.")
    return (value,)


def _check_origin(environ: Mapping[str, Any], handshake: Handshake, site: Site) -> None:
    origin = handshake.origin
    if origin is None and handshake.version in HYBI_VERSIONS:
        # RFC 6455, 4.2.1: "Connection attempts lacking this header field SHOULD NOT
        # be interpreted as coming from a browser client."
        return
    fetch_site = environ.get("HTTP_SEC_FETCH_SITE", "")
    allowed = handshake.options.allowed_origins
    if (
        origin is not None
        and is_field_value(origin)
        and is_allowed(origin, site, allowed, fetch_site)
    ):
        return
    raise Refusal(
        "403 Forbidden",
        f"Pages of origin {origin!r} may not connect here. This request was for "
        f"{site.scheme}://{site.host}:{site.port}; see allowed_origins.",
    )


def challenge_response(number1: int, number2: int) -> Callable[[bytes], bytes]:
    """Return the function that makes draft 76's response out of key3."""
    # "MD5(number1 as 4 bytes big-endian + number2 likewise + key3)"
    numbers = number1.to_bytes(4, "big") + number2.to_bytes(4, "big")

    def respond(key3: bytes) -> bytes:
        return md5(numbers + key3, usedforsecurity=False).digest()

    return respond


_DEFAULT_COMPRESSION = Compression()


def _compression(options: Options) -> Compression | None:
    if options.compression is True:
        return _DEFAULT_COMPRESSION
    return options.compression or None


def _build_fields(headers: Headers) -> bytes:
    lines = []
    for name, value in headers:
        if not is_token(name) or not is_field_value(value):
            raise ValueError(f"not a header field that can be sent: {name!r}")
        if RESERVED.fullmatch(name):
            raise ValueError(f"{name} is written by the handshake itself")
        lines.append(f"{name}: {value}")
    return _encode(lines)


def _build_head(status: str, upgrade: str, *fields: tuple[str, str | None]) -> bytes:
    """Return a 101 up to its last field; a field without a value is left out."""
    lines = [f"HTTP/1.1 {status}", f"Upgrade: {upgrade}", "Connection: Upgrade"]
    lines += [f"{name}: {value}" for name, value in fields if value is not None]
    return _encode(lines)


def _encode(lines: Iterable[str]) -> bytes:
    # WSGI gives octets as latin-1 text (PEP 3333), so this gives the same octets back.
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")
