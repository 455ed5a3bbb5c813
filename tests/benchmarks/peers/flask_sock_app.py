"""flask-sock under gunicorn's gevent worker, as its documentation shows it."""

from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)
connections = set()


@app.route("/")
def page():
    return "hello\n"


@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())


@sock.route("/fanout")
def fanout(ws):
    connections.add(ws)
    try:
        while True:
            message = ws.receive()
            for receiver in list(connections):
                receiver.send(message)
    finally:
        connections.discard(ws)
