"""uvicorn with uvloop and httptools, on either of its WebSocket implementations.

Not `--fd`: uvicorn takes such a socket for a UNIX one and leaves Nagle's algorithm on.
"""

import socket
import sys

import uvicorn

connections = set()


async def app(scope, receive, send):
    if scope["type"] == "http":
        head = {"type": "http.response.start", "status": 200, "headers": []}
        await send(head)
        await send({"type": "http.response.body", "body": b"hello\n"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    connections.add(send)
    receivers = connections if scope["path"] == "/fanout" else [send]
    try:
        while (event := await receive())["type"] == "websocket.receive":
            event["type"] = "websocket.send"
            for send_one in list(receivers):
                await send_one(event)
    finally:
        connections.discard(send)


if __name__ == "__main__":
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws=sys.argv[2],
        ws_per_message_deflate="deflate" in sys.argv,
        access_log=False,
        log_level="warning",
        lifespan="off",
    )
    listener = socket.socket(fileno=int(sys.argv[1]))
    uvicorn.Server(config).run(sockets=[listener])
