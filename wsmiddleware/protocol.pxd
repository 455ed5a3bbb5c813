cdef class Protocol:
    cdef public str version
    cdef public str subprotocol
    cdef public int state
    cdef public bint has_ping

    cpdef list receive_data(self, bytes data)
    cpdef bytes send_text(self, str text)
    cpdef bytes send_binary(self, data)
    cpdef bytes send_shared(self, message, dict encoded)
    cpdef void _move(self, what) except *
    cpdef void _require_open(self) except *
