"""Which web pages may connect: the origin policy of a server.

Draft 55, section 7: "Servers that are not intended to process input from any Web page
but only for certain sites should verify the 'Origin' header is an origin they
expect"; RFC 6455, section 10.2, says the same. Browsers apply no same-origin policy
to WebSocket, so without this a page of any site could speak with a visitor's cookies.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from re import Pattern
from typing import TypeAlias

__all__ = ["AllowedOrigins", "Site", "is_allowed", "parse_origin"]

AllowedOrigins: TypeAlias = (
    None | str | Pattern[str] | Iterable["str | Pattern[str]"] | Callable[[str], bool]
)
"""None for the same origin, one or more origins or patterns, or a callable."""

DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986, section 3.2.2, but no comma: servers join two Host fields with one, and
# RFC 7230, section 5.4, wants such a request refused.
_HOST = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::([0-9]{1,5})?)?"
)


@dataclass(frozen=True)
class Site:
    """Hold scheme, host and port as a client sees them; the host in lower case."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, scheme: str, host: str) -> "Site":
        """Make a site of a scheme and the value of a Host field.

        Raises ValueError when `host` is not a host with an optional port.
        """
        match = _HOST.fullmatch(host)
        if match is None:
            raise ValueError(f"not a host with an optional port: {host!r}")
        port = int(match[2]) if match[2] else DEFAULT_PORTS.get(scheme, 0)
        if port > 65535:
            raise ValueError(f"port out of range: {host!r}")
        return cls(scheme, match[1].lower(), port)


def parse_origin(origin: str) -> Site | None:
    """Return the site that an origin names; None for "null" and for bad grammar."""
    scheme, separator, host = origin.partition("://")
    if not separator or not scheme:
        return None
    try:
        return Site.parse(scheme.lower(), host)
    except ValueError:
        return None


def is_allowed(
    origin: str, site: Site, allowed: AllowedOrigins, fetch_site: str = ""
) -> bool:
    """Tell whether a page of `origin` may connect to `site`.

    `fetch_site` is the value of Sec-Fetch-Site, which a browser sets and a page
    cannot: where the policy is the same origin it decides, because it is true even
    behind a proxy that rewrites Host.
    """
    if allowed is None:
        return _is_same_origin(origin, site, fetch_site)
    if isinstance(allowed, (str, Pattern)):
        return _matches(origin, allowed)
    if callable(allowed):
        return bool(allowed(origin))
    return any(_matches(origin, pattern) for pattern in allowed)


def _is_same_origin(origin: str, site: Site, fetch_site: str) -> bool:
    if fetch_site == "same-origin":
        return True
    if fetch_site in ("cross-site", "same-site"):
        return False
    return parse_origin(origin) == site


def _matches(origin: str, pattern: str | Pattern[str]) -> bool:
    if isinstance(pattern, Pattern):
        return pattern.fullmatch(origin) is not None
    if pattern == "*" or pattern == origin:
        return True
    site = parse_origin(origin)
    if "://*." not in pattern:
        return site is not None and site == parse_origin(pattern)
    # "https://*.example.com": any host below example.com, not example.com itself
    parent = parse_origin(pattern.replace("://*.", "://", 1))
    return (
        site is not None
        and parent is not None
        and (site.scheme, site.port) == (parent.scheme, parent.port)
        and site.host.endswith("." + parent.host)
    )


def check_patterns(allowed: AllowedOrigins) -> None:
    """Raise ValueError for an origin or a pattern that could never match."""
    if allowed is None or callable(allowed) or isinstance(allowed, Pattern):
        return
    for pattern in [allowed] if isinstance(allowed, str) else allowed:
        if isinstance(pattern, Pattern) or pattern in ("*", "null"):
            continue
        if parse_origin(pattern.replace("://*.", "://", 1)) is None:
            raise ValueError(
                f"not an origin: {pattern!r}, write it like 'https://example.com'"
            )
