# cython: annotation_typing=False, nonecheck=True
"""The socket of a connection: read, write, close, without ever blocking.

`Transport` pushes what it reads to its receiver and buffers what the peer does not
take. Whoever must wait (for a message, for room) does so elsewhere, so a slow peer
holds up nobody else. Reading costs one watcher that stays registered; a message that
is the first since the loop last ran leaves at once, those that follow it in the same
run leave together.

This is the only room that touches a socket.
"""

import socket
import ssl
import sys
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

from wsmiddleware.reactor import Reactor
from wsmiddleware.syscalls import read_some, write_pieces, write_some

__all__ = ["Receiver", "ThreadedTransport", "Transport"]

READ_SIZE = 1 << 16
MAX_READ_SIZE = 1 << 18
# Writes are joined up to this size.
FLUSH_SIZE = 1 << 16
KEEPALIVE_PROBES = 4
# Pieces that wait for the peer before they are joined
MAX_LOOSE = 256
# Reads of one connection before the loop turns to the others.
MAX_READS = 16

READABLE = 1
WRITABLE = 2


class Receiver:
    """Be what a transport reports to."""

    def data_received(self, data: bytes) -> bool:
        """Take what the peer sent; tell whether it came in a burst."""
        raise NotImplementedError

    def eof_received(self) -> None:
        """Learn that the peer will send nothing more."""
        raise NotImplementedError

    def connection_lost(self) -> None:
        """Learn that the transport is closed; nothing follows."""
        raise NotImplementedError

    def stalled(self) -> None:
        """Learn that the peer does not take what was sent."""
        raise NotImplementedError

    def drained(self) -> None:
        """Learn that the peer took all that was buffered."""
        raise NotImplementedError


class Transport:
    """Read and write a connected socket on a reactor's loop.

    `owns_socket` says whether closing the transport closes the socket, or only shuts
    it down because somebody else closes it. `initial` is what was read from the
    socket before the transport came.
    """

    def __init__(
        self,
        sock: Any,
        reactor: Reactor,
        *,
        owns_socket: bool = True,
        initial: bytes = b"",
    ) -> None:
        sock.settimeout(0.0)
        with suppress(OSError):  # a unix socket has no such thing
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._fd: int = sock.fileno()
        self._tls = hasattr(type(sock), "pending")
        self._reactor = reactor
        self._loop = reactor.loop
        # gevent's libuv loop does not count its iterations.
        self._joins_writes = reactor.joins_writes and hasattr(self._loop, "iteration")
        self._owns_socket = owns_socket
        self._initial = initial
        self._receiver: Any = None
        self._reader: Any = None
        self._writer: Any = None
        self._read_size = READ_SIZE
        self._out: list[Any] = []
        self._loose = 0
        # The turn of the loop in which something was last sent
        self._turn: int | None = None
        self._flush_scheduled = False
        self.reading_is_paused = False
        self._finishing = False
        self._peer_ended = False
        self.buffered = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.closed = False

    def start(self, receiver: Receiver) -> None:
        """Begin to read, first what had been read already."""
        self._receiver = receiver
        self._reactor.run(self._start)

    def _start(self) -> None:
        if self.closed:  # the peer went while the handshake was answered
            self._receiver.connection_lost()
            return
        self._reader = self._loop.io(self._fd, READABLE)
        initial, self._initial = self._initial, b""
        if initial:
            self._take(initial)
        if self._tls and not self.closed:
            self._on_readable()
        if not self.closed and not self.reading_is_paused:
            self._reader.start(self._on_readable)

    # Reading

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`: the application lags behind."""
        if not self.reading_is_paused and not self._finishing:
            self.reading_is_paused = True
            self._reactor.run(self._update_reader)

    def resume_reading(self) -> None:
        """Go on reading."""
        if self.reading_is_paused:
            self.reading_is_paused = False
            self._reactor.run(self._update_reader)

    def _update_reader(self) -> None:
        if self.closed or self._reader is None:
            return
        if self.reading_is_paused:
            self._reader.stop()
        elif not self._reader.active:
            self._reader.start(self._on_readable)
            if self._tls and self._sock.pending():
                self._loop.run_callback(self._on_readable)

    def poll(self) -> None:
        """Read what is there, without waiting for the loop."""
        self._on_readable()

    def _on_readable(self) -> None:
        reads = 1
        while self._read() and reads < MAX_READS:
            reads += 1

    def _read(self) -> bool:
        """Read once; tell whether reading again is likely to bring something."""
        if self.closed or self.reading_is_paused:
            return False
        try:
            if self._tls:
                data: bytes | None = self._read_tls()
            else:
                data = read_some(self._fd, self._read_size)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._start_writer()
            return False
        except OSError:
            self.abort()
            return False
        if data:
            return self._take(data)
        if data is not None:
            self._reader.stop()
            self._on_eof()
        return False

    def _read_tls(self) -> bytes:
        # What the TLS layer holds decrypted makes no socket readable.
        data = bytes(self._sock.recv(READ_SIZE))
        while data and len(data) < MAX_READ_SIZE and self._sock.pending():
            data += self._sock.recv(READ_SIZE)
        return data

    def _take(self, data: bytes) -> bool:
        self.bytes_received += len(data)
        if len(data) == self._read_size:
            self._read_size = MAX_READ_SIZE
        return not self._finishing and self._receiver.data_received(data)

    def _on_eof(self) -> None:
        self._peer_ended = True
        if self._finishing:
            self.abort()
        else:
            self._receiver.eof_received()

    # Writing

    def write(self, data: bytes) -> None:
        """Send `data`, now or as soon as the peer takes it; never blocks."""
        if self._finishing or self.closed or not data:
            return
        if not self._out:
            turn = self._loop.iteration if self._joins_writes else None
            if turn is None or turn != self._turn:
                self._turn = turn
                self._write_now(data)
                return
        self._out.append(data)
        self.buffered += len(data)
        if not self._joins_writes or self._waits_for_peer():
            self._join_loose()
            return
        if self.buffered >= FLUSH_SIZE:
            self.flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.run_callback(self._flush_scheduled_writes)

    def _join_loose(self) -> None:
        # An object for each small message would hold many times its octets.
        self._loose += 1
        if self._loose == MAX_LOOSE:
            self._out[-MAX_LOOSE:] = [b"".join(self._out[-MAX_LOOSE:])]
            self._loose = 0

    def _write_now(self, data: bytes) -> None:
        try:
            sent = self._send_tls(data) if self._tls else write_some(self._fd, data)
        except OSError:
            self.abort()
            return
        self.bytes_sent += sent
        if sent < len(data):
            self._out.append(memoryview(data)[sent:])
            self.buffered += len(data) - sent
            self._reactor.run(self._start_writer)

    def _send_tls(self, data: Any) -> int:
        try:
            return int(self._sock.send(data))
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0

    def _flush_scheduled_writes(self) -> None:
        self._flush_scheduled = False
        if not self._waits_for_peer():
            self.flush()

    def flush(self) -> None:
        """Send what was joined, as far as the peer takes it."""
        while self._out and not self.closed:
            if self._waits_for_peer():
                return
            try:
                if self._tls:
                    sent = self._send_tls(self._join())
                else:
                    sent = write_pieces(self._fd, self._out)
            except OSError:
                self.abort()
                return
            if sent == 0:
                self._reactor.run(self._start_writer)
                return
            self._forget(sent)

    def _join(self) -> Any:
        """Return what fits one write: small pieces together, a large one as it is."""
        size = count = 0
        while size < FLUSH_SIZE and count < len(self._out):
            size += len(self._out[count])
            count += 1
        return self._out[0] if count == 1 else b"".join(self._out[:count])

    def _forget(self, sent: int) -> None:
        self.bytes_sent += sent
        self.buffered -= sent
        if self.buffered == 0:
            self._out.clear()
            return
        done = 0
        while sent >= len(self._out[done]):
            sent -= len(self._out[done])
            done += 1
        del self._out[:done]
        if sent:
            self._out[0] = memoryview(self._out[0])[sent:]

    def _waits_for_peer(self) -> bool:
        return self._writer is not None and self._writer.active

    def _start_writer(self) -> None:
        if self.closed:
            return
        if self._writer is None:
            self._writer = self._loop.io(self._fd, WRITABLE)
        if not self._writer.active:
            self._writer.start(self._on_writable)
            if self._receiver is not None:
                self._receiver.stalled()

    def _on_writable(self) -> None:
        self._writer.stop()
        if self._tls:
            self._on_readable()
        self.flush()
        if self._out or self.closed:
            return
        if self._finishing:
            self._shut_down_writing()
        self._receiver.drained()

    def unacknowledged(self) -> int:
        """Return how many bytes the system holds until the peer has taken them.

        It may take megabytes, and then no more until a good part of them has gone.
        """
        if self.closed:
            return 0
        try:
            return int.from_bytes(ioctl(self._fd, TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

    def keep_alive(self, idle: float | None, timeout: float | None) -> None:
        """Have the system notice a peer that vanished, for want of pings.

        It probes a connection that was silent for `idle` seconds, and gives up when
        there is no answer within `timeout` seconds.
        """
        if idle is None or timeout is None:
            return
        seconds = max(1, round(timeout / KEEPALIVE_PROBES))
        for name, value in (
            ("TCP_KEEPIDLE", max(1, round(idle))),
            ("TCP_KEEPINTVL", seconds),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", round((idle + timeout) * 1000)),
        ):
            with suppress(OSError):  # a unix socket has no such thing
                option = getattr(socket, name, None)
                if option is not None:
                    self._sock.setsockopt(socket.IPPROTO_TCP, option, value)
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    # Closing

    def finish(self) -> None:
        """Send what is buffered, then say that nothing follows.

        RFC 6455, 7.1.1: "calling shutdown() with SHUT_WR on the socket, calling
        recv() until obtaining a return value of 0 [...] and finally calling close()".
        The caller sets a deadline and calls `abort` when it has passed.
        """
        if self._finishing or self.closed:
            return
        self.flush()
        self._finishing = True
        self.resume_reading()
        if not self._out:
            self._shut_down_writing()

    def _shut_down_writing(self) -> None:
        try:
            if self._tls:
                self._sock.unwrap()
        except (OSError, ValueError):
            pass  # it has sent its close_notify and would wait for the peer's
        if self._peer_ended:
            self.abort()  # nothing is left to read
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def abort(self) -> None:
        """Close at once; what is buffered is lost."""
        if self.closed:
            return
        self.closed = True
        self._out.clear()
        self.buffered = 0
        self._reactor.run(self._close)

    def _close(self) -> None:
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        with suppress(OSError):  # the peer may have been faster
            self._discard_input()
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._owns_socket:
            self._sock.close()
        if self._receiver is not None:
            self._receiver.connection_lost()

    def _discard_input(self) -> None:
        # Closing a socket with unread octets resets the connection, and the peer may
        # lose what it has not read yet.
        for _ in range(MAX_READS):
            if not read_some(self._fd, MAX_READ_SIZE):
                return


class ThreadedTransport(Transport):
    """Be a transport whose callers and whose loop are different threads.

    `lock` is held by the callers; here the loop takes it.
    """

    def __init__(self, sock: Any, reactor: Reactor, *, lock: Any, **kwargs: Any):
        super().__init__(sock, reactor, **kwargs)
        self._lock = lock

    def _start(self) -> None:
        with self._lock:
            super()._start()

    def _update_reader(self) -> None:
        with self._lock:
            super()._update_reader()

    def _on_readable(self) -> None:
        with self._lock:
            super()._on_readable()

    def _on_writable(self) -> None:
        with self._lock:
            super()._on_writable()

    def _start_writer(self) -> None:
        with self._lock:
            super()._start_writer()

    def _close(self) -> None:
        with self._lock:
            super()._close()
