"""What the tests of the core share: both builds of it, and ways of feeding it."""

import importlib
import importlib.util
import os
import random
import sys
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from wsmiddleware.events import Close, Fail

# Other work on the machine makes a time limit for each example, or for making a few
# of them, a coin toss.
settings.register_profile(
    "wsmiddleware",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("wsmiddleware")

# The rooms whose source is compiled, or which hold on to one that is, upwards.
ROOMS = ["masking", "frames", "reader", "protocol", "rfc6455", "hixie"]


def gather(modules):
    return SimpleNamespace(
        modules=modules,
        apply_mask=modules["masking"].apply_mask,
        FrameReader=modules["reader"].FrameReader,
        RFC6455=modules["rfc6455"].RFC6455,
        Hixie55=modules["hixie"].Hixie55,
        Hixie76=modules["hixie"].Hixie76,
    )


def load_interpreted():
    """Return the core as it runs without the extension, beside the installed one."""
    package = importlib.import_module("wsmiddleware")
    hidden = [f"wsmiddleware.{room}" for room in ROOMS]
    kept = {name: sys.modules.get(name) for name in [*hidden, "wsmiddleware._native"]}
    # An entry of None makes its import fail.
    sys.modules["wsmiddleware._native"] = None
    modules = {}
    try:
        for room, name in zip(ROOMS, hidden, strict=True):
            path = f"{package.__path__[0]}/{room}.py"
            spec = importlib.util.spec_from_file_location(name, path)
            modules[room] = importlib.util.module_from_spec(spec)
            sys.modules[name] = modules[room]
            spec.loader.exec_module(modules[room])
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        for room in ROOMS:
            module = sys.modules.get(f"wsmiddleware.{room}")
            if module is not None:
                setattr(package, room, module)
    return gather(modules)


def load_compiled():
    """Return the core as it is installed when its extension is there, or skip."""
    modules = {room: importlib.import_module(f"wsmiddleware.{room}") for room in ROOMS}
    if modules["reader"].__file__.endswith(".py"):
        if os.environ.get("WSMIDDLEWARE_REQUIRE_EXTENSION"):
            pytest.fail("the package was installed without its extension")
        pytest.skip("the package was installed without its extension")
    return gather(modules)


@pytest.fixture(scope="session", params=["interpreted", "compiled"])
def core(request):
    """The core, interpreted and compiled."""
    return load_interpreted() if request.param == "interpreted" else load_compiled()


def receive(protocol, pieces):
    """Feed a protocol piece by piece; return all events."""
    return [event for piece in pieces for event in protocol.receive_data(piece)]


def cut(data, places):
    """Cut data at the places, which need not be in order."""
    places = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


def has_ended(events):
    return bool(events) and isinstance(events[-1], (Close, Fail))


@pytest.fixture
def feed():
    """Feed octets in every way, and expect the same events each time.

    `make` makes a protocol. The octets go in whole, byte by byte, at random cuts, and,
    where `following` gives the octets and the events of a next message, with that
    behind them. After an event that ends the connection there must be none.
    """

    def feed(make, data, expected, following=None):
        ways = {"whole": [data]}
        if len(data) <= 1 << 18:
            ways["byte by byte"] = [data[n : n + 1] for n in range(len(data))]
        places = random.Random(data)
        for number in (1, 2, 3, 8):
            places_of_cuts = places.choices(range(len(data) + 1), k=number)
            ways[f"cut at {places_of_cuts}"] = cut(data, places_of_cuts)
        for way, pieces in ways.items():
            assert receive(make(), pieces) == expected, way
        if following is None:
            return
        octets, events = following
        both = expected if has_ended(expected) else expected + events
        assert receive(make(), [data + octets]) == both, "with the next message"
        assert receive(make(), [data, octets]) == both, "before the next message"

    return feed
