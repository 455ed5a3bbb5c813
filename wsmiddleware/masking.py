"""Masking of RFC 6455, section 5.3, on whole buffers.

Two implementations of one function: that of `_native` is C and is used where the
package was compiled; the other is big-integer arithmetic, the fastest that Python
offers without a loop over octets.
"""

__all__ = ["apply_mask", "mask_part", "mask_part_in_python", "mask_text"]


def mask_part_in_python(
    data: bytes, start: int, end: int, keys: bytes, at: int, done: int
) -> bytes:
    """Return `data[start:end]` masked, or unmasked.

    The key is four octets of `keys`, from `at` on; `done` octets of the same payload
    came before.
    """
    # 5.3: "transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)"
    size = end - start
    done &= 3
    mask = (keys[at : at + 4] * (size // 4 + 2))[done : done + size]
    masked = int.from_bytes(data[start:end], "little")
    return (masked ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def mask_text_in_python(data: bytes, start: int, end: int, keys: bytes, at: int) -> str:
    """Return the text that is `data[start:end]`; raises UnicodeDecodeError."""
    return mask_part_in_python(data, start, end, keys, at, 0).decode()


try:
    from wsmiddleware._native import mask_part, mask_text
except ImportError:
    mask_part = mask_part_in_python
    mask_text = mask_text_in_python


def apply_mask(data: bytes, key: bytes) -> bytes:
    """Return `data` masked, or unmasked, with the four octets of `key`."""
    return mask_part(data, 0, len(data), key, 0, 0)
