"""Masking of RFC 6455, section 5.3, on whole buffers.

Two implementations of one function: that of `_native` is C and is used where the
package was compiled; the other is big-integer arithmetic, the fastest that Python
offers without a loop over octets.
"""

__all__ = ["apply_mask", "mask_part", "mask_part_in_python", "mask_text"]

BLOCK = 8192
# A block of masking keys is the key times this.
_ONES = int.from_bytes(b"\1\0\0\0" * (BLOCK // 4), "little")


def mask_part_in_python(
    data: bytes, start: int, end: int, keys: bytes, at: int, done: int
) -> bytes:
    """Return `data[start:end]` masked, or unmasked.

    The key is four octets of `keys`, from `at` on; `done` octets of the same payload
    came before.
    """
    # 5.3: "transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)"
    key = keys[at : at + 4]
    if done & 3:
        key = key[done & 3 :] + key[: done & 3]
    if end - start > BLOCK:
        return b"".join(_mask_blocks(data, start, end, key))
    size = end - start
    masked = int.from_bytes(data[start:end], "little")
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "little")
    return (masked ^ mask).to_bytes(size, "little")


def _mask_blocks(data: bytes, start: int, end: int, key: bytes) -> list[bytes]:
    # Integers that stay in the processor's nearest cache are twice as fast.
    mask = _ONES * int.from_bytes(key, "little")
    from_octets = int.from_bytes
    view = memoryview(data)
    whole = end - (end - start) % BLOCK
    blocks = [
        (from_octets(view[n : n + BLOCK], "little") ^ mask).to_bytes(BLOCK, "little")
        for n in range(start, whole, BLOCK)
    ]
    blocks.append(mask_part_in_python(data, whole, end, key, 0, 0))
    return blocks


def mask_text_in_python(data: bytes, start: int, end: int, keys: bytes, at: int) -> str:
    """Return the text that is `data[start:end]`; raises UnicodeDecodeError."""
    size = end - start
    if size > BLOCK:
        return mask_part_in_python(data, start, end, keys, at, 0).decode()
    # As above, without the call: every small message comes this way.
    masked = int.from_bytes(data[start:end], "little")
    mask = int.from_bytes((keys[at : at + 4] * (size // 4 + 1))[:size], "little")
    return (masked ^ mask).to_bytes(size, "little").decode()


try:
    from wsmiddleware._native import mask_part, mask_text
except ImportError:
    mask_part = mask_part_in_python
    mask_text = mask_text_in_python


def apply_mask(data: bytes, key: bytes) -> bytes:
    """Return `data` masked, or unmasked, with the four octets of `key`."""
    return mask_part(data, 0, len(data), key, 0, 0)
