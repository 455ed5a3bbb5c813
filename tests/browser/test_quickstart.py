"""The quickstart, followed to the letter: its files, its command, its nginx."""

import os
import re
import shutil
import socket
import subprocess

import pytest

from .conftest import PATIENCE, ROOT, missing

QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text()


def find_block(*, after="", language):
    """Return the first block of code in a language behind some words."""
    start = QUICKSTART.index(after)
    return re.compile(f"```{language}\n(.*?)```", re.DOTALL).search(QUICKSTART, start)[
        1
    ]


@pytest.fixture
def clicks(tmp_path, start_gunicorn):
    """Write the files and start gunicorn as the quickstart says."""
    (tmp_path / "static").mkdir()
    app = find_block(after="`app.py`", language="python")
    page = find_block(after="`static/index.html`", language="html")
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "static" / "index.html").write_text(page)
    command = find_block(after="## 4. Start it", language="sh").split()
    assert (command[0], command[-1]) == (".venv/bin/gunicorn", "app:app")
    return start_gunicorn(tmp_path, *command[1:-1])


def visit(window, address):
    page = window.new_page()
    page.goto(address)
    page.locator("button:enabled").wait_for()
    return page


def wait_for_count(page, number):
    page.locator("output").get_by_text(number, exact=True).wait_for()


def click_in_two_tabs(open_window, address):
    window = open_window()
    pages = [visit(window, address), visit(window, address)]
    for number, page in enumerate([*pages, *pages], 1):
        page.get_by_role("button").click()
        for other in pages:
            wait_for_count(other, str(number))
    return pages


def test_two_tabs_share_a_button(clicks, open_window):
    for page in click_in_two_tabs(open_window, clicks.address):
        assert page.locator("span").inner_text() == ""


def test_pages_come_back_after_a_restart(clicks, open_window):
    first, second = click_in_two_tabs(open_window, clicks.address)
    assert clicks.stop() == 0
    first.get_by_text("Reconnecting").wait_for()
    clicks.start()
    for page in (first, second):
        page.locator("button:enabled").wait_for()
    first.get_by_role("button").click()
    wait_for_count(second, "1")


@pytest.fixture
def nginx(clicks, tmp_path):
    """Put nginx in front, configured as the quickstart says."""
    path = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        missing("nginx")
    outside = socket.create_server(("127.0.0.1", 0))
    port = outside.getsockname()[1]
    location = find_block(after="## 6. Behind nginx", language="nginx")
    rules = find_block(after="in the `http` section", language="nginx")
    configuration = f"""
        daemon off;
        pid {tmp_path}/nginx.pid;
        error_log {tmp_path}/nginx.log;
        events {{}}
        http {{
            access_log off;
            {rules}
            server {{
                listen 127.0.0.1:{port};
                {location.replace(":8000", f":{clicks.port}")}
            }}
        }}"""
    (tmp_path / "nginx.conf").write_text(configuration)
    process = subprocess.Popen(
        [path, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", "stderr"],
        # nginx takes over sockets that listen already, as it does in an upgrade.
        env={**os.environ, "NGINX": f"{outside.fileno()};"},
        pass_fds=[outside.fileno()],
    )
    outside.close()
    yield f"http://127.0.0.1:{port}/"
    process.terminate()
    process.wait(PATIENCE)


def test_behind_nginx(nginx, open_window):
    click_in_two_tabs(open_window, nginx)
