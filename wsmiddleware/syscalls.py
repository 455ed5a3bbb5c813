"""The system calls of a message: read what is there, write what fits.

A socket that is not ready is no exception here, because on a busy connection it is
the rule. `_native` has them in C.
"""

import os

__all__ = ["read_some", "write_pieces", "write_some"]

# Pieces that one call takes: IOV_MAX on Linux
MAX_PIECES = 1024


def read_some(fd: int, size: int) -> bytes | None:
    """Return what can be read, nothing at the end, None when it would block."""
    try:
        return os.read(fd, size)
    except (BlockingIOError, InterruptedError):
        return None


def write_some(fd: int, data: bytes | memoryview) -> int:
    """Return how many octets could be written."""
    try:
        return os.write(fd, data)
    except (BlockingIOError, InterruptedError):
        return 0


def write_pieces(fd: int, pieces: list[bytes | memoryview]) -> int:
    """Write the first of several pieces at once; return how many octets could be."""
    try:
        return os.writev(fd, pieces[:MAX_PIECES])
    except (BlockingIOError, InterruptedError):
        return 0
