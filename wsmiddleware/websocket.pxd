cimport cython

from wsmiddleware.deadlines cimport Deadlines
from wsmiddleware.protocol cimport Protocol
from wsmiddleware.reactor cimport Waiter
from wsmiddleware.transport cimport Receiver, Transport


cdef double QUICK
cdef Py_ssize_t QUEUE_PART


cdef class WebSocket(Receiver):
    # Applications put attributes of their own on it, and it into weak sets.
    cdef dict __dict__
    cdef object __weakref__

    cdef readonly object version, origin, path
    cdef public object environ, latency
    cdef public object close_code, close_reason, closed_by
    cdef public long long messages_received, messages_sent, messages_dropped
    # Its subclass for threads, a plain Python class, reads it.
    cdef readonly object _lock
    cdef object _opening, _options, _reactor, _pong, _outbox
    cdef Waiter _receiver
    cdef Protocol _protocol
    cdef Transport _transport
    cdef Deadlines _deadlines
    cdef list _waiters, _queue
    cdef bint _client, _receiving, _ended
    cdef Py_ssize_t _next, _queued, _outbox_size, _max_queue, _max_queued, _max_buffered
    cdef double _pinged_at, _controls_since
    cdef long long _ping_count, _controls

    cpdef receive(self, timeout=*)
    cdef _wait_for_event(self, give_up_at)
    cpdef send(self, data, binary=*)
    @cython.locals(transport=Transport)
    cpdef bint send_shared(self, message, dict encoded) except -1
    @cython.locals(events=list, began=double, size=Py_ssize_t, waiting=Py_ssize_t)
    cpdef bint data_received(self, bytes data) except -1
    cpdef start_close(self, code=*, reason=*)
