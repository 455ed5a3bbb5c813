"""One message to many connections: encoded once, and never waiting for a slow one.

What goes over the wire depends on the protocol's version and on compression. Peers
that agreed on the same get the same octets. A compressed message is compressed
without a context, once for each size of window, so that every peer can read it
whatever it received before.
"""

from collections.abc import Iterable
from typing import Any

from wsmiddleware.websocket import WebSocket

__all__ = ["broadcast"]


def broadcast(
    websockets: Iterable[WebSocket], message: str | bytes | bytearray | memoryview
) -> list[WebSocket]:
    """Send a message to each of the connections; return those that were skipped.

    Skipped is who is not open (its handshake not completed, or closing), who has
    `max_buffered` bytes waiting already, and, for binary data, who speaks a version
    that carries text only. Nothing blocks, and no exception tells of one connection.

    Raises TypeError when the message is neither text nor binary data.
    """
    if not isinstance(message, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
    if isinstance(message, (bytearray, memoryview)):
        message = bytes(message)
    encoded: dict[Any, bytes] = {}
    return [
        websocket
        # Whoever is sent to may change the collection meanwhile.
        for websocket in list(websockets)
        if not websocket.send_shared(message, encoded)
    ]
