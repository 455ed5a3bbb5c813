"""The fuzzer's corpora, on both builds, and random inputs for the same rules."""

from pathlib import Path

import pytest
import wire
from fuzz import targets
from hypothesis import given
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "fuzz" / "corpus"


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.__name__)
def test_corpus(core, target):
    lines = (CORPUS / f"{target.__name__}.txt").read_text().split()
    assert lines
    for line in lines:
        target(core, bytes.fromhex(line))


def test_every_corpus_has_its_target():
    names = {path.stem for path in CORPUS.iterdir()}
    assert names == {target.__name__ for target in targets.TARGETS}


@given(octets=st.binary(max_size=100))
@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.__name__)
def test_any_octets(core, target, octets):
    target(core, octets)


PAYLOADS = st.binary(max_size=80) | st.text(max_size=30).map(str.encode)
FRAMES = st.builds(
    wire.frame,
    st.sampled_from([0, 0, 1, 1, 2, 8, 9, 10, 3, 15]),
    PAYLOADS | PAYLOADS.map(wire.deflate),
    fin=st.sampled_from([True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 4, 1]),
    masked=st.just(True),
    octets=st.none() | st.just(2),
)


@given(
    settings=st.integers(0, 31).map(lambda bits: bits * 2),
    size=st.integers(0, 31),
    frames=st.lists(FRAMES, max_size=8),
)
def test_any_frames(core, settings, size, frames):
    targets.rfc6455(core, bytes([settings, size]) + b"".join(frames))
