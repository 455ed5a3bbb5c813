"""gevent-websocket under gunicorn: `-k geventwebsocket.gunicorn.workers...`."""

from contextlib import suppress

from geventwebsocket import WebSocketError

connections = set()


def echo(ws):
    while (message := ws.receive()) is not None:
        ws.send(message)


def fanout(ws):
    connections.add(ws)
    try:
        while (message := ws.receive()) is not None:
            for receiver in list(connections):
                receiver.send(message)
    finally:
        connections.discard(ws)


def app(environ, start_response):
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello\n"]
    with suppress(WebSocketError):
        (fanout if environ["PATH_INFO"] == "/fanout" else echo)(ws)
    return []
