# cython: language_level=3, boundscheck=False, wraparound=False
"""What a message costs Python most, in C: masking, the frame's octets, the two calls.

Each function has a twin in Python, which the tests hold it to; the `.pxd` of a
compiled room puts these in the places of the twins, and nothing else knows of them.
C earns its place here alone: masking needs a loop over octets, a frame is one
allocation instead of three, and a call that would block is a number instead of an
exception.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from posix.uio cimport iovec, writev
from posix.unistd cimport read, write


cdef extern from "Python.h":
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject**, Py_ssize_t) except -1
    const char* PyUnicode_AsUTF8AndSize(str, Py_ssize_t*) except NULL

# Where octets are put before it is known how many they are, or what they say.
cdef char scratch[1 << 16]

cdef enum:
    FIN = 0x80
    TEXT = 0x1


cpdef bytes mask_part(
    bytes data, Py_ssize_t start, Py_ssize_t end, bytes keys, Py_ssize_t at, long long done
):
    """Return `data[start:end]` masked, or unmasked.

    The key is four octets of `keys`, from `at` on; `done` octets of the same payload
    came before.
    """
    check_part(data, start, end, keys, at)
    masked = PyBytes_FromStringAndSize(NULL, end - start)
    mask(
        PyBytes_AS_STRING(masked),
        PyBytes_AS_STRING(data) + start,
        end - start,
        PyBytes_AS_STRING(keys) + at,
        done & 3,
    )
    return masked


cpdef str mask_text(
    bytes data, Py_ssize_t start, Py_ssize_t end, bytes keys, Py_ssize_t at
):
    """Return the text that is `data[start:end]`; raises UnicodeDecodeError."""
    check_part(data, start, end, keys, at)
    if end - start > <Py_ssize_t> sizeof(scratch):
        return mask_part(data, start, end, keys, at, 0).decode()
    mask(
        scratch,
        PyBytes_AS_STRING(data) + start,
        end - start,
        PyBytes_AS_STRING(keys) + at,
        0,
    )
    return PyUnicode_DecodeUTF8(scratch, end - start, NULL)


cdef inline int check_part(
    bytes data, Py_ssize_t start, Py_ssize_t end, bytes keys, Py_ssize_t at
) except -1:
    if data is None or keys is None or not 0 <= at <= len(keys) - 4:
        raise ValueError("a masking key has four octets")
    if not 0 <= start <= end <= len(data):
        raise ValueError("not a part of the data")
    return 0


cdef inline void mask(
    char* target, const char* source, Py_ssize_t size, const char* key, int turn
) noexcept:
    cdef Py_ssize_t index = 0
    cdef uint32_t half
    cdef uint64_t whole, word
    cdef char turned[4]
    memcpy(turned, key, 4)
    if turn:
        for index in range(4):
            turned[index] = key[(index + turn) & 3]
    memcpy(&half, turned, 4)
    whole = (<uint64_t> half << 32) | half
    index = 0
    while index + 8 <= size:
        memcpy(&word, source + index, 8)
        word ^= whole
        memcpy(target + index, &word, 8)
        index += 8
    while index < size:
        target[index] = source[index] ^ turned[index & 3]
        index += 1


cpdef bytes build_frame(int first, bytes payload):
    """Return an unmasked frame; `first` is its first octet (FIN, RSV1, opcode)."""
    if payload is None:
        raise TypeError("a payload is bytes")
    return frame(first, PyBytes_AS_STRING(payload), len(payload))


cpdef bytes build_text_frame(str text):
    """Return the unmasked frame of a whole text message."""
    cdef Py_ssize_t size = 0
    if text is None:
        raise TypeError("a text is str")
    cdef const char* octets = PyUnicode_AsUTF8AndSize(text, &size)
    return frame(FIN | TEXT, octets, size)


cdef bytes frame(int first, const char* payload, Py_ssize_t size):
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
    octets = PyBytes_FromStringAndSize(NULL, length + size)
    memcpy(PyBytes_AS_STRING(octets), head, length)
    memcpy(PyBytes_AS_STRING(octets) + length, payload, size)
    return octets


cpdef bytes read_some(int fd, Py_ssize_t size):
    """Return what can be read, nothing at the end, None when it would block."""
    cdef Py_ssize_t count
    cdef PyObject* large
    if size <= <Py_ssize_t> sizeof(scratch):
        count = read(fd, scratch, size)
        if count >= 0:
            return PyBytes_FromStringAndSize(scratch, count)
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


cdef iovec vectors[1024]


cpdef Py_ssize_t write_pieces(int fd, list pieces) except -1:
    """Write the first of several pieces at once; return how many octets could be."""
    cdef Py_ssize_t used = 0
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t count
    for piece in pieces:
        if used == 1024 or type(piece) is not bytes:
            break
        vectors[used].iov_base = PyBytes_AS_STRING(<bytes> piece)
        vectors[used].iov_len = len(<bytes> piece)
        size += len(<bytes> piece)
        used += 1
    if used == 0:
        return write_some(fd, pieces[0])
    count = writev(fd, vectors, used)
    if count >= 0:
        return count
    if errno == EAGAIN or errno == EINTR:
        return 0
    raise OSError(errno, "writev")


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
