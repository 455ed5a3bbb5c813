from wsmiddleware._native cimport read_some as read_some
from wsmiddleware._native cimport write_pieces as write_pieces
from wsmiddleware._native cimport write_some as write_some

cdef Py_ssize_t READ_SIZE, MAX_READ_SIZE, FLUSH_SIZE
cdef int MAX_READS, MAX_LOOSE


cdef class Receiver:
    cpdef bint data_received(self, bytes data) except -1
    cpdef eof_received(self)
    cpdef connection_lost(self)
    cpdef drained(self)
    cpdef stalled(self)


cdef class Transport:
    cdef object _sock, _reactor, _loop, _reader, _writer, _turn
    cdef int _fd
    cdef bint _tls, _joins_writes, _owns_socket
    cdef bint _flush_scheduled, _finishing, _peer_ended
    cdef bytes _initial
    cdef Receiver _receiver
    cdef Py_ssize_t _read_size, _loose
    cdef list _out
    cdef public Py_ssize_t buffered
    cdef public long long bytes_received, bytes_sent
    cdef public bint closed, reading_is_paused

    cpdef _on_readable(self)
    cdef bint _read(self) except -1
    cdef bint _take(self, bytes data) except -1
    cpdef write(self, bytes data)
    cdef _write_now(self, bytes data)
    cdef Py_ssize_t _send_tls(self, data) except -1
    cpdef flush(self)
    cdef _join(self)
    cdef _forget(self, Py_ssize_t sent)
    cdef bint _waits_for_peer(self) except -1
    cpdef pause_reading(self)
    cpdef resume_reading(self)
    cpdef abort(self)
    cpdef finish(self)
