cimport cython


@cython.final
cdef class Deadlines:
    cdef public bint heard, active
    cdef object _close_at, _entry, _expire_at, _idle_at, _options, _ping_at, _pong_at
    cdef object _reactor, _stall_at, _taken, _websocket
