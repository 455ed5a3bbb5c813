cimport cython

from wsmiddleware._native cimport mask_part as mask_part

cdef int READ_HEADER, READ_LENGTH, READ_MASK, READ_PAYLOAD


cdef class FrameReader:
    cdef public bint fin, rsv1, started, ended
    cdef public int opcode
    cdef public long long length
    cdef public bytes payload
    cdef public str fault
    cdef bytes _buffer, _keys
    cdef Py_ssize_t _position, _key_at
    cdef int _state, _declared
    cdef long long _remaining
    cdef bint _masked, _rsv1_allowed

    cpdef void feed(self, bytes data)
    cpdef void forget(self)
    cpdef int read(self) except -1
    @cython.locals(first=int, second=int)
    cdef bint _read_header(self) except -1
    cdef bint _is_control_header_valid(self) except -1
    cdef int _length_size(self)
    @cython.locals(size=int, octets=bytes)
    cdef bint _read_length(self) except -1
    cdef void _read_mask_or_payload(self)
    cdef void _start_payload(self)
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t)
    cdef int _read_payload(self) except -1
    @cython.locals(key=bytes)
    cdef void _turn_key(self, Py_ssize_t octets)
