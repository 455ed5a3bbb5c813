"""wsmiddleware's `broadcast`: what one connection says goes to all of them."""

from wsmiddleware import WebSocketMiddleware, broadcast

connections = set()


def fanout(environ, start_response):
    websocket = environ["wsgi.websocket"]
    websocket.accept()
    connections.add(websocket)
    try:
        for message in websocket:
            broadcast(connections, message)
    finally:
        connections.discard(websocket)
    return []


app = WebSocketMiddleware(fanout, allowed_origins="*")
