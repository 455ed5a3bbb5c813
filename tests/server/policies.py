"""One origin policy for each path, each in a middleware of its own."""

import re

from wsmiddleware import WebSocketMiddleware

POLICIES = {
    "default": None,
    "exact": ["https://example.com", "http://localhost:3000"],
    "pattern": ["https://*.example.com"],
    "regex": [re.compile(r"https://(a|b)\.example")],
    "any": "*",
    "callable": lambda origin: origin.endswith(".test"),
}


def greet(environ, start_response):
    """Say hello over a WebSocket, or over HTTP."""
    websocket = environ.get("wsgi.websocket")
    if websocket is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"plain HTTP\n"]
    websocket.send("hello")
    return []


middlewares = {
    f"/{name}": WebSocketMiddleware(greet, allowed_origins=allowed)
    for name, allowed in POLICIES.items()
}


def app(environ, start_response):
    """Hand over to the middleware of the path."""
    return middlewares.get(environ["PATH_INFO"], greet)(environ, start_response)


def hidden():
    """Make a dispatcher whose middleware cannot be seen from outside."""
    table = {"/hidden": WebSocketMiddleware(greet)}

    def dispatch(environ, start_response):
        return table.get(environ["PATH_INFO"], greet)(environ, start_response)

    return dispatch


hidden_app = hidden()
