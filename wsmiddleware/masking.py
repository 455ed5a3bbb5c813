"""Masking of RFC 6455, section 5.3, on whole buffers.

Two implementations of one function: `_masking` is C and is used where the package
was compiled; the other is big-integer arithmetic, the fastest that Python offers
without a loop over octets. It is the one room that needs C of its own, because no
single source is fast in both worlds.
"""

__all__ = ["apply_mask", "apply_mask_in_python"]


def apply_mask_in_python(data: bytes, key: bytes) -> bytes:
    """Return `data` masked, or unmasked, with the four octets of `key`."""
    # 5.3: "transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)"
    size = len(data)
    keys = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")
    return masked.to_bytes(size, "little")


try:
    from wsmiddleware._masking import apply_mask
except ImportError:
    apply_mask = apply_mask_in_python
