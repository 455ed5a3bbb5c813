"""gevent's StreamServer and its `recv` and `sendall`: an echo with no WebSocket at all.

The yardstick of every ratio.  With `fanout` it sends what one connection says to all of
them, each with one bare `send` of the ready bytes.
"""

import sys

from gevent import socket
from gevent.server import StreamServer


def echo(connection: socket.socket, address: object) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


connections: set[socket.socket] = set()


def fanout(connection: socket.socket, address: object) -> None:
    connections.add(connection)
    try:
        while data := connection.recv(65536):
            for receiver in connections:
                receiver.send(data)
    finally:
        connections.discard(connection)


if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[1]))
    StreamServer(listener, fanout if "fanout" in sys.argv else echo).serve_forever()
