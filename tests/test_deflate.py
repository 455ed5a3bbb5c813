"""permessage-deflate: RFC 7692, its negotiation and its codec, for both ends."""

import itertools
import json
import random
import time
import tracemalloc
import weakref
import zlib
from pathlib import Path

import pytest
import wire
from hypothesis import given
from hypothesis import strategies as st

from wsmiddleware import deflate
from wsmiddleware.deflate import (
    Compression,
    DeflateError,
    DeflateParameters,
    MessageTooBig,
    PerMessageDeflate,
    accept_offers,
    offer,
    verify,
)
from wsmiddleware.exceptions import HandshakeError

VECTORS = json.loads(
    (Path(__file__).parent / "vectors" / "deflate_negotiation.json").read_text()
)
LIMIT = 1 << 20


def read_config(vector):
    config = vector.get("config", {})
    return None if config is None else Compression(**config)


def read_parameters(vector):
    parameters = vector.get("parameters")
    return None if parameters is None else DeflateParameters(**parameters)


def by_name(vectors):
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


# Negotiation


@pytest.mark.parametrize("vector", by_name(VECTORS["server"]))
def test_server_answers_offers(vector):
    config = read_config(vector)
    if "error" in vector:
        with pytest.raises(ValueError, match="extension") as caught:
            accept_offers(vector["offers"], config)
        assert str(caught.value) == vector["error"]
    else:
        expected = vector["answer"], read_parameters(vector)
        assert accept_offers(vector["offers"], config) == expected


@pytest.mark.parametrize("vector", by_name(VECTORS["client"]))
def test_client_verifies_the_answer(vector):
    config = read_config(vector)
    if "error" in vector:
        with pytest.raises(HandshakeError) as caught:
            verify(vector["response"], config)
        reason = f"invalid Sec-WebSocket-Extensions: {vector['error']}"
        assert str(caught.value) == reason
    else:
        assert verify(vector["response"], config) == read_parameters(vector)


@pytest.mark.parametrize("vector", VECTORS["offers"])
def test_client_offers(vector):
    assert offer(Compression(**vector["config"])) == vector["offer"]


CONFIGS = st.builds(
    Compression,
    max_window_bits=st.integers(9, 15),
    peer_max_window_bits=st.integers(9, 15),
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
)


@given(CONFIGS, CONFIGS)
def test_both_ends_agree(client, server):
    answer, at_server = accept_offers([offer(client)], server)
    assert verify(answer, client) == at_server
    assert at_server.server_max_window_bits == min(
        server.max_window_bits, client.peer_max_window_bits
    )
    assert at_server.client_max_window_bits == min(
        client.max_window_bits, server.peer_max_window_bits
    )


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ({"max_window_bits": 8}, "max_window_bits not between 9 and 15: 8"),
        ({"max_window_bits": 16}, "max_window_bits not between 9 and 15: 16"),
        ({"peer_max_window_bits": 8}, "peer_max_window_bits not between 9 and 15: 8"),
        ({"mem_level": 0}, "mem_level not between 1 and 9: 0"),
        ({"mem_level": 10}, "mem_level not between 1 and 9: 10"),
        ({"level": -1}, "level not between 0 and 9: -1"),
        ({"level": 10}, "level not between 0 and 9: 10"),
        ({"threshold": -1}, "threshold is negative: -1"),
    ],
)
def test_configuration_that_zlib_cannot(setting, rule):
    with pytest.raises(ValueError, match=next(iter(setting))) as caught:
        Compression(**setting)
    assert str(caught.value) == rule


# The codec


def make_pair(threshold=0, client=False, **parameters):
    """Return the sending and the receiving end of one direction."""
    agreed = DeflateParameters(**parameters)
    config = Compression(threshold=threshold)
    sender = config.codec(agreed, client=client)
    return sender, config.codec(agreed, client=not client)


def inflate(codec, compressed, max_size=LIMIT):
    return codec.decompress(compressed, fin=True, max_size=max_size)


EXAMPLES = {
    # the examples of section 7.2.3
    "one block": "f2 48 cd c9 c9 07 00",
    "a block without compression": "00 05 00 fa ff 48 65 6c 6c 6f 00",
    "a block with BFINAL set": "f3 48 cd c9 c9 07 00 00",
    "two blocks": "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
    # more of the kind
    "a final block, then another context": "f3 48 05 00 ca c9 c9 07 00",
    "a final block without compression": "01 05 00 fa ff 48 65 6c 6c 6f 00",
    "nothing but final blocks, one of them the last": "f3 48 05 00 cb c9 c9 07 00",
    "a final block without the octet behind it": "f3 48 cd c9 c9 07 00",
    "an empty final block at the end, cut": "f2 48 cd c9 c9 07 00 00 00 ff ff 01",
    "empty final blocks before": "03 00 03 00 f2 48 cd c9 c9 07 00",
}


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("example", EXAMPLES)
def test_hello_in_every_form_at_every_cut(example, takeover):
    compressed = bytes.fromhex(EXAMPLES[example])
    parameters = DeflateParameters(client_no_context_takeover=not takeover)
    for cut in range(len(compressed) + 1):
        codec = PerMessageDeflate(parameters, client=False)
        first = codec.decompress(compressed[:cut], fin=False, max_size=5)
        last = codec.decompress(compressed[cut:], fin=True, max_size=5)
        assert first + last == b"Hello"
        # and the context is in order afterwards
        assert inflate(codec, bytes.fromhex(EXAMPLES["one block"])) == b"Hello"


def test_second_message_refers_to_the_first():
    """Section 7.2.3.2: sharing the window between messages."""
    codec = PerMessageDeflate(DeflateParameters(), client=True)
    assert inflate(codec, bytes.fromhex("f2 48 cd c9 c9 07 00")) == b"Hello"
    assert inflate(codec, bytes.fromhex("f2 00 11 00 00")) == b"Hello"


def test_a_peer_without_takeover_may_not_refer_to_the_first_message():
    parameters = DeflateParameters(server_no_context_takeover=True)
    codec = PerMessageDeflate(parameters, client=True)
    assert inflate(codec, bytes.fromhex("f2 48 cd c9 c9 07 00")) == b"Hello"
    with pytest.raises(DeflateError, match="invalid deflate data"):
        inflate(codec, bytes.fromhex("f2 00 11 00 00"))


@pytest.mark.parametrize("compressed", ["", "00", "01", "02 00", "03 00"])
def test_an_empty_message(compressed):
    codec = make_pair()[1]
    for _ in range(2):
        assert inflate(codec, bytes.fromhex(compressed), max_size=0) == b""
        assert inflate(codec, b"", max_size=0) == b""
    assert inflate(codec, bytes.fromhex("f2 48 cd c9 c9 07 00")) == b"Hello"


HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
DYNAMIC = zlib.compressobj(9, zlib.DEFLATED, -15)
DYNAMIC = DYNAMIC.compress(b"%r" % list(range(400))) + DYNAMIC.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize(
    "compressed",
    [pytest.param(HELLO[:cut], id=f"Hello-{cut}") for cut in range(1, 7)]
    + [pytest.param(DYNAMIC[:cut], id=f"dynamic-{cut}") for cut in range(1, 90, 4)]
    + [
        pytest.param(bytes.fromhex(text), id=text)
        for text in [
            "ff",  # reserved block type
            "03",  # cut within a final block, and the tail ends it
            "00 04 00 fb ff",  # a stored block that the tail would fill
            "06 00",
            "00 00",  # only two octets of the tail were removed
            "00 05 00 00 00 48",  # length and its complement do not match
            "00 05",  # cut within the length of a stored block
            "00 05 00 fa ff 48 65",  # cut within a stored block
            "00 ff ff 00 00",
            "f2 48 cd c9 c9 07 00 00 00 ff ff",  # the tail was not removed
            "f2 00 11 00 00",  # refers to what was before the first message
        ]
    ],
)
def test_bad_data_is_refused(compressed, takeover):
    parameters = DeflateParameters(client_no_context_takeover=not takeover)
    codec = PerMessageDeflate(parameters, client=False)
    with pytest.raises(DeflateError):
        inflate(codec, compressed)


@pytest.mark.parametrize("bits", range(9, 16))
def test_no_larger_window_is_kept_than_agreed(bits):
    sender = PerMessageDeflate(DeflateParameters(), client=True, level=9)
    noise = random.Random(bits).randbytes(300)
    message = noise + b"-" * (1 << bits) + noise
    compressed = sender.compress(message)
    parameters = DeflateParameters(client_max_window_bits=bits)
    receiver = PerMessageDeflate(parameters, client=False)
    pieces = [compressed[n : n + 1] for n in range(len(compressed))]

    def receive():
        said = b"".join(
            receiver.decompress(piece, fin=False, max_size=LIMIT) for piece in pieces
        )
        return said + receiver.decompress(b"", fin=True, max_size=LIMIT)

    if bits == 15:
        # so far back no compressor may refer
        assert receive() == message
    else:
        with pytest.raises(DeflateError, match="invalid deflate data"):
            receive()


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize(("ours", "theirs"), [(9, 15), (15, 9), (12, 12)])
def test_our_window_is_as_agreed(ours, theirs, client):
    names = ["client_max_window_bits", "server_max_window_bits"]
    bits = dict(zip(names, [ours, theirs] if client else [theirs, ours], strict=True))
    sender, receiver = make_pair(client=client, **bits)
    noise = random.Random(0).randbytes(200)
    for gap in (0, 1 << 9, 1 << 12, 1 << 15):
        message = noise + b"-" * gap + noise
        assert inflate(receiver, sender.compress(message)) == message


PAYLOADS = st.lists(
    st.binary(max_size=300)
    | st.builds(bytes.__mul__, st.binary(max_size=9), st.integers(0, 200)),
    max_size=8,
)


@given(
    PAYLOADS,
    st.randoms(use_true_random=False),
    st.integers(9, 15),
    st.booleans(),
    st.booleans(),
)
def test_what_is_compressed_arrives(payloads, rng, bits, takeover, client):
    side = "client" if client else "server"
    sender, receiver = make_pair(
        client=client,
        **{
            f"{side}_no_context_takeover": not takeover,
            f"{side}_max_window_bits": bits,
        },
    )
    for payload in payloads:
        compressed = sender.compress(payload)
        if compressed is None:
            continue  # sent as it is: the receiver's codec does not see it
        assert len(compressed) < len(payload)
        cuts = sorted(rng.choices(range(len(compressed) + 1), k=3))
        cuts = [0, *cuts, len(compressed)]
        message = b""
        for start, end in itertools.pairwise(cuts[:-1]):
            message += receiver.decompress(
                compressed[start:end], fin=False, max_size=len(payload)
            )
        message += receiver.decompress(
            compressed[cuts[-2] :], fin=True, max_size=len(payload)
        )
        assert message == payload


@given(st.binary(max_size=200), st.booleans(), st.integers(0, 100))
def test_any_data_is_inflated_within_the_limit_or_refused(data, takeover, max_size):
    parameters = DeflateParameters(client_no_context_takeover=not takeover)
    outcomes = []
    for size in (1, 7, 200):
        codec = PerMessageDeflate(parameters, client=False)
        said = b""
        try:
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                said += codec.decompress(piece, fin=False, max_size=max_size)
            said += codec.decompress(b"", fin=True, max_size=max_size)
        except (DeflateError, MessageTooBig):
            outcomes.append(None)
        else:
            outcomes.append(said)
        assert len(said) <= max_size
    assert len(set(outcomes)) == 1


def test_below_the_threshold_nothing_is_compressed():
    sender, _ = make_pair(threshold=100)
    assert sender.compress(b"a" * 99) is None
    assert sender.compress(b"a" * 100) is not None


def test_an_empty_message_is_never_compressed():
    sender, receiver = make_pair(threshold=0)
    assert sender.compress(b"") is None
    assert inflate(receiver, sender.compress(b"a" * 50)) == b"a" * 50
    assert sender.compress(b"") is None


@pytest.mark.parametrize("size", range(2, 16))
@pytest.mark.parametrize("letters", [1, 2, 3, 4, 5])
def test_only_what_becomes_smaller_is_compressed(letters, size):
    payload = (b"abcde"[:letters] * size)[:size]
    compressor = zlib.compressobj(5, zlib.DEFLATED, -15, 5)
    expected = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    expected = expected[:-4]
    smaller = len(expected) < len(payload)
    assert make_pair()[0].compress(payload) == (expected if smaller else None)


def test_what_does_not_become_smaller_is_not_compressed():
    sender, receiver = make_pair()
    noise = random.Random(1).randbytes(1000)
    text = noise[:500].hex().encode()
    assert inflate(receiver, sender.compress(text)) == text
    assert sender.compress(noise) is None
    # what follows does not refer to the noise, which the receiver has not seen
    again = sender.compress(noise * 2)
    assert len(again) > len(noise)
    assert inflate(receiver, again) == noise * 2
    assert inflate(receiver, sender.compress(noise)) == noise


@pytest.mark.parametrize("size", [0, 1, 5, 1000, 70000])
def test_limit_on_the_message(size):
    message = b"a" * size
    compressed = zlib.compressobj(9, zlib.DEFLATED, -15)
    compressed = compressed.compress(message) + compressed.flush(zlib.Z_SYNC_FLUSH)
    compressed = compressed[:-4]
    for max_size in (size, size + 1, size + 2, LIMIT):
        assert inflate(make_pair()[1], compressed, max_size) == message
    for max_size in {max(size - 1, 0), max(size - 2, 0), 0} - {size}:
        with pytest.raises(MessageTooBig) as caught:
            inflate(make_pair()[1], compressed, max_size)
        assert str(caught.value) == f"message longer than {max_size} bytes"


def test_limit_is_for_each_message():
    sender, receiver = make_pair()
    for _ in range(3):
        assert inflate(receiver, sender.compress(b"a" * 80), 80) == b"a" * 80


def test_limit_larger_than_a_machine_word():
    sender, receiver = make_pair()
    compressed = sender.compress(b"a" * 80)
    assert inflate(receiver, compressed, 1 << 80) == b"a" * 80


def test_inflation_is_bounded_while_inflating():
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    data = b"".join(bomb.compress(zeros) for _ in range(300))
    data += bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 310_000
    _, receiver = make_pair()
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooBig):
            inflate(receiver, data[:-4], LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the limit, while zlib's blocks are joined twice that, and what is left of the data
    assert peak < 3 * LIMIT


def test_no_more_is_produced_than_the_limit_and_one(monkeypatch):
    """Counted where it is produced, for a message in many pieces."""
    produced = []

    class Counting:
        def __init__(self, *arguments):
            self.inflater = decompressobj(*arguments)

        def __getattr__(self, name):
            return getattr(self.inflater, name)

        def decompress(self, data, max_length):
            output = self.inflater.decompress(data, max_length)
            produced.append(len(output))
            return output

    decompressobj = zlib.decompressobj
    monkeypatch.setattr(deflate.zlib, "decompressobj", Counting)
    compressed = wire.deflate(b"a" * 9000)

    def receive(size):
        _, receiver = make_pair()
        for start in range(0, len(compressed), size):
            piece = compressed[start : start + size]
            receiver.decompress(piece, fin=False, max_size=4000)

    for size in (1, 3, 9999):
        produced.clear()
        with pytest.raises(MessageTooBig):
            receive(size)
        assert sum(produced) == 4001


def test_the_limit_holds_across_final_blocks():
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = block.compress(b"a" * 50) + block.flush()
    _, receiver = make_pair()
    assert inflate(receiver, block * 2 + b"\0", 100) == b"a" * 100
    with pytest.raises(MessageTooBig):
        inflate(receiver, block * 3 + b"\0", 100)


def test_many_final_blocks_take_linear_time():
    _, receiver = make_pair()
    started = time.process_time()
    assert inflate(receiver, b"\x03\x00" * 250_000) == b""
    # a second or less; minutes when each costs a copy of what is behind it
    assert time.process_time() - started < 10


def test_contexts_are_created_when_needed(monkeypatch):
    created = []

    class Counting:
        def __getattr__(self, name):
            if name in ("compressobj", "decompressobj"):
                created.append(name)
            return getattr(zlib, name)

    monkeypatch.setattr(deflate, "zlib", Counting())
    sender, receiver = make_pair(threshold=50)
    assert sender.compress(b"a" * 49) is None
    assert created == []
    compressed = sender.compress(b"a" * 50)
    assert created == ["compressobj"]
    inflate(receiver, compressed)
    inflate(receiver, sender.compress(b"a" * 50))
    assert created == ["compressobj", "decompressobj"]


def test_contexts_are_dropped_after_each_message(monkeypatch):
    created = []
    original = zlib.compressobj, zlib.decompressobj

    def compressobj(*arguments):
        created.append(arguments)
        return original[0](*arguments)

    def decompressobj(*arguments):
        created.append(arguments)
        return original[1](*arguments)

    monkeypatch.setattr(deflate.zlib, "compressobj", compressobj)
    monkeypatch.setattr(deflate.zlib, "decompressobj", decompressobj)
    sender, receiver = make_pair(
        server_no_context_takeover=True, server_max_window_bits=10
    )
    for _ in range(2):
        assert inflate(receiver, sender.compress(b"a" * 50)) == b"a" * 50
    assert created == [(5, zlib.DEFLATED, -10, 5), (-10,)] * 2


@pytest.fixture
def compressors(monkeypatch):
    """Make no compressor count that other tests left; list those that are created."""
    created = []
    original = zlib.compressobj

    def compressobj(*arguments):
        created.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(deflate, "_compressing", type(deflate._compressing)())
    monkeypatch.setattr(deflate.zlib, "compressobj", compressobj)
    return created


def test_compressors_are_kept_for_those_who_sent_most_recently(compressors):
    pairs = [make_pair() for _ in range(deflate.MAX_COMPRESSORS)]
    text = b"the same text again and again"

    def send(number):
        """Send a message, see it arrive, and tell whether it took a compressor."""
        before = len(compressors)
        sender, receiver = pairs[number]
        assert inflate(receiver, sender.compress(text * 3)) == text * 3
        return len(compressors) > before

    assert all([send(number) for number in range(len(pairs))])
    assert not any([send(number) for number in range(len(pairs))])
    # the first one sends once more, so that the second is now the longest ago
    assert not send(0)
    pairs.append(make_pair())
    assert send(-1)
    assert not send(0)
    assert send(1)
    assert send(2)
    assert not send(-1)


def test_whose_connection_ended_takes_nobodys_place(compressors):
    def live_and_die():
        sender, _ = make_pair()
        sender.compress(b"a" * 50)

    sender, receiver = make_pair()
    sender.compress(b"a" * 50)
    for _ in range(2 * deflate.MAX_COMPRESSORS):
        live_and_die()
    before = len(compressors)
    sender.compress(b"a" * 50)
    assert len(compressors) == before
    assert len(deflate._compressing) == 1


def test_one_that_is_just_going_gives_up_its_place(compressors):
    """Its reference may be dead before it is forgotten, while garbage is collected."""
    gone, _ = make_pair()
    reference = weakref.ref(gone)
    deflate._compressing[reference] = None
    del gone
    senders = [make_pair()[0] for _ in range(deflate.MAX_COMPRESSORS)]
    for sender in senders:
        sender.compress(b"a" * 50)
    assert reference not in deflate._compressing
    assert len(deflate._compressing) == deflate.MAX_COMPRESSORS


def test_what_was_compressed_alone_leaves_the_context_behind(compressors):
    sender, receiver = make_pair()
    text = b"the same text again and again"
    assert sender.compress_alone(b"") is None
    for _ in range(2):
        assert inflate(receiver, sender.compress(text)) == text
        alone = sender.compress_alone(text)
        assert inflate(receiver, alone) == text
        sender.forget_context()
    assert len(compressors) == 4
    # a context that there is not can be forgotten
    sender.forget_context()
    make_pair()[0].forget_context()
    threshold, _ = make_pair(threshold=100)
    assert threshold.compress_alone(b"a" * 99) is None
    assert threshold.compress_alone(random.Random(1).randbytes(100)) is None
    assert threshold.compress_alone(b"a" * 100) is not None


def test_wire_formats_are_equal_when_what_is_sent_is():
    formats = {
        make_pair()[0].wire_format,
        make_pair(client_max_window_bits=9)[0].wire_format,
        make_pair(server_no_context_takeover=True)[0].wire_format,
    }
    assert len(formats) == 1
    others = {
        make_pair(server_max_window_bits=9)[0].wire_format,
        make_pair(threshold=9)[0].wire_format,
        Compression(threshold=0, level=1)
        .codec(DeflateParameters(), client=False)
        .wire_format,
    }
    assert len(formats | others) == 4


@pytest.mark.parametrize("takeover", [True, False])
def test_contexts_are_held_only_with_takeover(takeover):
    sender, receiver = make_pair(server_no_context_takeover=not takeover)
    tracemalloc.start()
    try:
        inflate(receiver, sender.compress(b"a" * 50))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    if takeover:
        assert held > 30_000
    else:
        assert held < 1000


def test_settings_are_values_and_have_the_documented_defaults():
    assert Compression() == Compression(12, 12, 5, 5, 256, False, False)
    assert len({Compression(), Compression(), Compression(9)}) == 2
    agreed = DeflateParameters(client_max_window_bits=9)
    assert len({agreed, DeflateParameters(False, False, 15, 9)}) == 1
    assert Compression().codec(agreed, client=True).parameters is agreed
