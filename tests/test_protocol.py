"""The interface that every protocol has, and the table of its states."""

import pytest

from wsmiddleware import protocol
from wsmiddleware.protocol import TRANSITIONS, Protocol


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("receive_data", (b"",)),
        ("send_text", ("",)),
        ("send_binary", (b"",)),
        ("send_shared", ("", {})),
        ("send_ping", ()),
        ("send_pong", ()),
        ("send_close", ()),
    ],
)
def test_a_protocol_must_say_how(core, method, arguments):
    bare = core.modules["protocol"].Protocol()
    with pytest.raises(NotImplementedError):
        getattr(bare, method)(*arguments)


@pytest.mark.parametrize("name", ["RFC6455", "Hixie55", "Hixie76"])
def test_every_protocol_has_the_whole_interface(core, name):
    methods = {name for name in dir(Protocol) if not name.startswith("_")}
    made = getattr(core, name)(client=False)
    for method in methods:
        assert hasattr(made, method)
    for attribute in ("version", "subprotocol", "state", "has_ping"):
        assert hasattr(made, attribute)


def test_states_only_go_on():
    for (state, _), following in TRANSITIONS.items():
        assert following > state
    assert protocol.CLOSED not in {state for state, _ in TRANSITIONS}
