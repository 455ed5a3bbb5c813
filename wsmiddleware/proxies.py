"""What a trusted reverse proxy says of the request that it forwards."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

__all__ = ["client_address", "forwarded_host", "forwarded_scheme"]


def _is_trusted(address: str, trusted: Sequence[str]) -> bool:
    if not trusted:
        return False
    # A WSGI server has no address for the peer of a unix socket.
    if not address:
        return "unix" in trusted
    try:
        peer = ip_address(address)
    except ValueError:
        return False
    # A socket for both families has such a name for a peer that speaks IPv4.
    mapped = getattr(peer, "ipv4_mapped", None)
    peers = [peer] if mapped is None else [peer, mapped]
    networks = [ip_network(network) for network in trusted if network != "unix"]
    return any(peer in network for network in networks for peer in peers)


def check_networks(trusted: Sequence[str]) -> None:
    """Raise ValueError for what is neither an address, nor a network, nor "unix"."""
    if isinstance(trusted, str):
        raise ValueError("trusted_proxies must be a list, not a string")
    for network in trusted:
        if network == "unix":
            continue
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}") from None


def client_address(environ: Mapping[str, Any], trusted: Sequence[str]) -> str:
    """Return the client's address: the nearest one that is not a trusted proxy's."""
    address: str = environ.get("REMOTE_ADDR") or ""
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while forwarded and _is_trusted(address, trusted):
        nearer = forwarded.pop().strip()
        if not nearer:
            break
        address = nearer
    return address


def forwarded_host(environ: Mapping[str, Any], trusted: Sequence[str]) -> str:
    """Return the Host of the client's request, "" when there is none."""
    return _forwarded(environ, trusted, "HTTP_X_FORWARDED_HOST") or str(
        environ.get("HTTP_HOST", "")
    )


def forwarded_scheme(environ: Mapping[str, Any], trusted: Sequence[str]) -> str:
    """Return the scheme of the client's request: "http" or "https"."""
    scheme = _forwarded(environ, trusted, "HTTP_X_FORWARDED_PROTO").lower()
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    if scheme in ("http", "https"):
        return scheme
    return str(environ["wsgi.url_scheme"])


def _forwarded(environ: Mapping[str, Any], trusted: Sequence[str], name: str) -> str:
    if not _is_trusted(environ.get("REMOTE_ADDR") or "", trusted):
        return ""
    # Each proxy appends its own; the last is that of the one we trust.
    return str(environ.get(name, "")).rpartition(",")[2].strip()
