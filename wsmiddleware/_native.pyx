# cython: language_level=3, boundscheck=False, wraparound=False
"""What a message costs Python most, in C: masking, the frame's octets, the two calls.

Each function has a twin in Python, which the tests hold it to; the `.pxd` of a
compiled room puts these in the places of the twins, and nothing else knows of them.
C earns its place here alone: masking needs a loop over octets, a frame is one
allocation instead of three, and a read or a write that would block is a number
instead of an exception.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from posix.unistd cimport read, write


cdef extern from "Python.h":
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject**, Py_ssize_t) except -1


cpdef bytes mask_part(bytes data, bytes keys, Py_ssize_t at, Py_ssize_t start, Py_ssize_t end):
    """Return `data[start:end]` masked with the four octets of `keys` from `at` on."""
    if data is None or keys is None or not 0 <= at <= len(keys) - 4:
        raise ValueError("a masking key has four octets")
    if not 0 <= start <= end <= len(data):
        raise ValueError("not a part of the data")
    cdef Py_ssize_t size = end - start
    cdef Py_ssize_t index = 0
    cdef const unsigned char* source
    cdef const unsigned char* key
    cdef unsigned char* target
    cdef uint32_t half
    cdef uint64_t mask, word
    masked = PyBytes_FromStringAndSize(NULL, size)
    source = <const unsigned char*> PyBytes_AS_STRING(data) + start
    key = <const unsigned char*> PyBytes_AS_STRING(keys) + at
    target = <unsigned char*> PyBytes_AS_STRING(masked)
    memcpy(&half, key, 4)
    mask = (<uint64_t> half << 32) | half
    while index + 8 <= size:
        memcpy(&word, source + index, 8)
        word ^= mask
        memcpy(target + index, &word, 8)
        index += 8
    while index < size:
        target[index] = source[index] ^ key[index & 3]
        index += 1
    return masked


cpdef bytes build_frame(int first, bytes payload):
    """Return an unmasked frame; `first` is its first octet (FIN, RSV1, opcode)."""
    if payload is None:
        raise TypeError("a payload is bytes")
    cdef Py_ssize_t size = len(payload)
    cdef unsigned char head[10]
    cdef int length = 2
    cdef int shift
    head[0] = first
    if size < 126:
        head[1] = size
    elif size < 65536:
        head[1] = 126
        head[2] = size >> 8
        head[3] = size & 0xFF
        length = 4
    else:
        head[1] = 127
        for shift in range(8):
            head[2 + shift] = (<uint64_t> size >> (56 - 8 * shift)) & 0xFF
        length = 10
    frame = PyBytes_FromStringAndSize(NULL, length + size)
    memcpy(PyBytes_AS_STRING(frame), head, length)
    memcpy(PyBytes_AS_STRING(frame) + length, PyBytes_AS_STRING(payload), size)
    return frame


# Where a read puts its octets before it is known how many they are.
cdef char _buffer[1 << 16]


cpdef bytes read_some(int fd, Py_ssize_t size):
    """Return what can be read, nothing at the end, None when it would block."""
    cdef Py_ssize_t count
    cdef PyObject* large
    if size <= sizeof(_buffer):
        count = read(fd, _buffer, size)
        if count >= 0:
            return PyBytes_FromStringAndSize(_buffer, count)
    else:
        large = new_bytes(NULL, size)
        count = read(fd, PyBytes_AS_STRING(<bytes> large), size)
        if count >= 0:
            _PyBytes_Resize(&large, count)
            octets = <bytes> large
            Py_DECREF(octets)
            return octets
        Py_DECREF(<bytes> large)
    if errno == EAGAIN or errno == EINTR:
        return None
    raise OSError(errno, "read")


cpdef Py_ssize_t write_some(int fd, data) except -1:
    """Return how many octets could be written."""
    cdef Py_buffer view
    cdef Py_ssize_t count
    cdef int error
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if view.len < 65536:
        count = write(fd, view.buf, view.len)
        error = errno
    else:
        with nogil:
            count = write(fd, view.buf, view.len)
            error = errno
    PyBuffer_Release(&view)
    if count >= 0:
        return count
    if error == EAGAIN or error == EINTR:
        return 0
    raise OSError(error, "write")
