"""A handler that keeps its whole worker waiting is named in the log."""

import re

import pytest


def block(server):
    """Have a handler compute for a second, and see that it is over."""
    client = server.open("13", "/compute")
    client.send("go")
    assert client.receive() == "first"
    client.close()
    server.settle()


def test_handler_that_computes_is_named_once(start):
    server = start("ours", env={"WSMIDDLEWARE_MAX_BLOCKING": "0.4"})
    block(server)
    # There may be other warnings on a machine that is busy with something else.
    _, *warnings = re.split(
        r"WARNING.*was blocked for ([\d.]+) s", server.log.text(server.mark)
    )
    (named,) = [n for n, text in enumerate(warnings) if ", in compute\n" in text]
    seconds, stack = warnings[named - 1 : named + 1]
    assert float(seconds) >= 1
    assert "apps.py" in stack
    assert "while time.monotonic() < busy_until" in stack


@pytest.mark.parametrize("limit", ["none", "30"])
def test_handler_may_compute_for_as_long_as_it_is_let(start, limit):
    server = start("ours", env={"WSMIDDLEWARE_MAX_BLOCKING": limit})
    block(server)
    assert not server.log.find("blocked", server.mark)


def test_who_waits_blocks_nobody(start):
    # Long enough that a busy machine lets the worker run in between.
    server = start("ours", env={"WSMIDDLEWARE_MAX_BLOCKING": "2"})
    client = server.open("13")
    assert client.wire.is_silent(4.5)
    client.send("still there")
    assert client.receive() == "still there"
    server.settle()
    assert not server.log.find("blocked", server.mark)
