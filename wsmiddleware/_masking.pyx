# cython: language_level=3, boundscheck=False, wraparound=False
"""Masking of RFC 6455, section 5.3, eight octets at a time."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy


def apply_mask(bytes data not None, bytes key not None):
    """Return `data` masked, or unmasked, with the four octets of `key`."""
    cdef Py_ssize_t size = len(data)
    cdef Py_ssize_t index = 0
    cdef const unsigned char* source = <const unsigned char*> PyBytes_AS_STRING(data)
    cdef const unsigned char* keys = <const unsigned char*> PyBytes_AS_STRING(key)
    cdef bytes masked
    cdef unsigned char* target
    cdef uint32_t half
    cdef uint64_t mask, word
    if len(key) != 4:
        raise ValueError("a masking key has four octets")
    masked = PyBytes_FromStringAndSize(NULL, size)
    target = <unsigned char*> PyBytes_AS_STRING(masked)
    memcpy(&half, keys, 4)
    mask = (<uint64_t> half << 32) | half
    while index + 8 <= size:
        memcpy(&word, source + index, 8)
        word ^= mask
        memcpy(target + index, &word, 8)
        index += 8
    while index < size:
        target[index] = source[index] ^ keys[index & 3]
        index += 1
    return masked
