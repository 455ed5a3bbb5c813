"""A real Chromium, a real gunicorn, and pictures of what was seen."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from server.conftest import reserve

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURES = ROOT / "artefacts" / "browser"

REQUIRED = bool(os.environ.get("WSMIDDLEWARE_REQUIRE"))
PATIENCE = 60  # seconds

# Nothing but the pages under test: no look-ups, no updates, no accounts.
QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
]

FAULT = re.compile(r"Traceback|\[(WARNING|ERROR|CRITICAL)\]|Warning:")
# A page may be so quick to reconnect that it meets the server that it has just lost.
EXPECTED = re.compile(r"503 Service Unavailable: This server is going away")


def missing(what):
    """Skip the test, or fail it where everything has to be there."""
    if REQUIRED:
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="package")
def browser():
    """Start Chromium, headless."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        missing("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    # Chromium's sandbox does not start for root.
    switches = [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else QUIET
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=switches, timeout=2 * PATIENCE * 1000
        )
        yield browser
        browser.close()


@pytest.fixture
def open_window(browser):
    """Open windows of their own: a person each, as far as the server can tell."""
    windows = []

    def open_window(width=1200, height=760, **options):
        size = {"width": width, "height": height}
        windows.append(browser.new_context(viewport=size, **options))
        windows[-1].set_default_timeout(PATIENCE * 1000)
        return windows[-1]

    yield open_window
    for window in windows:
        window.close()


@pytest.fixture
def picture():
    """Keep a picture of a page."""
    PICTURES.mkdir(parents=True, exist_ok=True)

    def picture(page, name):
        # As a person would see it: what moves has come to rest.
        page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")

    return picture


class Gunicorn:
    """A gunicorn that can be stopped and started on the same port."""

    def __init__(self, folder, port, *arguments):
        self.folder = folder
        self.arguments = arguments
        self.port = port
        self.process = None
        self.lines = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        options = ["--bind", f"127.0.0.1:{self.port}", "--log-level", "info"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *self.arguments, *options, "app:app"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.decided = threading.Event()
        self.reader = threading.Thread(target=self.read_log, args=[self.process.stderr])
        self.reader.start()
        assert self.decided.wait(PATIENCE)
        assert self.process.poll() is None, "".join(self.lines)

    def read_log(self, stream):
        with stream:
            for line in stream:
                self.lines.append(line)
                if f"Listening at: {self.address[:-1]}" in line:
                    self.decided.set()
        self.decided.set()

    def stop(self):
        """Stop as a deploy does, with SIGTERM; return the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.reader.join()

    def wait_for_line(self, words):
        deadline = time.monotonic() + PATIENCE
        while not any(words in line for line in self.lines):
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.02)

    def take_faults(self):
        """Return the faults that were logged, which then no longer count."""
        faults = "".join(
            line
            for line in self.lines
            if FAULT.search(line) and not EXPECTED.search(line)
        )
        self.lines = []
        return faults


@pytest.fixture
def start_gunicorn():
    """Start gunicorns, and ask for logs without faults behind the test."""
    started = []
    with contextlib.ExitStack() as ports:

        def start_gunicorn(folder, *arguments):
            [port] = ports.enter_context(reserve("127.0.0.1"))
            started.append(Gunicorn(folder, port, *arguments))
            started[-1].start()
            return started[-1]

        yield start_gunicorn
        for gunicorn in started:
            status = gunicorn.stop() if gunicorn.process.poll() is None else 0
            assert (status, gunicorn.take_faults()) == (0, "")


@pytest.fixture
def chat(start_gunicorn):
    """Run the chat as its own gunicorn.conf.py says."""
    return start_gunicorn(ROOT / "examples" / "chat")
