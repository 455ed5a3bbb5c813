"""Web Socket URLs: parse and construct them (draft 55 and RFC 6455, section 3).

An address is read as "Web addresses in HTML 5" has it, which is where draft 55 sends
us: what is not ASCII in the host goes through IDNA ToASCII, what is not allowed in
the path and the query is encoded as UTF-8 and percent-encoded. It obeys RFC 6455
where draft 55 is silent: a fragment is refused.

A user name and a password in front of the host are no part of the Web Socket URL
that is constructed again; they are kept for HTTP's Basic authentication.
"""

import re
from dataclasses import dataclass, field
from encodings import idna
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote, unquote, unquote_to_bytes

from wsmiddleware.exceptions import InvalidURL

__all__ = ["WebSocketURL", "construct_url", "parse_url"]

# The "space characters" of HTML 5, which surround a Web address at no harm.
_SPACES = " \t\n\f\r"

# RFC 3986, appendix B, but only for the schemes that are ours.
_COMPONENTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):"
    r"(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?"
    r"(?P<fragment>#.*)?",
    re.DOTALL,
)
_AUTHORITY = re.compile(
    r"(?:(?P<userinfo>[^@]*)@)?"
    r"(?P<host>\[[^\[\]@]*\]|[^:@\[\]]*)"
    r"(?::(?P<port>[0-9]*))?",
    re.DOTALL,
)

# RFC 3986, section 3.2.2: "reg-name = *( unreserved / pct-encoded / sub-delims )",
# after its percent-encoded octets have been decoded.
_REG_NAME = re.compile(r"[a-z0-9\-._~!$&'()*+,;=]*")

# RFC 3490, section 4.1, step 3: with UseSTD3ASCIIRules, letters, digits and hyphens
# are all that a label may contain of ASCII, with no hyphen at either end.
_STD3_LABEL = re.compile(r"(?!-)[a-z0-9\-\x80-\U0010ffff]*(?<!-)")

# RFC 3490, section 3.1: "Whenever dots are used as label separators, the following
# characters MUST be recognized as dots".
_DOTS = re.compile("[.\u3002\uff0e\uff61]")

# What stands in a path or in a query as it is: RFC 3986's pchar, "/" and "?" (a
# query's own), and "%", which HTML 5 takes as it finds it.
_KEPT = "/?:@!$&'()*+,;=%~"


@dataclass(frozen=True)
class WebSocketURL:
    """Hold the components of a Web Socket URL, as draft 55 names them.

    `host` is ASCII and lowercase, an IPv6 address in its brackets. `userinfo` is
    the user name and the password that stood in front of the host, or None.
    """

    host: str
    port: int
    resource_name: str
    secure: bool
    userinfo: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def hostport(self) -> str:
        """Return the host, with the port unless it is the scheme's default."""
        if self.port == (443 if self.secure else 80):
            return self.host
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return construct_url(self.host, self.port, self.resource_name, self.secure)


def parse_url(url: str, protocol: str | None = None) -> WebSocketURL:
    """Parse a Web Socket URL's components (draft 55, section 3.1).

    Raises InvalidURL where the draft says to fail, and for a fragment.
    """
    # Step 1: "If /protocol/ is specified but is either the empty string or contains
    # characters that are not in the range U+0021 to U+007E, then fail".
    if protocol is not None and not re.fullmatch(r"[\x21-\x7e]+", protocol):
        raise InvalidURL(f"subprotocol is not printable ASCII: {protocol!r}")
    # Steps 2 and 3: "If the /url/ string is not an absolute URL, then fail".
    match = _COMPONENTS.fullmatch(url.strip(_SPACES))
    if match is None:
        raise InvalidURL(f"URL is not absolute: {url!r}")
    # Steps 4 and 5: the scheme, "when converted to ASCII lowercase".
    scheme = match["scheme"].lower()
    if scheme not in ("ws", "wss"):
        raise InvalidURL(f"scheme is neither ws nor wss: {scheme!r}")
    # RFC 6455, section 3: "Fragment identifiers are meaningless in the context of
    # WebSocket URIs and MUST NOT be used on these URIs."
    if match["fragment"] is not None:
        raise InvalidURL(f"URL has a fragment: {match['fragment']!r}")
    secure = scheme == "wss"
    # Steps 6 to 8.
    userinfo, host, port = _parse_authority(match["authority"], secure)
    return WebSocketURL(
        host, port, _resource_name(match["path"], match["query"]), secure, userinfo
    )


def construct_url(host: str, port: int, resource_name: str, secure: bool) -> str:
    """Construct a Web Socket URL from its components (draft 55, section 3.2)."""
    scheme = "wss" if secure else "ws"
    hostport = WebSocketURL(host, port, resource_name, secure).hostport
    return f"{scheme}://{hostport}{resource_name}"


def _parse_authority(
    authority: str | None, secure: bool
) -> tuple[tuple[str, str] | None, str, int]:
    if not authority:
        raise InvalidURL("URL has no host")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise InvalidURL("authority is not of the form [userinfo@]host[:port]")
    port = _parse_port(match["port"], secure)
    return _parse_userinfo(match["userinfo"]), _parse_host(match["host"]), port


def _parse_port(text: str | None, secure: bool) -> int:
    # RFC 3986, section 3.2.3: the port may be empty, which means the default.
    if not text:
        return 443 if secure else 80
    # Longer than any port: not converted, for the conversion's cost.
    port = int(text) if len(text) <= 10 else 0
    if not 1 <= port <= 65535:
        raise InvalidURL(f"port is not in the range 1 to 65535: {text[:20]}")
    return port


def _parse_userinfo(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, _, password = (unquote(part) for part in text.partition(":"))
    # RFC 7617, section 2: "a user-id containing a colon character is invalid".
    if ":" in name:
        raise InvalidURL("user name has a colon")
    return name, password


def _parse_host(text: str) -> str:
    if text.startswith("["):
        try:
            IPv6Address(text[1:-1])
        except AddressValueError:
            raise InvalidURL(f"host is not an IPv6 address: {text!r}") from None
        # RFC 6874's zone is for one machine's own use and not for a Host field.
        if "%" in text:
            raise InvalidURL(f"IPv6 address has a zone: {text!r}")
        return text.lower()
    # A host's percent-encoded octets are UTF-8 (RFC 3986, section 3.2.2), and they are
    # decoded before ToASCII is applied.
    try:
        host = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:
        raise InvalidURL(f"host is not UTF-8: {text!r}") from None
    if not host.isascii():
        host = _to_ascii(host)
    host = host.lower()
    labels = host.removesuffix(".").split(".")
    # RFC 1035, section 2.3.4: "labels 63 octets or less, names 255 octets or less",
    # the latter counted with the octets that carry a length.
    if (
        _REG_NAME.fullmatch(host) is None
        or not all(0 < len(label) < 64 for label in labels)
        or len(host) > 254
    ):
        raise InvalidURL(f"host is not a name: {text!r}")
    return host


def _to_ascii(host: str) -> str:
    # Draft 55, section 8.1: "applying the IDNA ToASCII algorithm to the Unicode host
    # name, with both the AllowUnassigned and UseSTD3ASCIIRules flags set". The
    # standard library's has the first flag set; the second is minded here.
    labels = []
    for label in _DOTS.split(host):
        try:
            prepared = idna.nameprep(label)
            labels.append(idna.ToASCII(label).decode("ascii") if label else "")
        except UnicodeError:
            raise InvalidURL(f"IDNA ToASCII fails for the host {host!r}") from None
        if _STD3_LABEL.fullmatch(prepared) is None:
            raise InvalidURL(f"host breaks the rules of STD 3: {host!r}")
    return ".".join(labels)


def _resource_name(path: str, query: str | None) -> str:
    # Resolving an address removes its dot segments (RFC 3986, section 5.2.2).
    # Steps 9 and 10: "If /resource name/ is the empty string, set it to a single
    # character U+002F SOLIDUS (/)."
    name = _remove_dot_segments(path) or "/"
    # Step 11: "append a single U+003F QUESTION MARK character (?) to /resource
    # name/, followed by the value of the <query> component".
    if query is not None:
        name += "?" + query
    try:
        return quote(name, safe=_KEPT)
    except UnicodeEncodeError:
        raise InvalidURL("resource name has a lone surrogate") from None


def _remove_dot_segments(path: str) -> str:
    # RFC 3986, section 5.2.4, for a path that begins with "/" or is empty.
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            # The empty segment in front of the first "/" stays.
            del kept[max(1, len(kept) - 1) :]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)
