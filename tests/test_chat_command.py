"""`python3 examples/chat`: which port it takes, and what it becomes."""

import importlib.util
import os
import socket
import sys
from pathlib import Path

import pytest

CHAT = Path(__file__).resolve().parent.parent / "examples" / "chat"


class Became(Exception):
    """Stand for the end of this process, which has become another program."""


@pytest.fixture
def run(monkeypatch):
    """Run the command with these arguments; return the command that it becomes."""
    spec = importlib.util.spec_from_file_location("chat", CHAT / "__main__.py")
    chat = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(chat)

    def become(path, arguments):
        raise Became(os.getcwd(), *arguments)

    def run(*arguments, default_port=chat.DEFAULT_PORT):
        monkeypatch.setattr(sys, "argv", ["chat", *arguments])
        monkeypatch.setattr(chat, "DEFAULT_PORT", default_port)
        monkeypatch.setattr(chat, "prepare", lambda *_, **__: Path("python"))
        monkeypatch.setattr(os, "execv", become)
        monkeypatch.chdir(Path.cwd())  # and back, behind the test
        with pytest.raises(Became) as became:
            chat.main()
        folder, *command = map(str, became.value.args)
        assert Path(folder) == CHAT
        return command

    return run


@pytest.fixture
def taken():
    """Take a port, and return its number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_it_becomes_gunicorn_where_its_settings_are(run):
    command = run("--host", "::1", default_port=0)
    assert command == ["python", "-m", "gunicorn", "--bind", "[::1]:0", "app:app"]


def test_default_port_that_is_taken_gives_way_to_the_next_free_one(run, taken):
    place = run(default_port=taken)[-2]
    assert int(place.removeprefix("127.0.0.1:")) > taken


def test_given_port_that_is_taken_is_an_error(run, taken):
    with pytest.raises(SystemExit, match=f"port {taken}: is it taken"):
        run(str(taken))
