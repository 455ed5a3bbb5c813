"""The `websockets` library on uvloop, without compression unless it is measured.

Its documentation recommends uvloop, `compression=None` where memory or speed count, and
`broadcast` for many receivers.
"""

import asyncio
import socket
import sys

import uvloop
from websockets.asyncio.server import broadcast, serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


connections = set()


async def fanout(connection):
    connections.add(connection)
    try:
        async for message in connection:
            broadcast(connections, message)
    finally:
        connections.discard(connection)


def page(connection, request):
    if request.path == "/":
        return connection.respond(200, "hello\n")
    return None


async def main():
    handler = fanout if "fanout" in sys.argv else echo
    listener = socket.socket(fileno=int(sys.argv[1]))
    compression = "deflate" if "deflate" in sys.argv else None
    async with serve(
        handler, sock=listener, compression=compression, process_request=page
    ):
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main())
