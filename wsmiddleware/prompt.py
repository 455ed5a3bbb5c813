"""`wsmiddleware connect`: talk to a WebSocket server at the prompt, or through a pipe.

At a terminal every line that is typed is a message, and what arrives is printed above
the line; with prompt_toolkit (the extra `cli`) lines can be edited, and keys ping and
close. From a pipe every line is a message too; what arrives goes to the standard
output, and everything else to standard error.

The rule: nothing that a server sends reaches the terminal as a control character.
"""

import argparse
import base64
import json
import os
import select
import ssl
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Any

from wsmiddleware.client import connect
from wsmiddleware.events import CloseCode
from wsmiddleware.exceptions import ConnectionClosed, HandshakeError
from wsmiddleware.websocket import ThreadedWebSocket, WebSocket

__all__ = ["add_arguments", "run"]

# Exit statuses; 2 is argparse's.
NOT_CONNECTED = 1
LOST = 3
INTERRUPTED = 130

# How long, in seconds, what has arrived may take to be printed after the close
CLOSE_PATIENCE = 5.0

# A close with one of these is a good end.
GOOD_CODES = (
    CloseCode.NORMAL_CLOSURE,
    CloseCode.GOING_AWAY,
    CloseCode.NO_STATUS_RECEIVED,
)

# Unicode's categories of characters that are shown by their number: controls, formats
# such as those that turn the direction of text, surrogates, separators of lines.
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

# A piece of output: its kind, which is a style of STYLES, and its text.
Piece = tuple[str, str]

PROMPT = "> "

STYLES = {
    "prompt": "ansigreen",
    "text": "",
    "hidden": "reverse",
    "binary": "ansiyellow",
    "note": "ansibrightblack",
    "error": "ansired",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the subcommand."""
    add = parser.add_argument
    add("url", metavar="URL", help="where to connect: a ws or wss URL")
    versions = ["13", "8", "7", "76", "55"]
    add("--version", choices=versions, default="13", help="protocol version (13)")
    add("--origin", help="origin to name, such as https://example.com")
    add_request_options(add)
    add("--proxy", metavar="URL", help="proxy to use; with '' none")
    add("--unix", metavar="PATH", help="unix socket to connect to")
    count: dict[str, Any] = {"metavar": "N", "type": int}
    seconds: dict[str, Any] = {"metavar": "S", "type": float}
    add("--redirects", default=0, help="how many redirects to follow (0)", **count)
    add("--timeout", default=10.0, help="seconds to connect in (10)", **seconds)
    add(
        "--wait",
        default=1.0,
        help="seconds of silence to wait for when a piped input has ended (1)",
        **seconds,
    )
    add("--json", action="store_true", help="print each event as a line of JSON")


def add_request_options(add: Callable[..., Any]) -> None:
    """Add the options that say what a request carries, and whom it trusts."""
    add(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        type=header,
        help="header to send; may be given again",
    )
    add(
        "-s",
        "--subprotocol",
        metavar="NAME",
        action="append",
        default=[],
        help="subprotocol to offer; may be given again",
    )
    add("--insecure", action="store_true", help="take any certificate")


def header(text: str) -> tuple[str, str]:
    """Return the name and the value of a header that is given as an argument."""
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"header without a colon: {text!r}")
    return name.strip(), value.strip()


def run(arguments: argparse.Namespace) -> int:
    """Connect, talk until the connection is closed, and return the exit status."""
    screen = _choose_screen(arguments.json)
    try:
        websocket = connect(arguments.url, **_settings(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OSError, ValueError, ImportError, HandshakeError) as error:
        screen.failed(error)
        return NOT_CONNECTED
    screen.opened(arguments.url, websocket)
    return Conversation(websocket, screen, arguments.wait).run()


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "version": arguments.version,
        "origin": arguments.origin,
        "headers": arguments.header,
        "subprotocols": arguments.subprotocol,
        "unix_path": arguments.unix,
        "max_redirects": arguments.redirects,
        "open_timeout": arguments.timeout,
    }
    if arguments.proxy is not None:
        settings["proxy"] = arguments.proxy or None
    if arguments.insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        settings["ssl_context"] = settings["proxy_ssl_context"] = context
    return settings


# What is printed


def visible(text: str) -> list[Piece]:
    """Split text into what is shown as it is, and what stands for hidden characters."""
    pieces: list[Piece] = []
    for character in text:
        hidden = unicodedata.category(character) in HIDDEN
        kind, shown = ("hidden", _escape(character)) if hidden else ("text", character)
        if pieces and pieces[-1][0] == kind:
            shown = pieces.pop()[1] + shown
        pieces.append((kind, shown))
    return pieces


def _escape(character: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    number = ord(character)
    if named is not None:
        return named
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def plain(text: str) -> str:
    """Return text with its hidden characters made visible."""
    return "".join(shown for _, shown in visible(text))


def describe(message: str | bytes) -> list[Piece]:
    """Return the pieces to print of a message; binary data in hexadecimal."""
    if isinstance(message, str):
        return visible(message)
    unit = "byte" if len(message) == 1 else "bytes"
    return [("binary", f"[{len(message)} {unit}] {message.hex(' ')}".rstrip())]


def ending(websocket: WebSocket) -> str:
    """Return how a connection was closed, in words."""
    reason = f": {plain(websocket.close_reason)}" if websocket.close_reason else ""
    return f"closed with {websocket.close_code}{reason}"


class Screen:
    """Print messages to the standard output, and the rest to standard error."""

    def message(self, message: str | bytes) -> None:
        """Print a message."""
        print("".join(shown for _, shown in describe(message)), flush=True)

    def note(self, text: str, kind: str = "note") -> None:
        """Print what is no message; of notes, only errors where nobody reads along."""
        if kind == "error":
            print(text, file=sys.stderr, flush=True)

    def typed(self, line: str) -> None:
        """Leave a line that was typed and sent on the screen."""

    def opened(self, url: str, websocket: WebSocket) -> None:
        """Say that the connection is open."""
        subprotocol = websocket.subprotocol
        agreed = f", subprotocol {subprotocol}" if subprotocol is not None else ""
        self.note(f"open: version {websocket.version}{agreed}")

    def failed(self, error: Exception) -> None:
        """Say why there is no connection, with what a server says about it."""
        self.note(plain(str(error)), "error")
        if isinstance(error, HandshakeError):
            for line in error.body.decode("utf-8", "replace").splitlines():
                self.note(f"  {plain(line)}", "error")

    def closed(self, websocket: WebSocket) -> None:
        """Say how the connection was closed."""
        good = websocket.close_code in GOOD_CODES
        self.note(ending(websocket), "note" if good else "error")


class Terminal(Screen):
    """Print to a terminal, in colours."""

    def message(self, message: str | bytes) -> None:
        """Print a message."""
        self._print(describe(message))

    def note(self, text: str, kind: str = "note") -> None:
        """Print what is no message."""
        self._print([(kind, text)], sys.stderr if kind == "error" else None)

    def typed(self, line: str) -> None:
        """Leave a line that was typed and sent on the screen."""
        self._print([("prompt", PROMPT), ("text", plain(line))])

    def _print(self, pieces: list[Piece], file: Any = None) -> None:
        from prompt_toolkit import print_formatted_text
        from prompt_toolkit.formatted_text import FormattedText

        styled = FormattedText([(STYLES[kind], shown) for kind, shown in pieces])
        print_formatted_text(styled, file=file, flush=True)


class JSONScreen(Screen):
    """Print each event as a line of JSON to the standard output."""

    def message(self, message: str | bytes) -> None:
        """Print a message."""
        if isinstance(message, str):
            self._print("message", text=message)
        else:
            self._print("message", base64=base64.b64encode(message).decode())

    def note(self, text: str, kind: str = "note") -> None:
        """Print nothing: notes are for people."""

    def opened(self, url: str, websocket: WebSocket) -> None:
        """Say that the connection is open."""
        self._print(
            "open",
            url=url,
            version=websocket.version,
            subprotocol=websocket.subprotocol,
        )

    def failed(self, error: Exception) -> None:
        """Say why there is no connection."""
        details: dict[str, Any] = {}
        if isinstance(error, HandshakeError):
            details["status"] = error.status
            details["headers"] = error.headers
            details["body"] = error.body.decode("utf-8", "replace")
        self._print("error", error=str(error), **details)

    def closed(self, websocket: WebSocket) -> None:
        """Say how the connection was closed."""
        self._print(
            "close",
            code=websocket.close_code,
            reason=websocket.close_reason,
            by=websocket.closed_by,
        )

    def _print(self, event: str, **details: Any) -> None:
        # In ASCII, so that nothing is left that a terminal would act upon.
        print(json.dumps({"event": event, **details}), flush=True)


def _choose_screen(as_json: bool) -> Screen:
    if as_json:
        return JSONScreen()
    return Terminal() if sys.stdout.isatty() and _has_prompt_toolkit() else Screen()


def _has_prompt_toolkit() -> bool:
    try:
        import prompt_toolkit  # noqa: F401
    except ImportError:
        return False
    return True


# The conversation


class Conversation:
    """Send what is typed and print what arrives, until the connection is closed."""

    def __init__(self, websocket: WebSocket, screen: Screen, wait: float) -> None:
        self._websocket = websocket
        self._screen = screen
        self._wait = wait
        self._arrived = threading.Event()
        self._ended = threading.Event()
        self._on_end: Callable[[], None] = lambda: None

    def run(self) -> int:
        """Return the exit status."""
        receiver = threading.Thread(target=self._receive, daemon=True)
        interrupted = False
        try:
            if sys.stdin is not None and sys.stdin.isatty() and _has_prompt_toolkit():
                self._read_prompt(receiver)
            else:
                self._read_lines(receiver)
            self._websocket.close()
        except KeyboardInterrupt:
            interrupted = True
            # A second one, while the close is on its way, does not wait for it.
            with suppress(KeyboardInterrupt):
                self._websocket.close(CloseCode.GOING_AWAY)
        receiver.join(CLOSE_PATIENCE)
        self._screen.closed(self._websocket)
        if interrupted:
            return INTERRUPTED
        return 0 if self._websocket.close_code in GOOD_CODES else LOST

    def _receive(self) -> None:
        try:
            for message in self._websocket:
                self._screen.message(message)
                self._arrived.set()
        except BrokenPipeError:
            # Nobody reads the output any more; the interpreter shall not complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            self._ended.set()
            self._arrived.set()
            self._on_end()

    def _send(self, line: str) -> None:
        # What is typed while the connection closes is lost, and `closed` says why.
        with suppress(ConnectionClosed):
            self._websocket.send(line)

    def _read_lines(self, receiver: threading.Thread) -> None:
        reading, writing = os.pipe()
        self._on_end = lambda: os.close(writing)
        receiver.start()
        try:
            if sys.stdin is not None:
                for line in _lines(sys.stdin.fileno(), reading):
                    self._send(line)
            while not self._ended.is_set() and self._arrived.wait(self._silence()):
                self._arrived.clear()
        finally:
            os.close(reading)

    def _silence(self) -> float | None:
        return None if self._wait == inf else self._wait

    def _read_prompt(self, receiver: threading.Thread) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.patch_stdout import patch_stdout

        session: PromptSession[str] = PromptSession(
            PROMPT,
            key_bindings=self._keys(),
            bottom_toolbar=self._toolbar,
            refresh_interval=1.0,
        )
        app = session.app

        def leave() -> None:
            if app.future is not None and not app.future.done():
                app.exit(exception=EOFError())

        def leave_soon() -> None:
            # Before the prompt and behind it there is no loop, or a closed one.
            loop = app.loop
            if loop is not None:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(leave)

        def begin() -> None:
            self._on_end = leave_soon
            receiver.start()

        with patch_stdout(), suppress(EOFError):
            session.prompt(pre_run=begin)

    def _keys(self) -> Any:
        from prompt_toolkit.key_binding import KeyBindings

        keys = KeyBindings()

        @keys.add("enter")
        def send(event: Any) -> None:
            """Send the line. The prompt goes on, so that no key is lost between two."""
            buffer = event.app.current_buffer
            line = buffer.text
            buffer.reset(append_to_history=True)
            self._screen.typed(line)
            self._send(line)

        @keys.add("c-p")
        def ping(event: Any) -> None:
            """Ping the server, which measures the latency."""
            self._ping()

        return keys

    def _ping(self) -> None:
        websocket = self._websocket
        assert isinstance(websocket, ThreadedWebSocket)
        with websocket.lock, suppress(ConnectionClosed):
            websocket.send_keepalive()

    def _toolbar(self) -> str:
        websocket = self._websocket
        latency = websocket.latency
        measured = f"{latency * 1000:.0f} ms" if latency is not None else "not measured"
        return (
            f" {plain(websocket.path)}  version {websocket.version}  "
            f"latency {measured}  ^P ping  ^D close  ^C leave "
        )


def _lines(fd: int, wake: int) -> Iterator[str]:
    # Yield the lines of a file until it ends or `wake` is written to or closed.
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    rest = b""
    while True:
        if any(ready == wake for ready, _ in poll.poll()):
            return
        data = os.read(fd, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
