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
        ({"idle_timeout": float("nan")}, "idle_timeout must not be negative"),
        ({"max_message_size": "64k"}, "max_message_size must be a number, not '64k'"),
        ({"max_queue": None}, "max_queue must be a number, not None"),
        ({"max_queue": 1.5}, "max_queue must be a number, not 1.5"),
        ({"close_timeout": None}, "close_timeout must be a number, not None"),
        ({"ping_timeout": True}, "ping_timeout must be a number, not True"),
        ({"metrics_interval": 0}, "metrics_interval must not be 0; None switches it"),
        ({"max_blocking": 0.0}, "max_blocking must not be 0; None switches it off"),
        ({"compression": "off"}, "compression must be True, False or a Compression"),
        ({"drain_code": 1000}, "drain_code must be 1001 or 1012"),
        (
            {"trusted_proxies": "127.0.0.1"},
            "trusted_proxies must be a list, not a string",
        ),
        (
            {"trusted_proxies": ["localhost"]},
            "trusted_proxies: 'localhost' does not appear to be an IPv4 or IPv6",
        ),
        (
            {"trusted_proxies": ["10.1.2.3/8"]},
            "trusted_proxies: 10.1.2.3/8 has host bits set",
        ),
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
    proxies = ["unix", "::1", "10.0.0.0/8"]
    assert Options(trusted_proxies=proxies).trusted_proxies is proxies


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("versions", "13, 8", ["13", "8"]),
        ("allowed_origins", "null,https://*.a.com", ["null", "https://*.a.com"]),
        ("allowed_origins", "none", None),
        ("subprotocols", "chat,superchat,", ["chat", "superchat"]),
        ("accept", "immediately", "immediately"),
        ("compression", "off", False),
        ("compression", "ON", True),
        ("max_message_size", "65536", 65536),
        ("max_frame_size", "None", None),
        ("max_frame_size", "100", 100),
        ("ping_interval", "2.5", 2.5),
        ("ping_interval", "none", None),
        ("overflow", "drop_oldest", "drop_oldest"),
        ("trusted_proxies", "unix,10.0.0.0/8", ["unix", "10.0.0.0/8"]),
    ],
)
def test_settings_from_the_environment(name, text, value):
    options = Options.from_environment({}, {f"WSMIDDLEWARE_{name.upper()}": text})
    assert getattr(options, name) == value
    assert type(getattr(options, name)) is type(value)


def test_settings_in_code_go_before_the_environment():
    environment = {"WSMIDDLEWARE_MAX_QUEUE": "5", "WSMIDDLEWARE_MAX_PINGS": "7"}
    options = Options.from_environment({"max_queue": 9}, environment)
    assert (options.max_queue, options.max_pings) == (9, 7)
    assert Options.from_environment({}, {}) == Options()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_message_size", "1MB"),
        ("max_message_size", "none"),
        ("ping_interval", "often"),
        ("compression", "perhaps"),
    ],
)
def test_settings_from_the_environment_that_make_no_sense(name, text):
    variable = f"WSMIDDLEWARE_{name.upper()}"
    message = re.escape(f"{variable}={text!r} is not a valid {name}")
    with pytest.raises(ValueError, match=message):
        Options.from_environment({}, {variable: text})
