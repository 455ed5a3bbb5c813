"""The application of `apps` with short deadlines and small bounds, by path.

The middleware of a path that starts with the name of a policy for slow consumers has
that policy; every other path has the deadlines alone.
"""

import gevent
from apps import BOUND, SIZE, bare, report

from wsmiddleware import WebSocketMiddleware
from wsmiddleware.exceptions import WebSocketError

DEADLINES = {
    "handshake_timeout": 1,
    "ping_interval": 1,
    "ping_timeout": 1,
    "send_timeout": 2,
    "close_timeout": 1,
}

app = WebSocketMiddleware(bare, **DEADLINES)

immediate = WebSocketMiddleware(bare, accept="immediately", **DEADLINES)

room = set()


def member(environ, start_response):
    """Join the room and take what is sent to it."""
    ws = environ["wsgi.websocket"]
    ws.accept()
    room.add(ws)
    ws.send("joined")
    while ws.receive() is not None:
        pass
    room.discard(ws)
    return []


def speaker(environ, start_response):
    """Send as many numbered messages to everyone as the query says; then report."""
    ws = environ["wsgi.websocket"]
    ws.accept()
    most = 0
    for number in range(int(environ["QUERY_STRING"])):
        message = f"{number:08}".ljust(SIZE, ".")
        for other in list(room):
            try:
                other.send(message)
            except (WebSocketError, TimeoutError) as error:
                report("SEND FAILED", type(error).__name__, error)
                room.discard(other)
            most = max(most, other.buffered_amount)
        gevent.sleep(0)
    ws.send(f"{most}")
    return []


def consumers(environ, start_response):
    kinds = {"member": member, "speaker": speaker}
    handler = kinds.get(environ["PATH_INFO"].rpartition("/")[2], bare)
    return handler(environ, start_response)


# Only the policy decides what becomes of a peer that reads nothing: nobody is pinged,
# and a send that does not wait has all the time that a slow machine needs.
SEND_TIMEOUTS = {"block": 2, "drop_oldest": 60, "drop_newest": 60, "close": 60}

policies = {
    name: WebSocketMiddleware(
        consumers,
        overflow=name,
        max_buffered=BOUND,
        **{**DEADLINES, "ping_interval": None, "send_timeout": seconds},
    )
    for name, seconds in SEND_TIMEOUTS.items()
}

# As `app`, with more time for an answer to a ping
patient = WebSocketMiddleware(bare, **{**DEADLINES, "ping_timeout": 4})


def consumers_app(environ, start_response):
    """Hand over to the middleware with the policy that the path starts with."""
    name = environ["PATH_INFO"].split("/")[1]
    return policies.get(name, app)(environ, start_response)
