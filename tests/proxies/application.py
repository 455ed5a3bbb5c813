"""The application behind the proxies: what it is told about the client, and an echo."""

import json
import os

from wsmiddleware import WebSocketMiddleware

TOLD = ["REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "HTTP_X_FORWARDED_FOR"]


def describe(environ):
    facts = {name: environ.get(name) for name in TOLD}
    return json.dumps({**facts, "pid": os.getpid()})


def application(environ, start_response):
    """Echo; the message "who" is answered with what is known of the request."""
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [describe(environ).encode()]
    if environ["PATH_INFO"] == "/refused":
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"not you"]
    if environ["PATH_INFO"] == "/bye":
        ws.send("bye")
        return []
    for message in ws:
        ws.send(describe(environ) if message == "who" else message)
    return []


pinging = WebSocketMiddleware(application, ping_interval=0.3)
silent = WebSocketMiddleware(application, ping_interval=None)
trusting = WebSocketMiddleware(application, trusted_proxies=["127.0.0.1"])
