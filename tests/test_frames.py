"""Frames as they are sent, and close bodies both ways: RFC 6455, section 5."""

import pytest
import wire
from hypothesis import given
from hypothesis import strategies as st

from wsmiddleware.frames import (
    MaskingKeys,
    build_close_body,
    build_frame,
    build_masked_frame,
    parse_close_body,
)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 65537])
def test_frames_of_every_length(size):
    payload = b"\xa5" * size
    assert build_frame(0x82, payload) == wire.frame("binary", payload)
    masked = build_masked_frame(0x82, payload, wire.KEY)
    assert masked == wire.frame("binary", payload, masked=True)


@pytest.mark.parametrize("size", [0, 1, 62, 125, 126, 127, 65535, 65536, 65537])
def test_frames_of_text_of_every_length(core, size):
    build_text_frame = core.modules["frames"].build_text_frame
    for letter in ("a", "\x7f", "\x80", "\u20ac", "\U0001f600"):
        text = letter * (size // len(letter.encode())) + "b"
        assert build_text_frame(text) == wire.frame("text", text.encode())
    with pytest.raises(UnicodeEncodeError):
        build_text_frame("a" * size + "\ud800")


def test_masking_keys_are_fresh_and_unpredictable(monkeypatch):
    """5.3: "the masking key MUST be derived from a strong source of entropy"."""
    keys = MaskingKeys()
    taken = [keys.next() for _ in range(1000)]
    assert all(len(key) == 4 for key in taken)
    assert len(set(taken)) > 990
    blocks = iter([bytes(range(256)) * 4, b"\xff" * 1024])
    monkeypatch.setattr("os.urandom", lambda size: next(blocks))
    keys = MaskingKeys()
    taken = [keys.next() for _ in range(257)]
    assert b"".join(taken[:256]) == bytes(range(256)) * 4
    assert taken[256] == b"\xff" * 4


@given(st.sampled_from([1000, 1003, 1007, 1014, 3000, 4999]), st.text(max_size=30))
def test_a_close_body_is_read_as_it_was_built(code, reason):
    assert parse_close_body(build_close_body(code, reason)) == (code, reason)


def test_the_empty_close_body():
    assert build_close_body(None, "") == b""
    assert parse_close_body(b"") == (1005, "")
