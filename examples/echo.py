"""Echo every message on /echo and answer plain HTTP everywhere else.

Start it on the worker of this project, or on gunicorn's own:

    gunicorn --chdir examples -k wsmiddleware.worker.WebSocketWorker echo:app
    gunicorn --chdir examples -k gevent echo:app

and connect to ws://127.0.0.1:8000/echo.
"""

from wsmiddleware import WebSocketMiddleware


def application(environ, start_response):
    """Serve one request; an upgrade brings its WebSocket in the environ."""
    if environ["PATH_INFO"] != "/echo":
        return answer(start_response, "200 OK", "Messages are echoed on /echo.\n")
    websocket = environ.get("wsgi.websocket")
    if websocket is None:
        return answer(start_response, "426 Upgrade Required", "Connect with ws://\n")
    for message in websocket:
        websocket.send(message)
    return []


def answer(start_response, status, text):
    body = text.encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
    ]
    start_response(status, headers)
    return [body]


# An echo knows no users and no cookies, so that pages of any site may use it.
# Leave allowed_origins out in an application that does: then only its own pages may.
app = WebSocketMiddleware(application, allowed_origins="*")
