"""What the client's tests share.

The tests of some modules here run three times, because a client's caller waits in
three ways: as a thread, as a greenlet, and as a greenlet where the standard library
is patched. `test_modes.py` runs them again for the latter two, in processes of their
own; there WSMIDDLEWARE_CLIENT_MODE names the way.
"""

import os
import socket

import gevent
import pytest
from gevent._hub_local import get_hub_if_exists
from server.conftest import running, shared  # noqa: F401

from wsmiddleware.channel import current_waiting

from .concurrency import MODE
from .scripted import ScriptedServer


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test in a greenlet where greenlets are tested."""
    if MODE == "threads":
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in _names(pyfuncitem)}
    outcome = []

    def run():
        try:
            pyfuncitem.obj(**arguments)
        except BaseException as error:
            outcome.append(error)

    gevent.spawn(run).join()
    for error in outcome:
        raise error
    return True


def _names(pyfuncitem):
    return pyfuncitem._fixtureinfo.argnames


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Take the proxies out of the environment, and see that the mode is on."""
    if MODE == "greenlets":
        gevent.get_hub()
    elif MODE == "threads" and (hub := get_hub_if_exists()) is not None:
        hub.destroy()  # another test of this process left it
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    assert current_waiting().is_thread == (MODE == "threads")


@pytest.fixture
def scripted():
    """Start scripted servers, which end with the test."""
    servers = []

    def start(script, **details):
        server = ScriptedServer(script, **details).__enter__()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
    for server in servers:
        server.check()


@pytest.fixture
def refusing_port():
    """A port that nobody listens on, and nobody else is given."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
