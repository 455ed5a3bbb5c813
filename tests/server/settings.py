"""A WebSocket with one setting changed for each path, and one that reads nothing."""

import apps

from wsmiddleware import WebSocketMiddleware

PATHS = {
    "/idle": {"idle_timeout": 0.4},
    "/idle-longer": {"idle_timeout": 2},
    "/lifetime": {"max_lifetime": 0.6},
    "/pings": {"max_pings": 20},
    "/queue": {"max_queue": 4, "max_message_size": 1 << 30},
    "/queued-size": {"max_queue": 1 << 20, "max_message_size": 1 << 16},
    "/address": {"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]},
    "/unix": {"trusted_proxies": ["unix"]},
    "/stranger": {"trusted_proxies": ["192.0.2.0/24"]},
}


def handle(environ, start_response):
    """Look away where the queue is tested; else echo, or say "who" it is."""
    ws = environ["wsgi.websocket"]
    if environ["PATH_INFO"].startswith("/queue"):
        ws.send("ready")
        ws.wait_closed()
        return []
    for message in ws:
        ws.send(message)
    return []


middlewares = {
    path: WebSocketMiddleware(handle, **settings) for path, settings in PATHS.items()
}


def app(environ, start_response):
    """Hand over to the middleware of the path."""
    handler = middlewares.get(environ["PATH_INFO"], apps.bare)
    return handler(environ, start_response)
