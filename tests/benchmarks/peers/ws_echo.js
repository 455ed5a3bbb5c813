// node's `ws`, with the bufferutil addon that its documentation recommends.
"use strict";

const http = require("http");
const { WebSocket, WebSocketServer } = require("ws");

const fanout = process.argv.includes("fanout");
const page = http.createServer((request, response) => response.end("hello\n"));
const server = new WebSocketServer({
  server: page,
  perMessageDeflate: process.argv.includes("deflate")
    ? { threshold: 0 } : false,
});

server.on("connection", (ws) => {
  ws.on("error", () => {});
  ws.on("message", (message, binary) => {
    if (!fanout) {
      ws.send(message, { binary });
      return;
    }
    for (const receiver of server.clients) {
      if (receiver.readyState === WebSocket.OPEN) {
        receiver.send(message, { binary });
      }
    }
  });
});

page.listen({ fd: Number(process.argv[2]) });
