"""Echo every message on /echo, in Flask, next to a page on the same port.

Start it on the worker of this project, or on gunicorn's own:

    gunicorn --chdir examples -k wsmiddleware.worker.WebSocketWorker flask_echo:app
    gunicorn --chdir examples -k gevent flask_echo:app

and open http://127.0.0.1:8000/.
"""

from flask import Flask, abort, request

from wsmiddleware import WebSocketMiddleware

app = Flask(__name__)

PAGE = """<!doctype html>
<html lang="en">
<title>Echo</title>
<form><input name="text" autofocus placeholder="Say something"></form>
<ul></ul>
<script>
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/echo");
  const show = (text) => {
    const item = document.createElement("li");
    item.textContent = text;
    document.querySelector("ul").append(item);
  };
  socket.onmessage = (event) => show(event.data);
  socket.onclose = (event) => show(`closed with ${event.code}`);
  document.forms[0].onsubmit = (event) => {
    event.preventDefault();
    socket.send(event.target.text.value);
    event.target.reset();
  };
</script>
"""


@app.route("/")
def page():
    return PAGE


@app.route("/echo")
def echo():
    websocket = request.environ.get("wsgi.websocket")
    if websocket is None:
        abort(400, "connect with ws://")
    for message in websocket:
        websocket.send(message)
    return ""  # nobody sees it: the connection is no longer HTTP


# Pages of the same origin only, which is the default.
app.wsgi_app = WebSocketMiddleware(app.wsgi_app)
