"""An ASGI echo, for uvicorn on uvloop and httptools with either of its WebSocket ends."""

connections = set()


async def app(scope, receive, send):
    if scope["type"] == "http":
        head = {"type": "http.response.start", "status": 200, "headers": []}
        await send(head)
        await send({"type": "http.response.body", "body": b"hello\n"})
        return
    if scope["type"] != "websocket":
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
