"""WebSocket for WSGI applications, on the port of their HTTP.

from wsmiddleware import WebSocketMiddleware

app.wsgi_app = WebSocketMiddleware(app.wsgi_app)
"""

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
]
