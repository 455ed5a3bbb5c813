"""The applications that the server processes of these tests run.

`app` is a plain WSGI application in the middleware, with a path for each thing that
is tested; `bare` is the same without the middleware, for the worker to wrap.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

import gevent
from gevent import socket

from wsmiddleware import WebSocketMiddleware
from wsmiddleware.exceptions import ConcurrencyError, ConnectionClosed, WebSocketError
from wsmiddleware.websocket import WebSocket

ALLOWED = ["http://good.example", "https://*.wild.example"]
LIMIT = 1 << 20

# What `limits` keeps for a slow peer, and the size of the messages that fill it.
BOUND = 256 * 1024
SIZE = 8192

executed = []
live = set()


def plain(start_response, status="200 OK", text="plain HTTP\n", headers=()):
    body = text.encode()
    start_response(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            *headers,
        ],
    )
    return [body]


def report(*words):
    """Write a line into the log in one piece, whoever else writes there."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


# ---- HTTP


def home(environ, start_response):
    return plain(start_response)


def has_websocket(environ, start_response):
    return plain(start_response, text=str("wsgi.websocket" in environ))


def delete(environ, start_response):
    """Remember that this request, which nobody may smuggle in, was executed."""
    executed.append(environ["QUERY_STRING"])
    return plain(start_response, text="deleted\n")


def list_executed(environ, start_response):
    return plain(start_response, text=json.dumps(executed))


def count_live(environ, start_response):
    return plain(start_response, text=str(len(live)))


def census(environ, start_response):
    """Count what a connection could leave behind."""
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    counts = {
        "websockets": kinds.count(WebSocket),
        "greenlets": sum(issubclass(kind, gevent.Greenlet) for kind in kinds),
        "sockets": sum(issubclass(kind, socket.socket) for kind in kinds),
        "objects": len(kinds),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resident": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
    }
    return plain(start_response, text=json.dumps(counts))


def unauthorized(environ, start_response):
    headers = [("WWW-Authenticate", 'Basic realm="here"')]
    return plain(start_response, "401 Unauthorized", "who are you?\n", headers)


def redirect(environ, start_response):
    return plain(start_response, "302 Found", "", [("Location", "/elsewhere")])


def post(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return plain(start_response, text=body.decode())


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (f"{number}\n".encode() for number in range(100))


# ---- WebSocket


def echo(environ, start_response):
    ws = environ["wsgi.websocket"]
    live.add(id(ws))
    try:
        for message in ws:
            ws.send(message)
    finally:
        live.discard(id(ws))
    return []


def old_style(environ, start_response):
    """Echo as applications of gevent-websocket do."""
    ws = environ.get("wsgi.websocket")
    if ws is None:
        return plain(start_response, "400 Bad Request", "expected a websocket\n")
    while not ws.closed:
        message = ws.receive()
        if message is None:
            break
        ws.send(message)
    ws.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"nobody sees this"]


def info(environ, start_response):
    ws = environ["wsgi.websocket"]
    facts = {
        "version": ws.version,
        "origin": ws.origin,
        "path": ws.path,
        "subprotocol": ws.subprotocol,
        "closed": ws.closed,
        "same environ": ws.environ is environ or dict(ws.environ) == dict(environ),
    }
    ws.accept()
    facts["subprotocol"] = ws.subprotocol
    ws.send(json.dumps(facts))
    return []


def accept_with(environ, start_response):
    """Accept with a subprotocol and a header that the query names."""
    name, _, value = environ["QUERY_STRING"].partition("=")
    ws = environ["wsgi.websocket"]
    ws.accept(subprotocol=name or None, headers=[("X-Answer", value)])
    ws.send(str(ws.subprotocol))
    return []


def close_with(environ, start_response):
    code, _, reason = environ["QUERY_STRING"].partition("=")
    ws = environ["wsgi.websocket"]
    ws.close(int(code), reason)
    report("CLOSED", ws.closed, ws.close_code, repr(ws.close_reason))
    return []


def goodbye(environ, start_response):
    """Close at once, whatever the query says."""
    environ["wsgi.websocket"].close(4000, "goodbye")
    return []


def report_close(environ, start_response):
    """Receive until the end and say in the log how it came."""
    ws = environ["wsgi.websocket"]
    while ws.receive() is not None:
        pass
    again = ws.receive()
    try:
        ws.send("too late")
        sent = "sent"
    except ConnectionClosed as error:
        sent = f"ConnectionClosed {error.code}"
    report("CLOSED", ws.closed, ws.close_code, repr(ws.close_reason), again, sent)
    return []


def handler_returns(environ, start_response):
    environ["wsgi.websocket"].send("bye")
    return ["nobody sees this"]


def handler_raises(environ, start_response):
    ws = environ["wsgi.websocket"]
    ws.send("soon")
    ws.receive()
    raise RuntimeError("the handler's own fault")


def sends_forever(environ, start_response):
    """Send until the peer is gone, as applications do that catch nothing."""
    ws = environ["wsgi.websocket"]
    while True:
        ws.send("tick")
        gevent.sleep(0.01)


def raises_before_use(environ, start_response):
    raise RuntimeError("a fault before the first use")


def never_used(environ, start_response):
    """Return nothing and never touch the WebSocket."""
    return []


def handler_exits(environ, start_response):
    kinds = {
        "GreenletExit": gevent.GreenletExit,
        "Timeout": lambda: gevent.Timeout(1),
        "SystemExit": lambda: SystemExit(3),
        "StopIteration": StopIteration,
    }
    ws = environ["wsgi.websocket"]
    ws.send("soon")
    ws.receive()
    raise kinds[environ["QUERY_STRING"]]()


def handler_exits_lazily(environ, start_response):
    """Do the same while the server iterates over the response."""
    yield from handler_exits(environ, start_response)


class BadResponse(list):
    def close(self):
        raise RuntimeError("the response's own fault")


def response_fails(environ, start_response):
    """Return a response that cannot be closed, as a callback of Flask's may do."""
    ws = environ["wsgi.websocket"]
    ws.send("soon")
    ws.receive()
    return BadResponse()


kept = []


def refuse_and_keep(environ, start_response):
    kept.append(environ["wsgi.websocket"])
    return plain(start_response, "403 Forbidden", "no\n")


def use_kept(environ, start_response):
    """Use a WebSocket whose request is over."""
    outcomes = []
    for use in (kept[-1].accept, lambda: kept[-1].send("late"), kept[-1].receive):
        try:
            outcomes.append(repr(use()))
        except WebSocketError as error:
            outcomes.append(type(error).__name__)
    return plain(start_response, text=" ".join(outcomes))


def too_late(environ, start_response):
    """Use the WebSocket in the middle of a response."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"begun, ")
    try:
        environ["wsgi.websocket"].accept()
    except WebSocketError as error:
        write(str(error).encode())
    return []


def timeout(environ, start_response):
    """Wait in vain several times, with each way of waiting; then echo."""
    ws = environ["wsgi.websocket"]
    ws.accept()
    for seconds in (0.05, 0):
        try:
            ws.receive(timeout=seconds)
            ws.send("no timeout")
        except TimeoutError:
            ws.send(f"TimeoutError {seconds}")
    with gevent.Timeout(0.05, False):
        ws.receive()
        ws.send("no gevent.Timeout")
    ws.send("gevent.Timeout")
    return echo(environ, start_response)


def hints(environ, start_response):
    """Try to send a 103 of HTTP into the stream."""
    send_early_hints = environ["wsgi.early_hints"]
    ws = environ["wsgi.websocket"]
    ws.accept()
    send_early_hints([("Link", "</style.css>; rel=preload")])
    ws.send(str("wsgi.early_hints" in environ))
    return []


def nibble(environ, start_response):
    """Echo, with a receive that is given up many times in the middle of frames."""
    ws = environ["wsgi.websocket"]
    ws.accept()
    while True:
        try:
            message = ws.receive(timeout=0.002)
        except TimeoutError:
            continue
        if message is None:
            return []
        ws.send(message)


def two_receivers(environ, start_response):
    ws = environ["wsgi.websocket"]
    ws.accept()
    first = gevent.spawn(ws.receive)
    gevent.sleep(0)
    try:
        ws.receive(timeout=5)
        outcome = "no error"
    except ConcurrencyError as error:
        outcome = f"ConcurrencyError {error}"
    ws.send(outcome)
    ws.send(first.get(timeout=10))
    return []


def many_senders(environ, start_response):
    """Send from as many greenlets as the query says, messages of many sizes."""
    senders, rounds = map(int, environ["QUERY_STRING"].split("x"))
    ws = environ["wsgi.websocket"]
    ws.accept()

    def work(number):
        for turn in range(rounds):
            letter = chr(ord("a") + number % 26)
            ws.send(f"{number}:{turn}:" + letter * (number * 997 + turn * 131))
            if turn % 3 == 0:
                gevent.sleep(0)

    gevent.joinall([gevent.spawn(work, n) for n in range(senders)], raise_error=True)
    ws.send("done")
    ws.receive()
    return []


def produce(environ, start_response):
    """Send one message of the size, and of the kind, that the query says."""
    kind, _, size = environ["QUERY_STRING"].partition("=")
    message = "x" * int(size)
    ws = environ["wsgi.websocket"]
    ws.send(message if kind == "text" else message.encode())
    ws.receive()
    return []


def produce_and_leave(environ, start_response):
    """Send one binary message of the size that the query says, and return."""
    environ["wsgi.websocket"].send(b"x" * int(environ["QUERY_STRING"]))
    return []


def compute(environ, start_response):
    """Send, then keep the processor busy for a second before the next wait."""
    ws = environ["wsgi.websocket"]
    ws.receive()
    ws.send("first")
    busy_until = time.monotonic() + 1
    while time.monotonic() < busy_until:
        pass
    ws.receive()
    return []


def compute_until_seen(environ, start_response):
    """Send, then compute until the peer has seen it; say whether it has.

    The peer makes the file that the query names, for nothing else reaches a worker that
    computes.
    """
    ws = environ["wsgi.websocket"]
    ws.receive()
    ws.send("first")
    patience = time.monotonic() + 8
    while not os.path.exists(environ["QUERY_STRING"]) and time.monotonic() < patience:
        pass
    ws.send("seen" if time.monotonic() < patience else "not seen")
    ws.receive()
    return []


room = set()


def broadcast(environ, start_response):
    """Send what comes in to everyone in the room."""
    ws = environ["wsgi.websocket"]
    room.add(ws)
    try:
        for message in ws:
            for other in list(room):
                other.send(message)
    finally:
        room.discard(ws)
    return []


def counted(environ, start_response):
    """Echo, and say in the log at the end how many sends the server took."""
    ws = environ["wsgi.websocket"]
    count = 0
    try:
        for message in ws:
            ws.send(message)
            count += 1
    except ConnectionClosed:
        pass
    report("COUNTED", environ["QUERY_STRING"], count, ws.close_code)
    return []


def last_words(environ, start_response):
    """Say in the log when the close has woken the blocked receive()."""
    ws = environ["wsgi.websocket"]
    ws.send("ready")
    message = ws.receive()
    report("WOKEN", message, ws.close_code)
    return []


def lingering(environ, start_response):
    """Take as long to end after the close as the query says."""
    ws = environ["wsgi.websocket"]
    ws.send("ready")
    while ws.receive() is not None:
        pass
    gevent.sleep(float(environ["QUERY_STRING"]))
    report("LINGERED")
    return []


def watch(environ, start_response):
    """Look at `closed` now and then, without receiving."""
    ws = environ["wsgi.websocket"]
    ws.send("ready")
    while not ws.closed:
        gevent.sleep(0.05)
    report("SEEN CLOSED", ws.close_code)
    return []


def keepalive(environ, start_response):
    """Send the keepalive settings of the connection's socket."""
    sock = environ["gunicorn.socket"]
    ws = environ["wsgi.websocket"]
    ws.accept()
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    settings = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
    settings += [
        sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names
    ]
    ws.send(" ".join(map(str, settings)))
    return []


PATHS = {
    "/": home,
    "/accept": accept_with,
    "/broadcast": broadcast,
    "/census": census,
    "/close": close_with,
    "/compute": compute,
    "/compute-until-seen": compute_until_seen,
    "/counted": counted,
    "/delete": delete,
    "/echo": echo,
    "/executed": list_executed,
    "/exits": handler_exits,
    "/exits-lazily": handler_exits_lazily,
    "/goodbye": goodbye,
    "/has-websocket": has_websocket,
    "/hints": hints,
    "/info": info,
    "/keepalive": keepalive,
    "/last-words": last_words,
    "/lingering": lingering,
    "/live": count_live,
    "/many-senders": many_senders,
    "/never-used": never_used,
    "/nibble": nibble,
    "/old-style": old_style,
    "/post": post,
    "/produce": produce,
    "/produce-and-leave": produce_and_leave,
    "/raises": handler_raises,
    "/raises-early": raises_before_use,
    "/redirect": redirect,
    "/refuse-and-keep": refuse_and_keep,
    "/report-close": report_close,
    "/response-fails": response_fails,
    "/returns": handler_returns,
    "/stream": stream,
    "/ticks": sends_forever,
    "/timeout": timeout,
    "/too-late": too_late,
    "/two-receivers": two_receivers,
    "/unauthorized": unauthorized,
    "/use-kept": use_kept,
    "/watch": watch,
}


HTTP = {
    census,
    count_live,
    delete,
    has_websocket,
    home,
    list_executed,
    post,
    raises_before_use,
    redirect,
    stream,
    unauthorized,
    use_kept,
}


def bare(environ, start_response):
    """Dispatch on the path."""
    handler = PATHS.get(environ["PATH_INFO"])
    if handler is None:
        return plain(start_response, "404 Not Found", "nothing here\n")
    if handler not in HTTP and "wsgi.websocket" not in environ:
        return plain(start_response, "400 Bad Request", "expected a websocket\n")
    return handler(environ, start_response)


app = WebSocketMiddleware(
    bare,
    allowed_origins=lambda origin: "evil" not in origin,
    subprotocols=["v2.chat", "v1.chat"],
    max_message_size=LIMIT,
)
