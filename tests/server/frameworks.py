"""Small applications as people wrote them for gevent-websocket, and in plain Flask.

None of them imports anything of this project.
"""

import bottle
import flask

# ---- Flask

flask_app = flask.Flask(__name__)


@flask_app.route("/")
def page():
    return "plain HTTP\n"


@flask_app.route("/echo")
def echo():
    ws = flask.request.environ.get("wsgi.websocket")
    if not ws:
        flask.abort(400, "Expected WebSocket request.")
    while not ws.closed:
        message = ws.receive()
        if message is None:
            break
        ws.send(message)
    return ""


@flask_app.route("/declared", websocket=True)
def declared():
    """Echo on a rule that is declared to be for WebSockets only."""
    for message in flask.request.environ["wsgi.websocket"]:
        flask.request.environ["wsgi.websocket"].send(message)
    return ""


@flask_app.route("/room/<name>")
def room(name):
    ws = flask.request.environ["wsgi.websocket"]
    ws.send(f"{name} {flask.request.args['user']} {flask.request.cookies['who']}")
    ws.close(4001, "that was all")
    return "ignored"


@flask_app.route("/login")
def login():
    flask.abort(401)


blueprint = flask.Blueprint("chat", __name__, url_prefix="/chat")


@blueprint.route("/echo")
def chat():
    return echo()


flask_app.register_blueprint(blueprint)

# ---- Bottle

bottle_app = bottle.Bottle()


@bottle_app.route("/")
def bottle_page():
    return "plain HTTP\n"


@bottle_app.route("/echo")
def bottle_echo():
    ws = bottle.request.environ.get("wsgi.websocket")
    if not ws:
        bottle.abort(400, "Expected WebSocket request.")
    while True:
        message = ws.receive()
        if message is None:
            break
        ws.send(message)


@bottle_app.route("/room/<name>")
def bottle_room(name):
    ws = bottle.request.environ["wsgi.websocket"]
    user, who = bottle.request.query.user, bottle.request.get_cookie("who")
    ws.send(f"{name} {user} {who}")
    ws.close(4001, "that was all")
    return "ignored"


@bottle_app.route("/login")
def bottle_login():
    bottle.abort(401)


# ---- plain WSGI


def wsgi_app(environ, start_response):
    """Serve the same paths without any framework."""
    path = environ["PATH_INFO"]
    ws = environ.get("wsgi.websocket")
    if path == "/login":
        start_response("401 Unauthorized", [("Content-Length", "0")])
        return []
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"plain HTTP\n"]
    if path == "/echo":
        while (message := ws.receive()) is not None:
            ws.send(message)
    else:
        name = path.rpartition("/")[2]
        user = environ["QUERY_STRING"].partition("=")[2]
        who = environ["HTTP_COOKIE"].partition("=")[2]
        ws.send(f"{name} {user} {who}")
        ws.close(4001, "that was all")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ignored"]
