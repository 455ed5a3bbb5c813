# cython: annotation_typing=False, nonecheck=True
"""What waits: the loop, its one timer, and the callers that block.

Under gevent a connection lives on the hub of the thread that opened it and callers
are greenlets. Under plain threads one hub runs in a thread of its own, watches the
sockets of the whole process, and callers block on conditions. Nothing here relies on
monkey patching.
"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event
from gevent.hub import Hub, get_hub
from gevent.monkey import get_original
from greenlet import getcurrent, greenlet

__all__ = ["Deadline", "GeventReactor", "Reactor", "ThreadReactor", "Waiter"]

# How many deadlines there are before those that were cancelled are looked for
SWEEP_SIZE = 1024


class Deadline:
    """A function that will be called at a time, unless it is cancelled."""

    __slots__ = ("function", "order", "when")

    def __init__(self, when: float, order: int, function: Callable[[], None]) -> None:
        self.when = when
        self.order = order
        self.function: Callable[[], None] | None = function

    def __lt__(self, other: "Deadline") -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        """Forget the function."""
        self.function = None


class Waiter:
    """Let one caller at a time wait until it is woken."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block until woken; return False when `timeout` seconds passed first."""
        raise NotImplementedError

    def wake(self) -> None:
        """Wake the caller that waits, if there is one."""
        raise NotImplementedError

    def wake_now(self) -> None:
        """Wake the caller, and let it run before anything else if that is possible."""
        raise NotImplementedError

    def give_way(self) -> None:
        """Let others run before the caller goes on."""
        raise NotImplementedError


# What gevent adds to it is one check, that it is not the hub that waits.
_switch = greenlet.switch


class GreenletWaiter(Waiter):
    """Let a greenlet wait."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._greenlet: Any = None

    def wait(self, timeout: float | None = None) -> bool:
        """Block this greenlet until woken."""
        if timeout is not None:
            return self._wait_at_most(timeout)
        current = getcurrent()
        if current is self._hub:
            self._hub.switch()  # raises
        self._greenlet = current
        try:
            _switch(self._hub)
        finally:
            self._greenlet = None
        return True

    def _wait_at_most(self, timeout: float) -> bool:
        with gevent.Timeout(timeout, False):
            return self.wait()
        return False

    def wake(self) -> None:
        """Wake the greenlet soon."""
        if self._greenlet is not None:
            self._hub.loop.run_callback(self._switch_to, self._greenlet)

    def wake_now(self) -> None:
        """Wake the greenlet: at once when called from the hub, else soon."""
        greenlet = self._greenlet
        if greenlet is None:
            return
        if getcurrent() is self._hub:
            _switch(greenlet)
        else:
            self._hub.loop.run_callback(self._switch_to, greenlet)

    def give_way(self) -> None:
        """Let the loop and other greenlets run."""
        gevent.sleep(0)

    def _switch_to(self, greenlet: Any) -> None:
        # It may have been woken by something else meanwhile, and wait elsewhere.
        if self._greenlet is greenlet:
            greenlet.switch()


class ThreadWaiter(Waiter):
    """Let a thread wait; the caller of `wait` and `wake` holds the lock."""

    def __init__(self, lock: Any) -> None:
        self._condition = get_original("threading", "Condition")(lock)
        self._woken = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until woken, without the lock."""
        self._woken = False
        return bool(self._condition.wait_for(lambda: self._woken, timeout))

    def wake(self) -> None:
        """Wake the thread."""
        self._woken = True
        self._condition.notify_all()

    wake_now = wake

    def give_way(self) -> None:
        """Do nothing: threads take turns by themselves."""


class Reactor:
    """Be the loop that watches sockets and keeps the time.

    All deadlines of a loop share one timer of the loop's.
    """

    joins_writes: bool

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.loop = hub.loop
        self._deadlines: list[Deadline] = []
        self._orders = count()
        self._timer: Any = None
        self._timer_at = 0.0
        self._sweep_size = SWEEP_SIZE

    def waiter(self, lock: Any) -> Waiter:
        """Return a waiter for a caller of this reactor."""
        raise NotImplementedError

    def lock(self) -> AbstractContextManager[Any]:
        """Return what a connection holds while its state changes."""
        raise NotImplementedError

    def run(self, function: Callable[[], None]) -> None:
        """Call `function` where watchers may be touched: in the loop's own thread."""
        raise NotImplementedError

    def call_at(self, when: float, function: Callable[[], None]) -> Deadline:
        """Call `function` in the loop at `when` (time.monotonic) or soon after."""
        deadline = Deadline(when, next(self._orders), function)
        self.run(partial(self._add, deadline))
        return deadline

    def _add(self, deadline: Deadline) -> None:
        # In the loop's own thread: nobody else touches the list.
        if len(self._deadlines) >= self._sweep_size:
            self._sweep()
        heappush(self._deadlines, deadline)
        if self._deadlines[0] is deadline:
            self._arm()

    def _sweep(self) -> None:
        # Those that were cancelled would stay until their time has come.
        self._deadlines = [d for d in self._deadlines if d.function is not None]
        heapify(self._deadlines)
        self._sweep_size = max(SWEEP_SIZE, 2 * len(self._deadlines))

    def _arm(self) -> None:
        while self._deadlines and self._deadlines[0].function is None:
            heappop(self._deadlines)
        if not self._deadlines:
            return
        when = self._deadlines[0].when
        if self._timer is not None:
            if self._timer.active and self._timer_at <= when:
                return
            self._timer.close()
        self._timer = self.loop.timer(max(0.0, when - monotonic()), ref=False)
        self._timer_at = when
        self._timer.start(self._on_timer)

    def _on_timer(self) -> None:
        self._timer.stop()
        now = monotonic()
        try:
            while self._deadlines and self._deadlines[0].when <= now:
                function = heappop(self._deadlines).function
                if function is not None:
                    function()
        finally:
            self._arm()


_NOTHING: AbstractContextManager[None] = nullcontext()


class GeventReactor(Reactor):
    """Run connections on the hub of the current thread."""

    joins_writes = True

    @classmethod
    def current(cls) -> "GeventReactor":
        """Return the reactor of this thread's hub, made when there is none yet."""
        hub = get_hub()
        reactor = getattr(hub, "_wsmiddleware_reactor", None)
        if reactor is None or reactor.loop is not hub.loop:
            reactor = cls(hub)
            hub._wsmiddleware_reactor = reactor
        return reactor

    def waiter(self, lock: Any) -> GreenletWaiter:
        """Return a waiter for a greenlet."""
        return GreenletWaiter(self.hub)

    def lock(self) -> AbstractContextManager[Any]:
        """Return nothing to hold: greenlets switch only where they wait."""
        return _NOTHING

    def run(self, function: Callable[[], None]) -> None:
        """Call `function` now."""
        function()


class ThreadReactor(Reactor):
    """Run the connections of every thread on one hub in a thread of its own."""

    joins_writes = False

    _current: "ThreadReactor | None" = None
    _pid = 0
    _starting = threading.Lock()

    @classmethod
    def current(cls) -> "ThreadReactor":
        """Return the reactor of this process, started when there is none yet."""
        with cls._starting:
            if cls._current is None or cls._pid != os.getpid():
                cls._current = cls._start()
                cls._pid = os.getpid()
            return cls._current

    @classmethod
    def _start(cls) -> "ThreadReactor":
        started = get_original("threading", "Event")()
        reactors = []

        def run() -> None:
            hub = get_hub()
            # Keeps the hub running while there is nothing to watch.
            hub.loop.async_().start(lambda: None)
            reactors.append(cls(hub))
            started.set()
            Event().wait()

        thread = get_original("threading", "Thread")(
            target=run, name="wsmiddleware", daemon=True
        )
        thread.start()
        started.wait()
        return reactors[0]

    def waiter(self, lock: Any) -> ThreadWaiter:
        """Return a waiter for a thread that holds `lock`."""
        return ThreadWaiter(lock)

    def lock(self) -> AbstractContextManager[Any]:
        """Return a lock that its holder may take again."""
        lock: AbstractContextManager[Any] = get_original("threading", "RLock")()
        return lock

    def run(self, function: Callable[[], None]) -> None:
        """Call `function` soon in the loop's thread."""
        self.loop.run_callback_threadsafe(function)
