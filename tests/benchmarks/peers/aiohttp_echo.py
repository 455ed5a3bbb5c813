"""aiohttp's server on uvloop, without its access log."""

import asyncio
import socket
import sys

import uvloop
from aiohttp import WSMsgType, web

DEFLATE = "deflate" in sys.argv
connections = set()


async def page(request):
    return web.Response(text="hello\n")


async def echo(request):
    ws = web.WebSocketResponse(compress=DEFLATE)
    await ws.prepare(request)
    connections.add(ws)
    receivers = connections if request.path == "/fanout" else [ws]
    try:
        async for message in ws:
            for receiver in list(receivers):
                if message.type == WSMsgType.TEXT:
                    await receiver.send_str(message.data)
                elif message.type == WSMsgType.BINARY:
                    await receiver.send_bytes(message.data)
    finally:
        connections.discard(ws)
    return ws


async def main():
    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/echo", echo)
    app.router.add_get("/fanout", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, socket.socket(fileno=int(sys.argv[1]))).start()
    await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main())
