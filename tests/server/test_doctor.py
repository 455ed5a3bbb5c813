"""`wsmiddleware doctor`, on applications in files and on real servers."""

import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from wsmiddleware.__main__ import main
from wsmiddleware.checkup import NEEDED

from . import examining, peers
from .conftest import HERE, OURS, ROOT, reserve, search_path


def examine(*arguments, folders=(HERE,), prelude="", **variables):
    """Run the command on an application; return its status and its output."""
    return examining.examine(arguments, folders, variables, prelude)


def found(output, kind, pattern, advice=""):
    """Tell whether there is such a finding, with such advice under it."""
    block = rf"^{kind} +.*{pattern}.*\n( +-> .*\n)*"
    match = re.search(block, output, re.MULTILINE)
    return match is not None and re.search(advice, match[0]) is not None


# ---- applications


def test_application_where_all_is_well():
    status, output = examine("-k", OURS, "apps:app")
    assert status == 0, output
    assert found(output, "ok", r"Python 3.*gevent \d.*gunicorn \d")
    assert found(output, "ok", f"worker class {OURS}")
    assert found(output, "ok", "monkey patching is in time")
    assert found(output, "ok", "the application is wrapped")
    assert found(output, "ok", r"settings: .*subprotocols=\['v2.chat', 'v1.chat'\]")
    assert found(output, "ok", r"proxies: gunicorn believes 127\.0\.0\.1")
    assert not re.search("^(wrong|warning)", output, re.MULTILINE)


def test_our_worker_wraps_what_is_not_wrapped():
    status, output = examine("-k", OURS, "apps:bare")
    assert status == 0, output
    assert found(output, "ok", "the worker wraps the application")
    assert found(output, "ok", "settings: the defaults")


@pytest.mark.parametrize(
    "worker", ["sync", "gthread", "gunicorn.workers.sync.SyncWorker"]
)
def test_worker_that_cannot_serve_websocket(worker):
    status, output = examine("--worker-class", worker, "apps:app")
    assert status == 1
    assert found(output, "wrong", f"worker class {worker} cannot", f"-k {OURS}")


@pytest.mark.parametrize(
    ("worker", "kind"), [("gevent", "ok"), ("gevent_pywsgi", "warning")]
)
def test_workers_of_gunicorn(worker, kind):
    status, output = examine("-k", worker, "apps:app")
    assert status == 0, output
    assert found(output, kind, f"worker class {worker}")


def test_application_that_is_not_wrapped():
    status, output = examine("-k", "gevent", "apps:bare")
    assert status == 1
    assert found(output, "wrong", "not wrapped", "WebSocketMiddleware")


def test_worker_class_that_does_not_exist():
    status, output = examine("-k", "no.such.Worker", "apps:app")
    assert status == 1
    assert found(output, "wrong", "no.such.Worker cannot be loaded: .*No module", OURS)


def test_application_that_does_not_exist():
    status, output = examine("-k", OURS, "no_such_module:app")
    assert status == 1
    assert found(output, "wrong", "cannot be loaded: ModuleNotFoundError", "MODULE")


def test_package_that_gunicorn_needs_is_missing():
    prelude = "import sys; sys.modules['packaging'] = None\n"
    for worker in (OURS, "sync"):
        status, output = examine("-k", worker, "apps:app", prelude=prelude)
        assert status == 1
        assert found(output, "wrong", "packaging is missing", "pip install packaging")


def test_versions_that_are_needed_are_those_of_the_project():
    text = (ROOT / "pyproject.toml").read_text()
    for name, needed in NEEDED.items():
        asked = re.search(rf'"{name}>=([\d.]+)"', text)[1]
        assert tuple(map(int, asked.split("."))) == needed


def test_version_that_is_too_old():
    prelude = """\
from wsmiddleware import checkup
version = checkup.version
checkup.version = lambda name: "23.9.1" if name == "gevent" else version(name)
"""
    status, output = examine("-k", OURS, "apps:app", prelude=prelude)
    assert status == 1
    assert found(output, "wrong", "gevent 23.9.1 is too old", "gevent>=24.10.1")


# ---- late monkey patching

EARLY = {
    "late.py": "from time import sleep\nfrom apps import app",
    "conf.py": f"worker_class = '{OURS}'\n",
    "importing.py": f"import late\nworker_class = '{OURS}'\n",
    "patching.py": "import gevent.monkey; gevent.monkey.patch_all()\n"
    f"import late\nworker_class = '{OURS}'\n",
}


@pytest.fixture
def early(tmp_path):
    for name, text in EARLY.items():
        (tmp_path / name).write_text(text)
    return (tmp_path, HERE)


@pytest.mark.parametrize(
    ("config", "options"), [("conf.py", ["--preload"]), ("importing.py", [])]
)
def test_late_monkey_patching(early, config, options):
    config = str(early[0] / config)
    status, output = examine("-c", config, *options, "late:app", folders=early)
    assert status == 1
    assert found(
        output,
        "wrong",
        r"too late: time\.sleep in late \(sleep\)",
        "preload_app",
    )


@pytest.mark.parametrize(
    ("config", "options"), [("conf.py", []), ("patching.py", ["--preload"])]
)
def test_early_monkey_patching(early, config, options):
    config = str(early[0] / config)
    status, output = examine("-c", config, *options, "late:app", folders=early)
    assert status == 0, output
    assert found(output, "ok", "monkey patching is in time")


# ---- settings


def test_settings_come_from_gunicorns_file(tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        f"worker_class = '{OURS}'\n"
        "bind = '0.0.0.0:8000'\n"
        "forwarded_allow_ips = '*'\n"
        "graceful_timeout = 20\n"
        "raw_env = ['WSMIDDLEWARE_PING_INTERVAL=60', 'WSMIDDLEWARE_DRAIN_WINDOW=30',\n"
        "           'WSMIDDLEWARE_ALLOWED_ORIGINS=*', 'WSMIDDLEWARE_PONG=1',\n"
        "           'WSMIDDLEWARE_PING_INTREVAL=1',\n"
        "           'WSMIDDLEWARE_MAX_CONNECTIONS_PER_ADDRESS=9']\n"
    )
    status, output = examine("--config", str(config), "apps:bare")
    assert status == 0, output
    assert found(output, "ok", r"settings: .*ping_interval=60\.0")
    assert found(output, "warning", "ping_interval is 60", "PING_INTERVAL to 25")
    assert found(output, "warning", "drain_window is 30 s", "graceful_timeout to 40")
    assert found(output, "warning", "pages of every site", "name the sites")
    assert found(output, "warning", "WSMIDDLEWARE_PONG is no setting")
    assert found(
        *(output, "warning", "WSMIDDLEWARE_PING_INTREVAL is no setting"),
        "mean WSMIDDLEWARE_PING_INTERVAL",
    )
    assert found(output, "warning", "believes every client", "name the addresses")
    assert found(output, "warning", "all clients of a proxy as one", "TRUSTED_PROXIES")


def test_gunicorns_own_variable_is_heeded():
    status, output = examine("apps:app", GUNICORN_CMD_ARGS=f"-k {OURS}")
    assert status == 0, output
    assert found(output, "ok", f"worker class {OURS}")


def test_file_of_gunicorn_that_is_missing():
    status, output = examine("-c", "no/such/file.py", "apps:app")
    assert status == 1
    assert found(output, "wrong", "gunicorn cannot read its settings")


@pytest.mark.parametrize("application", ["apps:app", "apps:bare"])
def test_setting_that_makes_no_sense(application):
    wrong = {"WSMIDDLEWARE_MAX_QUEUE": "many"}
    status, output = examine("-k", OURS, application, **wrong)
    assert status == 1
    assert found(output, "wrong", "WSMIDDLEWARE_MAX_QUEUE='many'")


def test_setting_that_the_application_overrides():
    overridden = {"WSMIDDLEWARE_MAX_MESSAGE_SIZE": "5"}
    _, output = examine("-k", OURS, "apps:app", **overridden)
    name = "WSMIDDLEWARE_MAX_MESSAGE_SIZE"
    assert found(output, "warning", f"{name} is not heeded", "max_message_size itself")


def test_too_few_files_for_the_connections():
    prelude = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
    )
    status, output = examine("-k", OURS, "apps:app", prelude=prelude)
    assert status == 0, output
    assert found(output, "warning", "may open 256 files", "ulimit -n")


# ---- URLs


@pytest.fixture
def visit(capsys, monkeypatch):
    """Run the command on a URL, without the proxies of the environment."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    def visit(url, *arguments):
        status = main(["doctor", url, *arguments])
        output = capsys.readouterr().out
        # Whatever a server says, a terminal gets no control character.
        assert "\x1b" not in output
        return status, output

    return visit


def test_server_where_all_is_well(shared, visit):
    server = shared("ours", "apps:bare")
    for scheme in ("ws", "http", "WS"):
        status, output = visit(f"{scheme}://{server.host}/echo")
        assert status == 0, output
    server.allowed_faults = ["another-site.invalid"]
    assert found(output, "ok", f"a page of {server.origin} can connect")
    assert found(output, "ok", r"a ping comes back, after [\d.]+ ms")
    assert found(output, "ok", r"another site cannot connect \(403\)")
    assert found(output, "ok", "not tried.*--idle")


def test_server_that_lets_every_page_in(shared, visit):
    server = shared("ours")  # its policy refuses what has "evil" in its name
    status, output = visit(f"ws://{server.host}/echo")
    assert status == 1
    assert found(output, "wrong", "a page of another site", "set allowed_origins")


def test_application_that_closes_at_once(shared, visit):
    server = shared("ours", "apps:bare")
    server.allowed_faults = ["another-site.invalid"]
    status, output = visit(f"ws://{server.host}/close?4000=%1b[2J")
    assert status == 0, output
    assert found(output, "warning", "closed with 4000", "a path whose application")


REFUSED = {
    "/nowhere": (404, "found nothing", "look at the path"),
    "/unauthorized": (401, "needs credentials", "-H"),
    "/redirect": (302, "is redirected to /elsewhere", "the other address"),
    "/has-websocket": (200, "like a page", "Upgrade"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_handshake_that_is_refused(shared, visit, path):
    _, what, advice = REFUSED[path]
    status, output = visit(f"ws://{shared('ours').host}{path}")
    assert status == 1
    assert found(output, "wrong", what, advice)
    assert output.count("\nok") == 0


def test_credentials_are_sent(start, visit, tmp_path):
    (tmp_path / "guarded.py").write_text(
        "import apps\n"
        "def app(environ, start_response):\n"
        "    if 'wsgi.websocket' not in environ:\n"
        "        return apps.home(environ, start_response)\n"
        "    allowed = environ.get('HTTP_COOKIE') == 'session=1'\n"
        "    handler = apps.echo if allowed else apps.unauthorized\n"
        "    return handler(environ, start_response)\n"
    )
    paths = {"PYTHONPATH": search_path(tmp_path, HERE)}
    server = start("ours", "guarded:app", env=paths)
    assert visit(f"ws://{server.host}/", "-H", "Cookie: session=1")[0] == 0
    assert visit(f"ws://{server.host}/")[0] == 1


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_server_with_the_wrong_worker(start, visit, kind):
    status, output = visit(f"ws://{start(kind).host}/echo")
    assert status == 1
    said = r"wrong kind \(503\): WebSocket needs a gevent server"
    assert found(output, "wrong", said, f"-k {OURS}")


def test_nobody_listens(visit):
    with reserve("127.0.0.1") as [port]:
        status, output = visit(f"ws://127.0.0.1:{port}/")
    assert status == 1
    assert found(output, "wrong", f"127.0.0.1:{port} is out of reach", "port")


def test_tls_where_there_is_none(shared, visit):
    server = shared("ours")
    server.allowed_faults = ["Invalid request"]
    status, output = visit(f"wss://{server.host}/echo", "--timeout", "30")
    assert status == 1
    assert found(output, "wrong", "TLS with 127.0.0.1 fails", "certificate")


def test_certificate_that_nobody_signed(start, visit, tmp_path):
    trustme = pytest.importorskip("trustme")
    pem = str(tmp_path / "server.pem")
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(pem)
    import ssl

    unverified = ssl._create_unverified_context()
    options = ("--certfile", pem, "--keyfile", pem)
    server = start("ours", "apps:bare", *options, tls=unverified)
    status, output = visit(f"wss://{server.host}/echo")
    assert status == 1
    assert found(output, "wrong", "TLS with 127.0.0.1 fails.*verif", "--insecure")
    status, output = visit(f"wss://{server.host}/echo", "--insecure")
    assert status == 0, output


def serve_once(listener, answer):
    """Answer every connection with the same octets, whatever it says."""
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock:
            sock.recv(65536)
            sock.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"220 mail.example ESMTP\r\n", "."),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 9\r\n\r\nno\x1b[2Jway",
            r"no server behind the proxy \(502\): no.*way",
        ),
        (b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n", r"refused \(418\)"),
    ],
)
def test_answers_of_other_servers(visit, answer, what):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_once, args=(listener, answer))
        thread.start()
        try:
            port = listener.getsockname()[1]
            status, output = visit(f"ws://127.0.0.1:{port}/", "--timeout", "30")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(peers.PATIENCE)
    assert status == 1
    assert found(output, "wrong", what, ".")


def test_what_is_no_url(visit):
    status, output = visit("ws://[::1/")
    assert status == 1
    assert found(output, "wrong", "authority is not", "wss://example.com/path")


def test_silence_that_pings_interrupt(start, visit):
    server = start("ours", env={"WSMIDDLEWARE_PING_INTERVAL": "0.2"})
    _, output = visit(f"ws://{server.host}/echo", "--idle", "2")
    assert found(output, "ok", r"open after 2(\.0)? s: it is pinged")


def test_silence_that_is_too_short_to_tell(shared, visit):
    server = shared("ours")
    _, output = visit(f"ws://{server.host}/echo", "--idle", "0.2")
    assert found(output, "warning", "0.2 s are shorter than ping_interval", "--idle 70")


def test_silence_that_the_server_ends(start, visit):
    server = start("ours", env={"WSMIDDLEWARE_IDLE_TIMEOUT": "2"})
    _, output = visit(f"ws://{server.host}/echo", "--idle", "20")
    assert found(output, "warning", "closed with 1001: idle", "idle_timeout")


def test_command_line():
    """Once as a user would type it."""
    process = subprocess.run(
        [sys.executable, "-m", "wsmiddleware", "doctor", "-k", OURS, "apps:app"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": search_path()},
        cwd=HERE,
    )
    assert process.returncode == 0, process.stdout
    assert process.stderr == ""
    assert found(process.stdout, "ok", "the application is wrapped")
