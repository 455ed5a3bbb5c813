"""Masking of RFC 6455, section 5.3, on whole buffers.

Two implementations of one function: that of `_native` is C and is used where the
package was compiled; the other is big-integer arithmetic, the fastest that Python
offers without a loop over octets.
"""

__all__ = ["apply_mask", "mask_part", "mask_part_in_python"]


def mask_part_in_python(
    data: bytes, keys: bytes, at: int, start: int, end: int
) -> bytes:
    """Return `data[start:end]` masked with the four octets of `keys` from `at` on."""
    # 5.3: "transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)"
    size = end - start
    mask = (keys[at : at + 4] * (size // 4 + 1))[:size]
    masked = int.from_bytes(data[start:end], "little")
    return (masked ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


try:
    from wsmiddleware._native import mask_part
except ImportError:
    mask_part = mask_part_in_python


def apply_mask(data: bytes, key: bytes) -> bytes:
    """Return `data` masked, or unmasked, with the four octets of `key`."""
    return mask_part(data, key, 0, 0, len(data))
