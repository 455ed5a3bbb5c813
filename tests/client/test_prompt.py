"""`python -m wsmiddleware connect`: at a terminal and through pipes."""

import base64
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import ssl
import struct
import subprocess
import sys
import termios
import time

import pytest
import trustme
from server.peers import PATIENCE

from wsmiddleware.__main__ import main
from wsmiddleware.prompt import describe, plain, visible

from .scripted import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Request,
    accept_13,
    echo_13,
    expect_close,
    frame,
    read_frame,
    refuse,
)

COMMAND = [sys.executable, "-m", "wsmiddleware", "connect"]

# How a terminal is told what to do
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


def pipe(url, *arguments, data=b""):
    """Run the command with an input, and return its status and both of its outputs.

    It waits long enough for what a slow server sends.
    """
    result = subprocess.run(
        [*COMMAND, url, "--wait", "2", *arguments],
        input=data,
        capture_output=True,
        timeout=PATIENCE,
    )
    return result.returncode, result.stdout.decode(), result.stderr.decode()


# What is shown


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("hello wörld \U0001f600", [("text", "hello wörld \U0001f600")]),
        (
            "a\tb\r\n",
            [("text", "a"), ("hidden", "\\t"), ("text", "b"), ("hidden", "\\r\\n")],
        ),
        ("\x1b[2J", [("hidden", "\\x1b"), ("text", "[2J")]),
        ("\x00\x7f\x9b", [("hidden", "\\x00\\x7f\\x9b")]),
        # Right-to-left override, line separator, zero width space, tag
        (
            "\u202e\u2028\u200b\U000e0041",
            [("hidden", "\\u202e\\u2028\\u200b\\U000e0041")],
        ),
    ],
)
def test_what_is_hidden_is_made_visible(text, pieces):
    assert visible(text) == pieces
    assert plain(text) == "".join(shown for _, shown in pieces)


@pytest.mark.parametrize(
    ("data", "shown"),
    [(b"", "[0 bytes]"), (b"\x1b", "[1 byte] 1b"), (b"\x00\xff", "[2 bytes] 00 ff")],
)
def test_binary_data_is_shown_in_hexadecimal(data, shown):
    assert describe(data) == [("binary", shown)]


# Through pipes


def test_every_line_is_a_message_and_every_message_a_line(scripted):
    server = scripted(echo_13)
    status, out, err = pipe(server.url(), data="hello\r\n\nwörld\nno end".encode())
    assert out == "hello\n\nwörld\nno end\n"
    assert (status, err) == (0, "")


def test_the_terminal_is_safe_from_the_server(scripted):
    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"\x1b[2J\n> fake") + frame(BINARY, b"\x1b\x07"))
        wire.send(frame(CLOSE, b"\x0f\xa1\x1b[31mred"))
        assert read_frame(wire)[0] == CLOSE

    status, out, err = pipe(scripted(script).url())
    assert out == "\\x1b[2J\\n> fake\n[2 bytes] 1b 07\n"
    assert err == "closed with 4001: \\x1b[31mred\n"
    assert status == 3


def test_json_lines(scripted):
    def script(wire):
        accept_13(wire, "Sec-WebSocket-Protocol: chat")
        wire.send(frame(TEXT, "wörld\n\x1b".encode()) + frame(BINARY, b"\x00\xff"))
        expect_close(wire, 1000)

    server = scripted(script)
    status, out, err = pipe(server.url(), "--json", "-s", "chat")
    assert out.isascii()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "open", "url": server.url(), "version": "13", "subprotocol": "chat"},
        {"event": "message", "text": "wörld\n\x1b"},
        {"event": "message", "base64": base64.b64encode(b"\x00\xff").decode()},
        {"event": "close", "code": 1000, "reason": "", "by": "local"},
    ]
    assert (status, err) == (0, "")


def test_json_of_a_refusal(scripted):
    server = scripted(lambda wire: refuse(wire, "403 No", "X-Why: y", body="because"))
    status, out, err = pipe(server.url(), "--json")
    (line,) = out.splitlines()
    assert json.loads(line) == {
        "event": "error",
        "error": "server refused the handshake with status 403",
        "status": 403,
        "headers": [["Content-Length", "7"], ["X-Why", "y"]],
        "body": "because",
    }
    assert (status, err) == (1, "")


def test_a_refusal_is_told_with_its_body(scripted):
    server = scripted(lambda wire: refuse(wire, "403 No", body="be\x1b\ncause"))
    assert pipe(server.url()) == (
        1,
        "",
        "server refused the handshake with status 403\n  be\\x1b\n  cause\n",
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["ws://127.0.0.1:1/", "--proxy", ""], 1, "Connection refused"),
        (["http://127.0.0.1/"], 1, "scheme is neither ws nor wss"),
        (["ws://127.0.0.1/", "-s", "a b"], 1, "subprotocol is not a token"),
        (["ws://127.0.0.1/", "-H", "x"], 2, "header without a colon: 'x'"),
        (["ws://127.0.0.1/", "--version", "14"], 2, "invalid choice: '14'"),
        ([], 2, "required: URL"),
    ],
)
def test_what_cannot_be_done(capsys, arguments, status, message):
    if status == 2:
        with pytest.raises(SystemExit, match="^2$"):
            main(["connect", *arguments])
    else:
        assert main(["connect", *arguments]) == status
    assert message in capsys.readouterr().err


def test_without_a_command_it_says_what_there_is(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "connect" in capsys.readouterr().err


def test_the_options_reach_the_server(scripted):
    requests = []

    def script(wire):
        accept_13(wire, noted=requests)
        expect_close(wire, 1000)

    url = scripted(script).url("/x?y")
    status, _, _ = pipe(
        *(url, "--origin", "http://o.example", "-H", "A: 1", "--header", "B:2:3"),
        *("--subprotocol", "c", "-s", "d", "--wait", "0"),
    )
    (request,) = requests
    assert status == 0
    assert request.value("Origin") == "http://o.example"
    assert (request.value("A"), request.value("B")) == ("1", "2:3")
    assert request.value("Sec-WebSocket-Protocol") == "c, d"


@pytest.mark.parametrize("version", ["8", "7"])
def test_the_version_reaches_the_server(scripted, version):
    requests = []
    server = scripted(lambda wire: accept_13(wire, noted=requests))
    pipe(server.url(), "--version", version)
    assert requests[0].value("Sec-WebSocket-Version") == version


def test_draft_55(scripted):
    def script(wire):
        request = Request(wire)
        host = request.value("Host")
        wire.send(
            b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
            b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n"
            + f"WebSocket-Origin: {request.value('Origin')}\r\n".encode()
            + f"WebSocket-Location: ws://{host}/\r\n\r\n".encode()
        )
        assert wire.read(7) == b"\x00hello\xff"
        wire.send(b"\x00echo\xff")
        wire.read_to_end()

    result = pipe(scripted(script).url(), "--version", "55", data=b"hello\n")
    assert result == (0, "echo\n", "")


def test_insecure(scripted):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere.example").configure_cert(context)
    server = scripted(echo_13, tls=context)
    assert pipe(server.url(), "--insecure", data=b"hi\n") == (0, "hi\n", "")
    status, out, err = pipe(server.url())
    assert (status, out) == (1, "")
    assert "certificate verify failed" in err
    server.check = lambda: None


def test_the_end_of_the_input_waits_for_what_is_still_coming(scripted):
    def script(wire):
        accept_13(wire)
        for _ in range(3):
            wire.is_silent(0.1)
            wire.send(frame(TEXT, b"tick"))
        expect_close(wire, 1000)

    assert pipe(scripted(script).url())[:2] == (0, "tick\n" * 3)


def test_the_server_ends_it_while_the_input_goes_on(scripted):
    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"bye") + frame(CLOSE, b"\x03\xe8"))
        assert read_frame(wire)[0] == CLOSE

    reading, writing = os.pipe()
    with contextlib.closing(os.fdopen(reading)), contextlib.closing(os.fdopen(writing)):
        result = subprocess.run(
            [*COMMAND, scripted(script).url()],
            stdin=reading,
            capture_output=True,
            timeout=PATIENCE,
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"bye\n", b"")


def test_a_connection_that_is_lost(scripted):
    def script(wire):
        accept_13(wire)
        wire.reset()

    status, _, err = pipe(scripted(script).url())
    assert status == 3
    assert err.startswith("closed with 1006")


def test_nobody_reads_the_output(scripted):
    def script(wire):
        accept_13(wire)
        while wire.is_silent(0):
            wire.send(frame(TEXT, b"x" * 1000))
        expect_close(wire, 1000)

    process = subprocess.Popen(
        [*COMMAND, scripted(script).url()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


def test_ctrl_c_leaves_with_a_close_frame(scripted):
    closed = []

    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"ready"))
        expect_close(wire, 1001)
        closed.append(True)

    server = scripted(script)
    process = subprocess.Popen(
        [*COMMAND, server.url()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == b""
    server.stop()
    assert closed == [True]


# At a terminal


class Terminal:
    """The command in a terminal: what it shows, and keys for it."""

    def __init__(self, *arguments, without_library=False):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        environment = {
            **os.environ,
            "TERM": "xterm",
            "PROMPT_TOOLKIT_COLOR_DEPTH": "DEPTH_4_BIT",
        }
        command = [*COMMAND, *arguments]
        if without_library:
            hide = "import sys; sys.modules['prompt_toolkit'] = None"
            start = "from wsmiddleware.__main__ import main; sys.exit(main())"
            command = [sys.executable, "-c", f"{hide}; {start}", *command[3:]]
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.raw = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    @property
    def shown(self):
        return CONTROL.sub("", self.raw)

    def _read(self):
        assert select.select([self.master], [], [], PATIENCE)[0], self.shown
        try:
            data = os.read(self.master, 65536)
        except OSError:  # what Linux says when the other side is closed
            data = b""
        self.raw += data.decode("utf-8", "replace")
        # Asked where its cursor is, a terminal answers.
        for _ in range(data.count(b"\x1b[6n")):
            os.write(self.master, b"\x1b[1;1R")
        return data

    def _read_for(self, seconds):
        """Read what is shown meanwhile; the prompt is drawn again every second."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0] or not self._read():
                return

    def wait_for(self, text):
        """Wait until this is shown, behind what was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._read(), self.shown

    def type(self, keys):
        os.write(self.master, keys.encode())

    def wait(self, key=""):
        """Wait until it ends, and return its exit status.

        The key is pressed again if need be: while a message is being printed, the
        terminal is not prompt_toolkit's, and takes control characters for itself.
        """
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown
            self.type(key)
            self._read_for(3)
        while self._read():
            pass
        return self.process.wait()


@pytest.fixture
def library():
    pytest.importorskip("prompt_toolkit")


@pytest.mark.usefixtures("library")
def test_typing_lines(scripted):
    received = []

    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"welcome \x1b[31m"))
        while (item := read_frame(wire))[0] != CLOSE:
            received.append(item[1].decode())
            wire.send(frame(TEXT, b"got " + item[1]))
        assert item[1] == b"\x03\xe8"
        wire.send(frame(CLOSE, item[1]))

    with Terminal(scripted(script).url()) as terminal:
        terminal.wait_for("open: version 13")
        terminal.wait_for("welcome \\x1b[31m")
        terminal.wait_for("latency")
        # A line can be edited: back four times, delete, and to the end.
        terminal.type("wurld\x02\x02\x02\x02\x7fx\x05!\r")
        terminal.wait_for("got xurld!")
        terminal.type("hello\r")
        terminal.wait_for("got hello")
        # What was typed stays on the screen, above its answer.
        assert terminal.shown.index("> hello") < terminal.shown.index("got hello")
        assert terminal.wait("\x04") == 0
        assert "closed with 1000" in terminal.shown
    assert received == ["xurld!", "hello"]


@pytest.mark.usefixtures("library")
def test_pinging_by_key(scripted):
    pings = []

    def script(wire):
        accept_13(wire)
        while (item := read_frame(wire))[0] == PING:
            pings.append(item[1])
            wire.send(frame(PONG, item[1]))
            wire.send(frame(TEXT, b"ponged"))
        wire.send(frame(*item))

    with Terminal(scripted(script).url()) as terminal:
        terminal.wait_for("latency not measured")
        terminal.type("\x10")
        terminal.wait_for("ponged")
        terminal.wait_for(" ms ")
        assert terminal.wait("\x04") == 0
    assert len(pings) == 1


@pytest.mark.usefixtures("library")
def test_ctrl_c_at_the_prompt(scripted):
    def script(wire):
        accept_13(wire)
        expect_close(wire, 1001)

    with Terminal(scripted(script).url()) as terminal:
        terminal.wait_for("latency")
        terminal.type("half a line")
        assert terminal.wait("\x03") == 130


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("code", "status"), [(1000, 0), (1011, 3)])
def test_the_server_closes_while_one_types(scripted, code, status):
    def script(wire):
        accept_13(wire)
        opcode, payload = read_frame(wire)
        assert (opcode, payload) == (TEXT, b"go")
        wire.send(frame(TEXT, b"last words"))
        wire.send(frame(CLOSE, code.to_bytes(2, "big") + b"why"))
        assert read_frame(wire)[0] == CLOSE

    with Terminal(scripted(script).url()) as terminal:
        terminal.wait_for("latency")
        terminal.type("go\r")
        assert terminal.wait() == status
        assert "last words" in terminal.shown
        assert f"closed with {code}: why" in terminal.shown
        assert terminal.shown.index("last words") < terminal.shown.index("closed with")


@pytest.mark.usefixtures("library")
def test_the_server_closes_at_once(scripted):
    def script(wire):
        accept_13(wire)
        wire.send(frame(TEXT, b"busy") + frame(CLOSE, b"\x03\xf5"))
        assert read_frame(wire)[0] == CLOSE

    with Terminal(scripted(script).url()) as terminal:
        assert terminal.wait() == 3
        assert "busy" in terminal.shown


def test_without_the_library_lines_are_sent_as_well(scripted):
    with Terminal(scripted(echo_13).url(), without_library=True) as terminal:
        terminal.type("hello\n")
        terminal.wait_for("hello\nhello\n")
        assert terminal.wait("\x04") == 0
