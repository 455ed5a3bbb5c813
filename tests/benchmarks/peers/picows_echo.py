"""picows on uvloop: Cython throughout, and callbacks rather than code that blocks.

It has no permessage-deflate, and leaves UTF-8 and fragments to its user.
"""

import socket
import sys

import uvloop
from picows import (
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

FANOUT = "fanout" in sys.argv
DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
connections = set()


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type in DATA:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


class Fanout(Echo):
    def on_ws_connected(self, transport):
        connections.add(transport)

    def on_ws_disconnected(self, transport):
        connections.discard(transport)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type in DATA:
            message = frame.get_payload_as_bytes()
            for receiver in connections:
                receiver.send(frame.msg_type, message)


def listener(request):
    if request.path == b"/":
        page = WSUpgradeResponse.create_ok_response(body=b"hello\n")
        return WSUpgradeResponseWithListener(page, None)
    return Fanout() if FANOUT else Echo()


async def main():
    server = await ws_create_server(
        listener, sock=socket.socket(fileno=int(sys.argv[1]))
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
