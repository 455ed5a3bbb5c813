"""The frame reader by itself: the pieces that it hands on, and when."""

from pathlib import Path

import pytest
import wire

NEED_DATA, PIECE, FAULT, WHOLE = 0, 1, 2, 3


def read_all(reader):
    """Return (payload, started, ended) of each piece that is there."""
    pieces = []
    while (result := reader.read()) in (PIECE, WHOLE):
        pieces.append((reader.payload(), reader.started, reader.ended))
    return pieces, result


@pytest.mark.parametrize("masked", [False, True])
def test_a_frame_is_told_before_its_payload(core, masked):
    reader = core.FrameReader(masked)
    reader.feed(wire.frame("binary", masked=masked, declared=70000, fin=False))
    assert read_all(reader) == ([(b"", True, False)], NEED_DATA)
    assert (reader.fin, reader.rsv1, reader.opcode) == (False, False, 2)
    assert reader.length == 70000


@pytest.mark.parametrize("masked", [False, True])
def test_a_payload_is_handed_on_as_it_arrives(core, masked):
    payload = bytes(range(256)) * 3
    data = wire.frame("binary", payload, masked=masked)
    head = len(data) - len(payload)
    for first in range(0, 12):
        for second in (1, 2, 3, 4, 5, 100):
            reader = core.FrameReader(masked)
            cuts = [head + first, head + first + second]
            reader.feed(data[: cuts[0]])
            pieces, _ = read_all(reader)
            assert pieces == [(payload[:first], True, False)]
            reader.feed(data[cuts[0] : cuts[1]])
            pieces, _ = read_all(reader)
            assert pieces == [(payload[first : first + second], False, False)]
            reader.feed(data[cuts[1] :])
            pieces, _ = read_all(reader)
            assert pieces == [(payload[first + second :], False, True)]


@pytest.mark.parametrize("masked", [False, True])
def test_a_control_frame_waits_until_it_is_whole(core, masked):
    payload = bytes(range(125))
    data = wire.frame("ping", payload, masked=masked)
    reader = core.FrameReader(masked)
    for position in range(len(data) - 1):
        reader.feed(data[position : position + 1])
        assert reader.read() == NEED_DATA
    reader.feed(data[-1:])
    assert reader.read() == PIECE
    assert (reader.payload(), reader.opcode, reader.ended) == (payload, 9, True)


def test_an_empty_frame_is_one_piece(core):
    reader = core.FrameReader(True)
    reader.feed(wire.frame("text", masked=True) * 2)
    assert read_all(reader) == ([(b"", True, True)] * 2, NEED_DATA)


def test_several_frames_in_one_feed(core):
    reader = core.FrameReader(False, True)
    reader.feed(wire.frame("text", b"a", rsv=4) + wire.frame("ping", b"b") + b"\x81")
    assert reader.read() == PIECE
    assert (reader.payload(), reader.opcode, reader.rsv1) == (b"a", 1, True)
    assert reader.read() == PIECE
    assert (reader.payload(), reader.opcode, reader.rsv1) == (b"b", 9, False)
    assert reader.read() == NEED_DATA
    reader.feed(b"\x01c")
    assert reader.read() == WHOLE
    assert reader.text() == "c"
    assert (reader.payload(), reader.opcode) == (b"c", 1)


@pytest.mark.parametrize("rsv1_allowed", [False, True])
def test_a_fault_is_told(core, rsv1_allowed):
    reader = core.FrameReader(False, rsv1_allowed)
    reader.feed(wire.frame("text", b"a") + wire.frame("text", rsv=4))
    assert reader.read() == WHOLE
    if rsv1_allowed:
        assert reader.read() == PIECE
        return
    assert reader.read() == FAULT
    assert reader.fault == "reserved bits are set"


@pytest.mark.parametrize(
    "length",
    [2**7 - 1, 2**7, 2**16 - 1, 2**16, 2**16 + 1, 2**23, 2**31, 2**32, 2**63 - 1],
)
def test_every_length_is_told(core, length):
    """Each integer type of a compiled reader is a limit; none may show."""
    reader = core.FrameReader(False)
    reader.feed(wire.frame("binary", b"ab", declared=length))
    assert read_all(reader) == ([(b"ab", True, False)], NEED_DATA)
    assert reader.length == length


def test_a_room_with_types_is_compiled_with_them(core):
    """Without its .pxd an extension would be built, silently, without types."""
    interpreted = core.modules["reader"].__file__.endswith(".py")
    for module in core.modules.values():
        path = Path(module.__file__)
        room = path.name.partition(".")[0]
        typed = path.with_name(f"{room}.pxd").exists() and room != "_native"
        assert (path.suffix != ".py") is (typed and not interpreted), room
    assert hasattr(core.FrameReader(False), "_state") is interpreted


def test_what_was_handed_on_is_let_go(core):
    reader = core.FrameReader(False)
    reader.feed(wire.frame("text", b"abc") + b"\x81")
    assert reader.read() == WHOLE
    assert reader.read() == NEED_DATA
    reader.forget()
    assert reader.payload() == b""
    reader.feed(b"\x01d")
    assert reader.read() == WHOLE
    assert reader.payload() == b"d"
