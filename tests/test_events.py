"""Events are values: equal when they say the same, and printed as they are made."""

import pytest

from wsmiddleware.events import ChallengeResponse, Close, CloseCode, Fail, Ping, Pong

EVENTS = [
    Ping(b"a"),
    Ping(b"b"),
    Pong(b"a"),
    ChallengeResponse(b"a"),
    Close(1000, ""),
    Close(1000, "bye"),
    Close(1001, ""),
    Fail(1000, ""),
]


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_equals_only_its_like(event):
    again = eval(repr(event))
    assert again is not event
    assert [other for other in EVENTS if other == again] == [event]
    assert hash(again) == hash(event)
    assert event != repr(event)
    assert not hasattr(event, "__dict__")


def test_close_codes_are_numbers():
    assert CloseCode.GOING_AWAY == 1001
    assert f"{CloseCode.GOING_AWAY.value}" == "1001"
