"""Ctrl-C in a program that uses the client, in each way of waiting."""

import signal
import subprocess
import sys
import threading

import pytest
from server.peers import PATIENCE

from .scripted import TEXT, Request, accept_13, expect_close, frame

RECEIVE = """
from wsmiddleware import connect
with connect(sys.argv[1]) as ws:
    for message in ws:
        print(message, flush=True)
"""

RECONNECT = """
from wsmiddleware import connect
for ws in connect.reconnecting(sys.argv[1]):
    with ws:
        for message in ws:
            print(message, flush=True)
"""

CONNECT = """
from wsmiddleware import connect
connect(sys.argv[1], open_timeout=60)
"""

MODES = {
    "threads": "import sys\n",
    "greenlets": "import sys, gevent\ngevent.sleep(0)\n",
    "patched": "import gevent.monkey\ngevent.monkey.patch_all()\nimport sys\n",
}


def interrupt(program, url, ready=None):
    """Run a program, interrupt it when it is ready, and return what it says.

    It is ready when it says so, or when the event is set.
    """
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", program, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        if ready is None:
            assert process.stdout.readline() == "ready\n"
        else:
            assert ready.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT
        return process.stderr.read()


def check(errors):
    """Look for nothing but the traceback that Python prints of an interrupt."""
    assert errors.endswith("KeyboardInterrupt\n")
    assert errors.count("Traceback") == 1
    assert "Warning" not in errors


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("program", [RECEIVE, RECONNECT], ids=["once", "reconnecting"])
def test_ctrl_c_leaves_with_a_close_frame(scripted, mode, program):
    closed = []

    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"ready"))
        expect_close(wire, 1001)
        closed.append(True)

    server = scripted(script)
    check(interrupt(MODES[mode] + program, server.url()))
    server.stop()
    assert closed == [True]


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c_ends_connecting(scripted, mode):
    ended = []
    asked = threading.Event()

    def script(wire):
        Request(wire)
        asked.set()
        ended.append(wire.read_to_end())

    server = scripted(script)
    check(interrupt(MODES[mode] + CONNECT, server.url(), asked))
    server.stop()
    assert ended == [b""]
