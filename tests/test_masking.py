"""Masking: RFC 6455, section 5.3, in both implementations."""

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
