cimport cython
from wsmiddleware._native cimport build_frame as build_frame
from wsmiddleware._native cimport build_text_frame as build_text_frame
from wsmiddleware.protocol cimport Protocol
from wsmiddleware.reader cimport FrameReader

cdef int NEED_DATA, FAULT, WHOLE, FORGETTABLE, CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, FIN, RSV1
cdef int OPEN, CLOSE_SENT, CLOSE_RECEIVED, CLOSED

@cython.final
cdef class PartialMessage:
    cdef public bint text, compressed
    cdef public long long fragments, wire_size
    cdef bytes _undecoded
    cdef list _pieces, _blocks
    cpdef add(self, bytes piece, bint final)
    cpdef join(self)
    cdef _join(self, list pieces)

cdef class RFC6455(Protocol):
    cdef bint _client
    cdef FrameReader _reader
    cdef object _deflate
    cdef PartialMessage _message
    cdef long long _max_message_size, _max_wire_size, _max_frame_size, _max_whole
    cdef long long _max_fragments

    cpdef list receive_data(self, bytes data)
    @cython.final
    @cython.locals(reader=FrameReader, result=int)
    cdef void _read_into(self, list events) except *
    @cython.final
    cdef _read_piece(self)
    @cython.final
    @cython.locals(reader=FrameReader, message=PartialMessage)
    cdef _start_frame(self)
    @cython.final
    cdef _check_size(self, long long size, bint compressed)
    @cython.final
    @cython.locals(reader=FrameReader, message=PartialMessage, piece=bytes, final=bint)
    cdef _add_piece(self)
    @cython.final
    cdef bytes _decompress(self, bytes piece, bint final)
    @cython.final
    cdef _read_control(self)
    cpdef bytes send_text(self, str text)
    cpdef bytes send_binary(self, data)
    cpdef bytes send_shared(self, message, dict encoded)
    @cython.final
    @cython.locals(first=int, payload=bytes)
    cdef _encode_shared(self, message)
    @cython.final
    @cython.locals(first=int)
    cdef bytes _send_message(self, int opcode, bytes payload)
    @cython.final
    cdef bytes _build(self, int first, bytes payload)
