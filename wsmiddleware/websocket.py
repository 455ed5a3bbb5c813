# cython: annotation_typing=False, nonecheck=True
"""`WebSocket`: a protocol and a transport, joined; what an application holds.

The transport pushes octets into the protocol; messages wait in a queue for the
application, pings are answered and closes acted upon without it. The peer's close and
its faults take their turn in the queue behind the messages that came before them.

    data_received -> Protocol.receive_data -> queue -> receive
    send -> Protocol.send_text -> Transport.write
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic
from types import TracebackType
from typing import Any, TypeAlias

from wsmiddleware.deadlines import Deadlines, still_takes
from wsmiddleware.events import (
    ChallengeResponse,
    Close,
    CloseCode,
    Event,
    Fail,
    Ping,
    Pong,
)
from wsmiddleware.exceptions import ConcurrencyError, ConnectionClosed, WebSocketError
from wsmiddleware.handshake import Headers
from wsmiddleware.options import Options
from wsmiddleware.protocol import CLOSED, CONNECTING, Protocol
from wsmiddleware.reactor import Reactor, Waiter
from wsmiddleware.transport import Receiver, Transport

__all__ = ["Opening", "ThreadedWebSocket", "WebSocket"]

logger = logging.getLogger("wsmiddleware")

# An application that answers a burst of messages within so many seconds may find the
# next burst without a turn of the loop, and its answers leave together.
QUICK = 0.001
# How many events are taken at a stretch before others have their turn
QUEUE_PART = 64

Opening: TypeAlias = Callable[[str | None, Headers], tuple[Protocol, Transport, bytes]]
"""Completes the handshake: the protocol, the transport, and what is sent first."""


class WebSocket(Receiver):
    """Send and receive messages; the same on a server and on a client.

    On a server the handshake is completed on first use (`receive`, `send`,
    iteration) or by `accept`; until then the request is HTTP, and whatever response
    the application returns is the refusal.

    `version` names the protocol, `origin` is the page's origin or None, `path` the
    requested path with its query, `environ` the request's WSGI environ (None on a
    client). After the close, `close_code` and `close_reason` say how it ended and
    `closed_by` who began it: "local" or "peer".
    """

    def __init__(
        self,
        opening: Opening,
        options: Options,
        reactor: Reactor,
        *,
        client: bool = False,
        version: str = "13",
        origin: str | None = None,
        path: str = "/",
        environ: Mapping[str, Any] | None = None,
    ) -> None:
        self.version = version
        self.origin = origin
        self.path = path
        self.environ = environ
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed_by: str | None = None
        self.latency: float | None = None
        self.messages_received = 0
        self.messages_sent = 0
        self.messages_dropped = 0
        self._opening: Opening | None = opening
        self._options = options
        self._reactor = reactor
        self._client = client
        self._protocol: Any = None
        self._transport: Any = None
        self._lock = reactor.lock()
        self._receiver: Any = reactor.waiter(self._lock)
        self._receiving = False
        self._waiters: list[Waiter] = []
        # What waits for the application, from `_next` on; empty when nothing does.
        self._queue: list[Event] = []
        self._next = 0
        self._ended = False
        self._pong: bytes | None = None
        self._deadlines = Deadlines(self, options, reactor)
        self._pinged_at = 0.0
        self._ping_count = 0
        self._controls = 0
        self._controls_since = 0.0
        self._outbox: deque[str | bytes] | None = None
        self._outbox_size = 0
        self._queued = 0
        self._max_queue = options.max_queue
        self._max_queued = options.max_message_size
        self._max_buffered = options.max_buffered
        if options.overflow == "drop_oldest":
            # One half is encoded and leaves in any case, the other can be dropped.
            self._max_buffered = options.max_buffered // 2

    # What an application asks

    @property
    def closed(self) -> bool:
        """Tell whether the connection is closed, or about to be."""
        return self._ended

    @property
    def subprotocol(self) -> str | None:
        """Return the subprotocol that was agreed, None before the handshake."""
        return self._protocol.subprotocol if self._protocol is not None else None

    @property
    def buffered_amount(self) -> int:
        """Return how many bytes wait for the peer to take them."""
        if self._transport is None:
            return 0
        return int(self._transport.buffered) + self._outbox_size

    @property
    def bytes_sent(self) -> int:
        """Return how many bytes were sent, with the handshake."""
        return self._transport.bytes_sent if self._transport is not None else 0

    @property
    def bytes_received(self) -> int:
        """Return how many bytes were received after the handshake."""
        return self._transport.bytes_received if self._transport is not None else 0

    @property
    def options(self) -> Options:
        """Return the settings of this connection."""
        return self._options

    @property
    def accepted(self) -> bool:
        """Tell whether the handshake has been answered."""
        return self._protocol is not None

    def __repr__(self) -> str:
        state = "closed" if self._ended else "open" if self.accepted else "connecting"
        return f"<WebSocket {self.path} version {self.version} {state}>"

    # The handshake

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Complete the handshake.

        `subprotocol` overrides the choice by the options; `headers` are added to the
        answer. Raises ValueError for a subprotocol that the client did not offer or a
        header that cannot be sent, WebSocketError when the handshake is already
        completed, ConnectionClosed when the peer goes away meanwhile.
        """
        if self._opening is None or self._protocol is not None:
            raise WebSocketError("the handshake is already completed")
        if self._ended:
            raise ConnectionClosed(self.close_code or 1006, self.close_reason)
        protocol, transport, head = self._opening(subprotocol, headers)
        self._protocol = protocol
        self._transport = transport
        transport.write(head)
        transport.start(self)
        if not self._ended:
            self._start_deadlines(protocol, transport)
            if protocol.state == CONNECTING:
                self._finish_accept()
        self._opening = None

    def _start_deadlines(self, protocol: Protocol, transport: Transport) -> None:
        if not protocol.has_ping:
            transport.keep_alive(
                self._options.ping_interval, self._options.ping_timeout
            )
        self._deadlines.start(protocol.has_ping)

    def _accept_or_wait(self) -> None:
        # Somebody else may be at it, or have been interrupted while waiting.
        if self._protocol is None:
            self.accept()
        elif not self._ended:
            self._finish_accept()
            self._opening = None

    def _finish_accept(self) -> None:
        # Draft 76: the client's last eight octets are still on their way.
        def is_decided() -> bool:
            return bool(self._protocol.state != CONNECTING or self._ended)

        if not self._wait_until(is_decided, self._options.handshake_timeout):
            self._end(CloseCode.ABNORMAL_CLOSURE, "handshake timed out", "local")
            self._transport.abort()
        if self._ended:
            raise ConnectionClosed(self.close_code or 1006, self.close_reason)

    # Receiving

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Return the next message: `str` for text, `bytes` for binary.

        Returns None once the connection is closed. Raises TimeoutError when no
        message came within `timeout` seconds, and nothing is lost by that;
        ConcurrencyError when another caller is receiving.
        """
        if self._opening is not None:
            try:
                self._accept_or_wait()
            except ConnectionClosed:
                return None
        give_up_at = None if timeout is None else monotonic() + timeout
        while True:
            if self._next == QUEUE_PART:
                self._give_way()
            if self._queue:
                event = self._queue[self._next]
                self._next += 1
                if self._next == len(self._queue):
                    self._queue.clear()
                    self._next = self._queued = 0
                    if self._transport.reading_is_paused:
                        self._transport.resume_reading()
                if isinstance(event, (str, bytes)):
                    return event
                self._act(event)
            if self._ended:
                return None
            self._wait_for_event(give_up_at)

    def _give_way(self) -> None:
        # A peer that sends faster than we read would keep everybody else waiting.
        del self._queue[:QUEUE_PART]
        self._next = 0
        self._receiver.give_way()

    def _wait_for_event(self, give_up_at: float | None) -> None:
        if self._receiving:
            raise ConcurrencyError("another greenlet or thread is already receiving")
        if self._transport.buffered:
            self._transport.flush()
            if self._ended:  # the peer was found gone, and nothing will wake us
                return
        left = None if give_up_at is None else give_up_at - monotonic()
        if left is not None and left <= 0:
            self._transport.poll()
        else:
            self._receiving = True
            try:
                self._receiver.wait(left)
            finally:
                self._receiving = False
        is_over = give_up_at is not None and monotonic() >= give_up_at
        if is_over and not self._queue and not self._ended:
            raise TimeoutError("no message came in time")

    def __iter__(self) -> "WebSocket":
        """Iterate over the messages, until the connection is closed."""
        return self

    def __next__(self) -> str | bytes:
        """Return the next message."""
        message = self.receive()
        if message is None:
            raise StopIteration
        return message

    def receive_json(self, timeout: float | None = None) -> Any:
        """Return the next message as JSON; raises ConnectionClosed once closed."""
        message = self.receive(timeout)
        if message is None:
            raise ConnectionClosed(self.close_code or 1006, self.close_reason)
        return json.loads(message)

    # Sending

    def send(
        self,
        data: str | bytes | bytearray | memoryview | None,
        binary: bool | None = None,
    ) -> None:
        """Send a message: `str` as text, `bytes` as binary unless `binary` says.

        Blocks while more than the options' `max_buffered` bytes wait for the peer.
        Any number of callers may send; messages never mix. Raises ConnectionClosed
        once the connection is closed, TimeoutError when there was no room within
        `send_timeout`, TypeError for binary data where the version carries text only.
        """
        if self._opening is not None:
            self._accept_or_wait()
        full = self._transport.buffered >= self._max_buffered
        if (full or self._outbox) and not self._make_room(data, binary):
            return
        if self._ended or self._transport.closed:
            raise ConnectionClosed(self.close_code or 1006, self.close_reason)
        if type(data) is str and not binary:
            octets = self._protocol.send_text(data)
        else:
            octets = self._encode(data, binary)
        self.messages_sent += 1
        self._deadlines.active = True
        self._transport.write(octets)

    def _encode(self, data: Any, binary: bool | None) -> bytes:
        message = _as_message(data, binary)
        if isinstance(message, str):
            return bytes(self._protocol.send_text(message))
        return bytes(self._protocol.send_binary(message))

    def _make_room(self, data: Any, binary: bool | None) -> bool:
        """Tell whether the message is to be sent now, as the overflow option says."""
        # What is only waiting to be joined with more is not the peer's doing.
        self._transport.flush()
        if self._transport.buffered < self._max_buffered and not self._outbox:
            return True
        match self._options.overflow:
            case "drop_newest":
                self.messages_dropped += 1
                return False
            case "drop_oldest":
                self._put_out(data, binary)
                return False
            case "close":
                self.start_close(CloseCode.TRY_AGAIN_LATER, "too slow")
                return True
        return self._wait_for_room()

    def _put_out(self, data: Any, binary: bool | None) -> None:
        # Not encoded yet: a compressed message cannot be dropped any more, because
        # those behind it may refer to it.
        message = self._check(_as_message(data, binary))
        if self._outbox is None:
            self._outbox = deque()
        self._outbox.append(message)
        self._outbox_size += len(message)
        limit = self._options.max_buffered - self._max_buffered
        while self._outbox_size > limit and len(self._outbox) > 1:
            self._outbox_size -= len(self._outbox.popleft())
            self.messages_dropped += 1

    def _check(self, message: Any) -> str | bytes:
        # What cannot be sent is found out while its sender can be told, and what its
        # sender may change is copied.
        if isinstance(message, str):
            message.encode()
            return message
        if not self._protocol.has_ping:  # a draft that carries text only
            self._protocol.send_binary(b"")
        return bytes(memoryview(message))

    def _take_outbox(self) -> deque[str | bytes]:
        outbox, self._outbox = self._outbox, None
        self._outbox_size = 0
        return outbox or deque()

    def _empty_outbox(self) -> None:
        outbox = self._take_outbox()
        while outbox and not self._ended:
            self.send(outbox.popleft())

    def _send_outbox(self) -> None:
        # Nothing can be dropped any more: the close comes behind it.
        for message in self._take_outbox():
            self._transport.write(self._encode(message, None))
            self.messages_sent += 1

    def _wait_for_room(self) -> bool:
        def has_room() -> bool:
            return bool(
                self._transport.buffered < self._options.max_buffered or self._ended
            )

        if not self._wait_until(has_room, self._options.send_timeout):
            raise TimeoutError("the peer did not take what was sent in time")
        return True

    def send_shared(self, message: str | bytes, encoded: dict[Any, bytes]) -> bool:
        """Send what goes to other connections as well, if that can be done at once.

        `wsmiddleware.broadcast` calls it; `encoded` holds the octets that were made
        for others.
        """
        transport = self._transport
        if self._opening is not None or self._ended or transport.closed:
            return False
        if self._outbox or transport.buffered >= self._max_buffered:
            return False
        try:
            octets = self._protocol.send_shared(message, encoded)
        except (ConnectionClosed, TypeError):
            return False
        self.messages_sent += 1
        self._deadlines.active = True
        transport.write(octets)
        return True

    def send_json(self, value: Any) -> None:
        """Send a value as a JSON text message."""
        self.send(json.dumps(value, separators=(",", ":"), ensure_ascii=False))

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping of at most 125 bytes; does nothing where there is no ping."""
        if self._opening is not None:
            self._accept_or_wait()
        if self._ended:
            raise ConnectionClosed(self.close_code or 1006, self.close_reason)
        self._transport.write(self._protocol.send_ping(payload))

    # Closing

    def close(self, code: int | None = 1000, reason: str | bytes = "") -> None:
        """Close the connection and wait until it is.

        The peer has `close_timeout` to answer, and as long as it takes what was sent
        before, `send_timeout` for that.

        Closing again does nothing. Raises ValueError for a code or a reason that may
        not be sent (RFC 6455, section 7.4).
        """
        self.start_close(code, reason)
        # The deadlines see to it that it ends; but a loop may have ended before.
        _, taken = self.outstanding()
        while not self.wait_closed(self._options.close_timeout + 1):
            takes, taken = still_takes(self, taken)
            if not takes:
                break

    def start_close(self, code: int | None = 1000, reason: str | bytes = "") -> None:
        """Send the close and return at once; blocked receivers get None."""
        if self._protocol is None:
            try:
                self.accept()
            except ConnectionClosed:
                return
        text = reason.decode() if isinstance(reason, bytes) else reason
        last = self._queue[-1] if self._queue else None
        if isinstance(last, (Close, Fail)):
            self._act(last)
        if self._ended:
            self._transport.resume_reading()
            return
        self._send_outbox()
        octets = self._protocol.send_close(code, text)
        self._transport.write(octets)
        self._end(code or CloseCode.NO_STATUS_RECEIVED, text, "local")
        if self._protocol.state == CLOSED:
            self._leave()
        self._transport.resume_reading()

    def go_away(self) -> None:
        """Send the close of a server that stops, if the handshake was completed."""
        if self.accepted and not self._ended:
            self.start_close(self._options.drain_code, "the server is going away")

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection is closed; tell whether it is.

        `timeout` is in seconds.
        """
        if self._transport is None:
            return self._ended

        def is_closed() -> bool:
            return bool(self._transport.closed)

        self._transport.flush()
        return self._wait_until(is_closed, timeout)

    def abort(self, reason: str) -> None:
        """Drop the connection without a close; `close_code` is 1006."""
        self._end(CloseCode.ABNORMAL_CLOSURE, reason, "local")
        if self._transport is not None:
            self._transport.abort()

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, Exception):
            self.close(CloseCode.INTERNAL_ERROR)
        else:
            self.close(CloseCode.GOING_AWAY)

    # What the transport reports

    def data_received(self, data: bytes) -> bool:
        """Take octets from the peer; tell whether more is likely to be there.

        It is when a burst of messages came and the application was quick with them.
        """
        self._deadlines.heard = True
        events = self._protocol.receive_data(data)
        began = monotonic() if len(events) > 1 else 0.0
        size = 0
        for event in events:
            if not isinstance(event, (str, bytes)):
                self._take_in_turn(events)
                break
            size += len(event)
        else:
            if not self._ended:
                self.messages_received += len(events)
                self._queued += size
                self._queue.extend(events)
        if self._queue:
            self._deadlines.active = True
            self._receiver.wake_now()
            # Whoever was waiting has run meanwhile, and may have taken them all.
            waiting = len(self._queue) - self._next
            if waiting >= self._max_queue or self._queued > self._max_queued:
                self._transport.pause_reading()
        return began > 0.0 and monotonic() - began < QUICK

    def _take_in_turn(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, (str, bytes)):
                self._handle(event)
            elif not self._ended:
                self.messages_received += 1
                self._queued += len(event)
                self._queue.append(event)

    def _handle(self, event: Event) -> None:
        if isinstance(event, (Ping, Pong)) and not self._may_send_control():
            return
        match event:
            case Ping():
                self._answer_ping(event.payload)
            case Pong():
                if self._pinged_at and event.payload == self._ping_payload():
                    self.latency = monotonic() - self._pinged_at
            case ChallengeResponse():
                self._transport.write(event.payload)
                self._notify()
            case Close() | Fail():
                self._end_in_turn(event)

    def _may_send_control(self) -> bool:
        # 10.4 leaves limits to us: a peer that floods with pings gets nothing else.
        now = monotonic()
        if now - self._controls_since >= 1.0:
            self._controls_since = now
            self._controls = 0
        self._controls += 1
        if self._controls <= self._options.max_pings:
            return True
        reason = f"more than {self._options.max_pings} control frames a second"
        self._end_in_turn(Fail(CloseCode.POLICY_VIOLATION.value, reason))
        return False

    def _answer_ping(self, payload: bytes) -> None:
        # 5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong
        # frame(s) in response to previous Ping frame(s), the endpoint MAY elect to
        # send a Pong frame for only the most recently processed Ping frame."
        # Every ping is answered until the peer has left too much untaken.
        if self._transport.buffered >= self._options.max_buffered:
            self._pong = payload
        else:
            self._transport.write(self._protocol.send_pong(payload))

    def drained(self) -> None:
        """Learn that the peer took all that was buffered."""
        if self._pong is not None:
            payload, self._pong = self._pong, None
            self._transport.write(self._protocol.send_pong(payload))
        if self._outbox:
            self._empty_outbox()
        self._notify()

    def stalled(self) -> None:
        """Learn that the peer does not take what was sent."""
        self._deadlines.start_stall()

    def eof_received(self) -> None:
        """Learn that the peer will send nothing more."""
        # Draft 55, section 6: "There is no closing handshake"; elsewhere an end
        # without one is abnormal (RFC 6455, 7.1.5).
        if self.version == "55" and self._client:
            self._act_early(Close(CloseCode.NO_STATUS_RECEIVED.value, ""))
        elif self.version == "55":
            self._end_in_turn(Close(CloseCode.NO_STATUS_RECEIVED.value, ""))
        else:
            self._end_in_turn(_LOST)

    def connection_lost(self) -> None:
        """Learn that the transport is closed."""
        self._end_in_turn(_LOST)
        self._deadlines.stop()
        self._notify()

    # The end

    def _end_in_turn(self, event: Close | Fail) -> None:
        if self._ended or not self._queue:
            self._act(event)
        elif not isinstance(self._queue[-1], (Close, Fail)):
            self._queue.append(event)
            self._deadlines.start_close()

    def _act(self, event: Event) -> None:
        """Act on the peer's close, its fault, or its disappearance."""
        assert isinstance(event, (Close, Fail))
        if isinstance(event, Fail) and event is not _LOST:
            path = self.path.partition("?")[0]
            logger.info("%s: failed with %d: %s", path, event.code, event.reason)
        if self._client and not self._protocol.has_ping:
            # Draft 55, 4.3: "user agents must not convey the failure information to
            # the script that attempted the connection in a way distinguishable from
            # the Web Socket being closed normally."
            self._end(CloseCode.NO_STATUS_RECEIVED, "", "peer")
        else:
            self._end(event.code, event.reason, "peer")
        if event is _LOST:
            self._transport.finish()
            return
        # 5.5.1: "When sending a Close frame in response, the endpoint typically echos
        # the status code it received."
        no_code = event.code == CloseCode.NO_STATUS_RECEIVED
        reason = event.reason if isinstance(event, Fail) else ""
        self._transport.write(
            self._protocol.send_close(None if no_code else event.code, reason)
        )
        # 7.1.1: "the server MUST close the TCP connection immediately [...] a client
        # SHOULD wait for the server to close the connection". Draft 55, 6: "When a user
        # agent notices that the Web Socket connection is closed, it must immediately
        # close its side of the connection." Draft 76 is the same.
        if not self._client or isinstance(event, Fail):
            self._transport.finish()
        elif not self._protocol.has_ping:
            self._leave()

    def _act_early(self, event: Close | Fail) -> None:
        """Act before the application has come to all messages, which stay."""
        messages = self._queue[self._next :]
        self._act(event)
        self._queue[:] = messages
        self._next = 0

    def _leave(self) -> None:
        """End the sending side; a client of drafts 55 and 76 does not wait."""
        self._transport.finish()
        # Draft 55, 6: "When a user agent is to close the Web Socket connection, it must
        # drop all subsequent data from the server and must act as if the server had
        # immediately closed its side of the connection."
        if (
            self._client
            and not self._protocol.has_ping
            and not self._transport.buffered
        ):
            self._transport.abort()

    def _end(self, code: int, reason: str, by: str) -> None:
        if self._ended:
            return
        self._ended = True
        self.close_code = int(code)
        self.close_reason = reason
        self.closed_by = by
        self._queue.clear()
        self._next = 0
        self._take_outbox()
        self._deadlines.start_close()
        self._receiver.wake()
        self._notify()

    # Waiting

    def _wait_until(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        give_up_at = inf if timeout is None else monotonic() + timeout
        waiter = self._reactor.waiter(self._lock)
        self._waiters.append(waiter)
        try:
            while not ready():
                left = give_up_at - monotonic()
                if left <= 0:
                    return False
                waiter.wait(None if left == inf else left)
            return True
        finally:
            self._waiters.remove(waiter)

    def _notify(self) -> None:
        for waiter in self._waiters:
            waiter.wake()

    # What the deadlines ask

    @property
    def is_gone(self) -> bool:
        """Tell whether the transport is closed."""
        return self._transport is None or bool(self._transport.closed)

    def outstanding(self) -> tuple[int, int]:
        """Return how many bytes wait for the peer, and how many it has taken."""
        if self._transport is None:
            return 0, 0
        held = self._transport.unacknowledged()
        return self.buffered_amount + held, self.bytes_sent - held

    @property
    def reading_is_paused(self) -> bool:
        """Tell whether nothing is read because the application lags behind."""
        return bool(self._transport.reading_is_paused)

    def check_deadlines(self) -> None:
        """Act on what is due; the reactor calls it."""
        if not self.is_gone:
            self._deadlines.check()

    def send_keepalive(self) -> None:
        """Ping the peer."""
        self._pinged_at = monotonic()
        self._ping_count += 1
        self._transport.write(self._protocol.send_ping(self._ping_payload()))

    def end_overdue(self) -> None:
        """Close although the application did not come to it, or the peer did not."""
        last = self._queue[-1] if self._queue else None
        if isinstance(last, (Close, Fail)) and not self._ended:
            self._queue.pop()
            self._act_early(last)
        else:
            self.abort("the peer did not answer the close")

    def _ping_payload(self) -> bytes:
        return b"%d" % self._ping_count


def _as_message(data: Any, binary: bool | None) -> Any:
    """Return what is to be sent: a `str` as text, all else as binary."""
    if data is None:
        data = ""
    elif isinstance(data, str) and type(data) is not str:
        data = str.__str__(data)  # compiled, a protocol takes nothing but a str
    if binary is None or binary != isinstance(data, str):
        return data
    return data.encode() if binary else bytes(memoryview(data)).decode()


_LOST = Fail(CloseCode.ABNORMAL_CLOSURE.value, "connection lost")


class ThreadedWebSocket(WebSocket):
    """Be a WebSocket that any thread may use; one lock guards it and its transport.

    The transport's callbacks come from the loop's thread, with the lock held.
    """

    @property
    def lock(self) -> Any:
        """Return the lock, which its holder may take again."""
        return self._lock

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Complete the handshake."""
        with self._lock:
            super().accept(subprotocol, headers)

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Return the next message, or None once the connection is closed."""
        with self._lock:
            return super().receive(timeout)

    def send(self, data: Any, binary: bool | None = None) -> None:
        """Send a message."""
        with self._lock:
            super().send(data, binary)

    def send_shared(self, message: str | bytes, encoded: dict[Any, bytes]) -> bool:
        """Send what goes to other connections as well."""
        with self._lock:
            return super().send_shared(message, encoded)

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        with self._lock:
            super().ping(payload)

    def start_close(self, code: int | None = 1000, reason: str | bytes = "") -> None:
        """Send the close and return at once."""
        with self._lock:
            super().start_close(code, reason)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection is closed; tell whether it is."""
        with self._lock:
            return super().wait_closed(timeout)

    def abort(self, reason: str) -> None:
        """Drop the connection without a close."""
        with self._lock:
            super().abort(reason)

    def check_deadlines(self) -> None:
        """Act on what is due; the reactor calls it."""
        with self._lock:
            super().check_deadlines()
