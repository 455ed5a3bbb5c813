"""Settings are checked when they are made, not when the first client comes."""

import re

import pytest

from wsmiddleware.options import Options


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"versions": "13"}, "versions must be a list of some of"),
        ({"versions": ["13", "14"]}, "versions must be a list of some of"),
        ({"accept": "later"}, "accept must be one of"),
        ({"overflow": "drop"}, "overflow must be one of"),
        (
            {"subprotocols": "chat"},
            "subprotocols must be a list or a callable, not a string",
        ),
        ({"max_message_size": -1}, "max_message_size must not be negative"),
        ({"ping_interval": -0.5}, "ping_interval must not be negative"),
    ],
)
def test_settings_that_are_refused(setting, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Options(**setting)


def test_settings_that_are_accepted():
    options = Options(
        versions=["13"], subprotocols=["chat"], ping_interval=None, max_message_size=0
    )
    assert options.subprotocols == ["chat"]
    assert callable(Options(subprotocols=lambda offered: None).subprotocols)
