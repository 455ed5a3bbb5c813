"""A real Chromium, the chat under a real gunicorn, and pictures of what was seen."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CHAT = ROOT / "examples" / "chat"
PICTURES = ROOT / "artefacts" / "browser"

REQUIRED = bool(os.environ.get("WSMIDDLEWARE_REQUIRE"))
PATIENCE = 15_000  # milliseconds

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
        browser = playwright.chromium.launch(executable_path=path, args=switches)
        yield browser
        browser.close()


class Chat:
    """The chat under gunicorn, which can be stopped and started on the same port."""

    def __init__(self, errors):
        self.errors = errors
        self.port = 0
        self.process = None

    def start(self):
        bind = f"127.0.0.1:{self.port}"
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--bind", bind, "app:app"],
                cwd=CHAT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        # gunicorn.conf.py prints the address once gunicorn listens.
        said = self.process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        assert address, f"the chat did not start: {said}{self.errors.read_text()}"
        self.port = int(address[1])

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/"

    def take_errors(self):
        """Return what was logged, so that it no longer counts as a fault."""
        errors = self.errors.read_text()
        self.errors.write_text("")
        return errors

    def stop(self):
        """Stop as a deploy does, with SIGTERM; return the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stdout.close()


@pytest.fixture
def chat(tmp_path):
    """Run the chat, and ask for a log without faults behind the test."""
    chat = Chat(tmp_path / "errors.log")
    chat.start()
    yield chat
    if chat.process.poll() is None:
        assert chat.stop() == 0
    # The settings of the chat log nothing below a warning.
    assert chat.take_errors() == ""


@pytest.fixture
def open_window(browser):
    """Open windows of their own: a person each, as far as the server can tell."""
    windows = []

    def open_window(width=1200, height=760, **options):
        size = {"width": width, "height": height}
        windows.append(browser.new_context(viewport=size, **options))
        windows[-1].set_default_timeout(PATIENCE)
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
