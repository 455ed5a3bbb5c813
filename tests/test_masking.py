"""Masking: RFC 6455, section 5.3, in both implementations."""

import pytest
import wire
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.binary(min_size=4, max_size=4)


def test_every_length_and_every_octet(core):
    every = bytes(range(256)) * 2
    for size in range(len(every)):
        data = every[-size:] if size else b""
        for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\x01\xfe\x7f"):
            assert core.apply_mask(data, key) == wire.mask(data, key)


@given(data=st.binary(max_size=300), key=KEYS)
def test_masking_twice_is_nothing(core, data, key):
    masked = core.apply_mask(data, key)
    assert type(masked) is bytes
    assert masked == wire.mask(data, key)
    assert core.apply_mask(masked, key) == data


def test_a_large_payload(core):
    data = bytes(range(251)) * 5000
    masked = core.apply_mask(data, wire.KEY)
    assert masked[-5:] == wire.mask(data)[-5:]
    assert core.apply_mask(masked, wire.KEY) == data


# around a block of the implementation in Python, and not at the start of anything
SIZES = [0, 1, 5, 8191, 8192, 8193, 16384, 20_001]


@pytest.mark.parametrize("size", SIZES)
def test_a_part_of_a_buffer(core, size):
    mask_part = core.modules["masking"].mask_part
    data = bytes(range(251)) * 90
    keys = b"..." + wire.KEY + b"..."
    for start in (0, 1, 6):
        for done in range(9):
            turn = done % 4
            key = wire.KEY[turn:] + wire.KEY[:turn]
            expected = wire.mask(data[start : start + size], key)
            assert mask_part(data, start, start + size, keys, 3, done) == expected


@pytest.mark.parametrize("size", SIZES)
def test_a_text_in_a_buffer(core, size):
    mask_text = core.modules["masking"].mask_text
    text = ("aé€\U0001f600" * 6000)[:size]
    octets = text.encode()
    for start in (0, 1, 6):
        data = b"." * start + wire.mask(octets) + b"..."
        end = start + len(octets)
        assert mask_text(data, start, end, b"..." + wire.KEY + b"...", 3) == text


@pytest.mark.parametrize("octets", [b"\xff", b"a" * 9000 + b"\xc3", b"\xed\xa0\x80"])
def test_what_is_not_text(core, octets):
    mask_text = core.modules["masking"].mask_text
    with pytest.raises(UnicodeDecodeError):
        mask_text(wire.mask(octets), 0, len(octets), wire.KEY, 0)
