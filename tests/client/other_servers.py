"""Echo servers from the registry: `python other_servers.py NAME` prints its port.

Each echoes, refuses `/refused` with 403, and, asked to, agrees on a subprotocol.
"""

import sys


def serve_websockets():
    from websockets.sync.server import serve

    def echo(ws):
        for message in ws:
            ws.send(message)

    def process_request(connection, request):
        if request.path == "/refused":
            return connection.respond(403, "not here\n")
        return None

    def select_subprotocol(connection, offered):
        return "chat" if "chat" in offered else None

    server = serve(
        echo,
        "127.0.0.1",
        0,
        select_subprotocol=select_subprotocol,
        process_request=process_request,
        max_size=1 << 24,
    )
    with server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


def serve_aiohttp():
    import asyncio

    from aiohttp import WSMsgType, web

    async def echo(request):
        ws = web.WebSocketResponse(
            protocols=["superchat", "chat"], max_msg_size=1 << 24
        )
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    async def refuse(request):
        return web.Response(status=403, text="not here\n")

    async def main():
        app = web.Application()
        app.add_routes([web.get("/", echo), web.get("/refused", refuse)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_eventlet():
    import eventlet
    from eventlet import wsgi
    from eventlet.websocket import WebSocketWSGI

    def echo(ws):
        while (message := ws.wait()) is not None:
            ws.send(message)

    serve_websocket = WebSocketWSGI.configured(
        echo,
        supported_protocols=["superchat", "chat"],
        support_legacy_versions=True,
    )

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/refused":
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"not here\n"]
        return serve_websocket(environ, start_response)

    listener = eventlet.listen(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    wsgi.server(listener, application, log_output=False)


if __name__ == "__main__":
    globals()[f"serve_{sys.argv[1]}"]()
