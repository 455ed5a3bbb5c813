"""WebSocket for WSGI applications, on the port of their HTTP, and a client.

from wsmiddleware import WebSocketMiddleware, connect

app.wsgi_app = WebSocketMiddleware(app.wsgi_app)

with connect("wss://example.com/chat") as ws:
    ws.send("hello")
"""

from wsmiddleware.broadcast import broadcast
from wsmiddleware.client import connect
from wsmiddleware.events import CloseCode
from wsmiddleware.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    HandshakeError,
    InvalidURL,
    WebSocketError,
)
from wsmiddleware.middleware import WebSocketMiddleware
from wsmiddleware.options import Options
from wsmiddleware.websocket import WebSocket

__all__ = [
    "CloseCode",
    "ConcurrencyError",
    "ConnectionClosed",
    "HandshakeError",
    "InvalidURL",
    "Options",
    "WebSocket",
    "WebSocketError",
    "WebSocketMiddleware",
    "broadcast",
    "connect",
]
