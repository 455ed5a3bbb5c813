"""A connection up to the end of its opening handshake: sockets, TLS, and waiting.

A `Channel` is a socket that never blocks by itself: it waits as its caller can, a
greenlet on its hub and a thread in poll, and no longer than its time limit. Nothing
relies on monkey patching. Once the handshake is done, the socket leaves the channel
for a transport.
"""

import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EINPROGRESS, ETIMEDOUT
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import gevent
import gevent.event
import gevent.socket
from gevent._hub_local import get_hub_if_exists
from gevent.hub import get_hub
from gevent.monkey import get_original, is_module_patched

from wsmiddleware.reactor import GeventReactor, Reactor, ThreadReactor

__all__ = ["Channel", "Establishing", "TimeLimit", "Waiting", "current_waiting"]

T = TypeVar("T")

RECEIVE_SIZE = 1 << 16
# How long a relay goes on in one direction when the other has ended.
LINGER = 10.0


class TimeLimit:
    """Know when the time for something is up, and what was done until then."""

    def __init__(self, seconds: float | None, what: str) -> None:
        self.doing = "not begun"
        self._what = what
        self._seconds = seconds
        self._until = None if seconds is None else monotonic() + seconds

    def left(self) -> float | None:
        """Return the seconds that are left, None for any number.

        Raises TimeoutError when there are none.
        """
        if self._until is None:
            return None
        left = self._until - monotonic()
        if left <= 0:
            raise self.error()
        return left

    def part(self, parts: int) -> float | None:
        """Return one of the equal parts of what is left."""
        left = self.left()
        return None if left is None else left / parts

    def error(self) -> TimeoutError:
        """Return the error of a time that is up."""
        return TimeoutError(f"{self._what} within {self._seconds:g} s: {self.doing}")


# How a caller waits


class Waiting:
    """Be the way in which a caller waits: as a greenlet, or as a thread.

    Where a `timeout`, in seconds or None, has passed, TimeoutError is raised.
    """

    is_thread: bool

    def reactor(self) -> Reactor:
        """Return the reactor for the caller's connections."""
        raise NotImplementedError

    def for_socket(self, fd: int, to_write: bool, timeout: float | None) -> None:
        """Wait until a socket is ready."""
        raise NotImplementedError

    def resolve(self, host: str, port: int, timeout: float | None) -> list[Any]:
        """Return the addresses of a host, as getaddrinfo does."""
        raise NotImplementedError

    def call(self, function: Callable[[], T], timeout: float | None) -> T:
        """Call a function that would block the caller."""
        raise NotImplementedError

    def event(self) -> Any:
        """Return an event: `wait(timeout)`, and `set`, which any thread may call."""
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        """Wait for so long."""
        raise NotImplementedError


def current_waiting() -> Waiting:
    """Return how the caller waits.

    Where sockets are patched, and in a thread that has a hub, callers are greenlets.
    """
    if is_module_patched("socket") or get_hub_if_exists() is not None:
        return GreenletWaiting()
    return ThreadWaiting()


class _TimePassed(Exception):
    """Tell our time limit from one that the application has set."""


class GreenletWaiting(Waiting):
    """Wait as a greenlet, on the hub of this thread."""

    is_thread = False

    def reactor(self) -> Reactor:
        """Return the reactor of this thread's hub."""
        return GeventReactor.current()

    def for_socket(self, fd: int, to_write: bool, timeout: float | None) -> None:
        """Wait until a socket is ready."""
        wait = gevent.socket.wait_write if to_write else gevent.socket.wait_read
        try:
            wait(fd, timeout, _TimePassed())
        except _TimePassed:
            raise TimeoutError from None

    def resolve(self, host: str, port: int, timeout: float | None) -> list[Any]:
        """Return the addresses of a host."""
        with gevent.Timeout(timeout, TimeoutError):
            return list(gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    def call(self, function: Callable[[], T], timeout: float | None) -> T:
        """Call a function, in a thread unless patching makes it cooperate."""
        with _Call(function) as call, gevent.Timeout(timeout, TimeoutError):
            patched = is_module_patched("socket")
            result: T = call() if patched else get_hub().threadpool.apply(call)
        return result

    def event(self) -> Any:
        """Return an event."""
        return gevent.event.Event()

    def sleep(self, seconds: float) -> None:
        """Wait for so long."""
        gevent.sleep(seconds)


class ThreadWaiting(Waiting):
    """Wait as a thread."""

    is_thread = True

    def reactor(self) -> Reactor:
        """Return the reactor that has a thread of its own."""
        return ThreadReactor.current()

    def for_socket(self, fd: int, to_write: bool, timeout: float | None) -> None:
        """Wait until a socket is ready."""
        select = get_original("select", ["poll", "POLLIN", "POLLOUT"])
        poll = select[0]()
        poll.register(fd, select[2] if to_write else select[1])
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError

    def resolve(self, host: str, port: int, timeout: float | None) -> list[Any]:
        """Return the addresses of a host."""
        getaddrinfo = get_original("socket", "getaddrinfo")
        look_up = partial(getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            # An address needs no look-up, so it does not need a thread either.
            return list(look_up(flags=socket.AI_NUMERICHOST))
        except socket.gaierror:
            return list(self.call(look_up, timeout))

    def call(self, function: Callable[[], T], timeout: float | None) -> T:
        """Call a function in a thread: what blocks there cannot be interrupted."""
        results: list[T] = []
        errors: list[BaseException] = []
        done = self.event()

        with _Call(function) as call:

            def run() -> None:
                try:
                    results.append(call())
                except BaseException as error:
                    errors.append(error)
                done.set()

            get_original("threading", "Thread")(target=run, daemon=True).start()
            if not done.wait(timeout):
                raise TimeoutError
        for error in errors:
            raise error
        return results[0]

    def event(self) -> Any:
        """Return an event."""
        return get_original("threading", "Event")()

    def sleep(self, seconds: float) -> None:
        """Wait for so long."""
        get_original("time", "sleep")(seconds)


class _Call:
    """Call a function; what it returns when nobody waits any more is closed."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._abandoned = False

    def __call__(self) -> Any:
        result = self._function()
        if self._abandoned and hasattr(result, "close"):
            result.close()
        return result

    def __enter__(self) -> "_Call":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._abandoned = error is not None


# One connection at a time


class Establishing:
    """Let callers establish one connection at a time to each remote host.

    Draft 55, section 4.1, step 1, and RFC 6455, section 4.1, item 2: "There MUST be no
    more than one connection in a CONNECTING state." Callers may be greenlets and
    threads of any kind; they take turns in the order in which they came.
    """

    def __init__(self) -> None:
        self._lock = get_original("_thread", "allocate_lock")()
        self._queues: dict[str, deque[Any]] = {}

    @contextmanager
    def turn(self, host: str, waiting: Waiting, limit: TimeLimit) -> Iterator[None]:
        """Wait for the turn, and have it to the end of the block."""
        event = waiting.event()
        try:
            if not self._enter(host, event) and not event.wait(limit.left()):
                raise limit.error()
            yield
        finally:
            self._leave(host, event)

    def _enter(self, host: str, event: Any) -> bool:
        with self._lock:
            queue = self._queues.setdefault(host, deque())
            queue.append(event)
            return len(queue) == 1

    def _leave(self, host: str, event: Any) -> None:
        with self._lock:
            queue = self._queues[host]
            first = queue[0] is event
            queue.remove(event)
            if not queue:
                del self._queues[host]
        if queue and first:
            queue[0].set()


# The socket


class Channel:
    """Connect a socket, put TLS on it, send and receive, before a time limit."""

    def __init__(self, sock: Any, waiting: Waiting, limit: TimeLimit) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._waiting = waiting
        self._limit = limit

    def connect(self, address: Any, timeout: float | None) -> None:
        """Connect to an address; TimeoutError tells that `timeout` has passed."""
        error = self._sock.connect_ex(address)
        if error == EINPROGRESS:
            try:
                self._waiting.for_socket(self._sock.fileno(), True, timeout)
            except TimeoutError:
                error = ETIMEDOUT
            else:
                error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"{os.strerror(error)}: {_show(address)}")
        if self._sock.family != socket.AF_UNIX:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Perform a TLS handshake; raises ssl.SSLError when it fails."""
        if hasattr(self._sock, "pending"):
            self._relay()
        self._sock = context.wrap_socket(
            self._sock, server_hostname=host, do_handshake_on_connect=False
        )
        self._attempt(self._sock.do_handshake)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            view = view[self._attempt(partial(self._sock.send, view), True) :]

    def receive(self) -> bytes:
        """Return the next octets, none when the peer sends no more."""
        return bytes(self._attempt(partial(self._sock.recv, RECEIVE_SIZE)))

    def end_of_sending(self) -> None:
        """Say that nothing follows."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def leave(self) -> Any:
        """Return the socket, for a transport."""
        return self._sock

    def _attempt(self, operation: Callable[[], T], to_write: bool = False) -> T:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                ready_to_write = False
            except ssl.SSLWantWriteError:
                ready_to_write = True
            except BlockingIOError:
                ready_to_write = to_write
            left = self._limit.left()
            try:
                self._waiting.for_socket(self._sock.fileno(), ready_to_write, left)
            except TimeoutError:
                raise self._limit.error() from None

    def _relay(self) -> None:
        # TLS goes on a socket of the system's, and what this is has TLS already: put
        # a pair of sockets in front of it.
        near, far = get_original("socket", "socketpair")()
        outer = self._sock
        self._sock = near
        near.setblocking(False)
        self._waiting.reactor().run(partial(gevent.spawn, _relay, outer, far))


def _show(address: Any) -> str:
    if isinstance(address, tuple):
        return f"{address[0]} port {address[1]}"
    return repr(address)


def _relay(*sockets: Any) -> None:
    one, other = (
        Channel(sock, GreenletWaiting(), TimeLimit(None, "")) for sock in sockets
    )
    directions = [gevent.spawn(_copy, one, other), gevent.spawn(_copy, other, one)]
    gevent.joinall(directions, count=1)
    gevent.joinall(directions, timeout=LINGER)
    gevent.killall(directions)
    one.close()
    other.close()


def _copy(source: Channel, target: Channel) -> None:
    with suppress(OSError):
        while data := source.receive():
            target.send(data)
    target.end_of_sending()
