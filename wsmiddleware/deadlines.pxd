cimport cython


@cython.final
cdef class Deadlines:
    cdef public bint heard, active
    cdef double _close_at, _close_by, _expire_at, _idle_at
    cdef double _ping_at, _pong_at, _stall_at
    cdef long long _taken, _taken_at_stall
    cdef int _quiet_looks
    cdef object _entry, _options, _reactor, _websocket
