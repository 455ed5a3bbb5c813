cimport cython

from wsmiddleware._native cimport mask_part as mask_part
from wsmiddleware._native cimport mask_text as mask_text

cdef int READ_HEADER, READ_LENGTH, READ_MASK, READ_PAYLOAD


@cython.final
cdef class FrameReader:
    cdef public bint fin, rsv1, started, ended
    cdef public int opcode
    cdef public long long length
    cdef public str fault
    cdef bytes _buffer, _keys, _kinds
    cdef Py_ssize_t _start, _end, _key_at
    cdef int _state, _kind
    cdef long long _done, _remaining
    cdef bint _masked, _rsv1_allowed

    cpdef void feed(self, bytes data)
    cpdef void forget(self)
    @cython.locals(
        buffer=bytes,
        available=Py_ssize_t,
        position=Py_ssize_t,
        first=int,
        second=int,
    )
    cpdef int read(self) except -1
    cdef int _cut(self, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _refuse_header(self, int first) except -1
    @cython.locals(size=int, octets=bytes)
    cdef bint _read_length(self, Py_ssize_t position) except -1
    cpdef bytes payload(self)
    cpdef str text(self)
