"""Real servers in processes of their own, and what they log."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from . import peers

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

OURS = "wsmiddleware.worker.WebSocketWorker"
GUNICORN = {
    "ours": ["-k", OURS, "--http-parser", "python"],
    "ours-fast": ["-k", OURS, "--http-parser", "fast"],
    "gevent": ["-k", "gevent", "--http-parser", "python"],
    "gevent-fast": ["-k", "gevent", "--http-parser", "fast"],
    "gevent_pywsgi": ["-k", "gevent_pywsgi"],
    "sync": ["-k", "sync"],
    "gthread": ["-k", "gthread", "--threads", "4"],
}
SUPPORTED = [
    "ours",
    "ours-fast",
    "gevent",
    "gevent-fast",
    "gevent_pywsgi",
    "pywsgi",
]
ACCESS_FORMAT = 'ACCESS "%(r)s" %(s)s %(B)s %(L)s'
FAULT = re.compile(
    r"Traceback|\b(WARNING|ERROR|CRITICAL)\b|WORKER TIMEOUT|Warning:|SIGKILL"
)


class Log:
    """The lines that a process has written, as they come."""

    def __init__(self, stream):
        self.lines = []
        self.ended = False
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.reader.start()

    def _read(self, stream):
        with stream:
            for line in stream:
                with self.changed:
                    self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def mark(self):
        """Name this moment, to look only at what is written after it."""
        return len(self.lines)

    def since(self, mark=0):
        return self.lines[mark:]

    def text(self, mark=0):
        return "\n".join(self.since(mark))

    def find(self, pattern, mark=0):
        found = (re.search(pattern, line) for line in self.since(mark))
        return [match for match in found if match]

    def wait(self, pattern, mark=0, count=1, patience=peers.PATIENCE):
        """Wait until so many lines have matched, and return the matches."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.ended or len(self.find(pattern, mark)) >= count, patience
            )
        matches = self.find(pattern, mark)
        assert len(matches) >= count, f"no {pattern!r} in the log:\n{self.text(mark)}"
        return matches


@contextlib.contextmanager
def reserve(*addresses):
    """Hold a port on each address, which a server may take but nobody is given.

    Two sockets may share a port until one listens, if both set SO_REUSEADDR, as
    servers do.
    """
    with contextlib.ExitStack() as stack:
        ports = []
        for place in addresses:
            family = socket.AF_INET6 if ":" in place else socket.AF_INET
            sock = stack.enter_context(socket.socket(family))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((place, 0))
            ports.append(sock.getsockname()[1])
        yield ports


def search_path(*folders):
    """Return a PYTHONPATH with these folders in front.

    The package under test is the one that is installed, unless the PYTHONPATH of the
    tests themselves leads elsewhere.
    """
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, folders), *([inherited] if inherited else [])])


class Server:
    """A server process, the way to it, and its log."""

    # What the process inherits beyond its standard streams
    descriptors = ()

    def __init__(
        self, kind, command, env=None, tls=None, cwd=None, bind=None, workers=None
    ):
        self.kind = kind
        self.tls = tls
        self.bind = bind
        self.worker_count = workers
        self.allowed_faults = []
        self.wires = []
        environment = {
            **os.environ,
            "PYTHONPATH": search_path(HERE),
            "PYTHONUNBUFFERED": "1",
            # A worker that is not let run, on a busy machine, is not to warn of it.
            "WSMIDDLEWARE_MAX_BLOCKING": "10",
            **(env or {}),
        }
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=self.descriptors,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            # Python looks for modules where it is started: not in the work tree.
            cwd=cwd or HERE,
        )
        self.log = Log(self.process.stdout)
        try:
            self.find_address()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        self.mark = self.log.mark()

    def find_address(self):
        # gunicorn says "Listening at: http://127.0.0.1:34567 (pid)".
        line = self.log.wait(r"Listening at: (?:(https?|unix):/?/?(\S+))? ?\(")[0]
        # With SO_REUSEPORT the workers listen, and the arbiter names nothing.
        self.set_address(line[1] or "http", line[2] or self.bind)
        if self.worker_count:
            self.log.wait("Worker ready", count=self.worker_count)

    def set_address(self, scheme, place):
        if scheme == "unix":
            self.address, self.host = f"/{place.lstrip('/')}", "localhost"
            return
        name, _, port = place.rpartition(":")
        self.address = (name.strip("[]"), int(port))
        self.host = place

    def wait_ready(self):
        with self.connect() as wire:
            assert peers.exchange(wire, "/", host=self.host).status == 200

    @property
    def gunicorn(self):
        return self.kind in GUNICORN

    @property
    def origin(self):
        """The origin of this server's own pages."""
        return f"http{'s' if self.tls else ''}://{self.host}"

    def connect(self, patience=peers.PATIENCE):
        if isinstance(self.address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(patience)
            sock.connect(self.address)
        else:
            sock = socket.create_connection(self.address, timeout=patience)
        if self.tls:
            sock = self.tls.wrap_socket(
                sock, server_hostname="localhost", suppress_ragged_eofs=False
            )
        return self.keep(peers.Wire(sock, patience))

    def keep(self, wire):
        """Remember a connection, to close it when the test is over."""
        self.wires.append(wire)
        return wire

    def close_wires(self):
        while self.wires:
            self.wires.pop().close()

    def client(self, version="13", path="/echo", **handshake):
        """Make a client on a new connection, which has not sent anything yet."""
        wire = self.connect(handshake.pop("patience", peers.PATIENCE))
        if version in ("55", "76"):
            handshake.setdefault("secure", bool(self.tls))
            return peers.CLIENTS[version](wire, self.host, path, **handshake)
        return peers.RFC6455Client(wire, self.host, path, version=version, **handshake)

    def open(self, version="13", path="/echo", **handshake):
        """Open a WebSocket with the handshake behind it."""
        client = self.client(version, path, **handshake)
        try:
            return client.connect()
        except BaseException:
            client.wire.close()
            raise

    def get(self, path, **options):
        """Ask for a page on a connection of its own."""
        with self.connect() as wire:
            fields = [*options.pop("fields", ()), ("Connection", "close")]
            options.setdefault("host", self.host)
            return peers.exchange(wire, path, fields=fields, **options)

    def access_lines(self, path, mark=None, count=1):
        """Wait for the access-log lines of a path; return (status, bytes, seconds)."""
        mark = self.mark if mark is None else mark
        pattern = rf'"\w+ {re.escape(path)} HTTP/1.[01]" (\d+|-) (\d+|-) ([\d.]+)$'
        matches = self.log.wait(pattern, mark, count)
        return [(int(m[1]), int(m[2].replace("-", "0")), float(m[3])) for m in matches]

    def settle(self):
        """Wait until the log has what was written before this call."""
        token = f"/?settled={quote(os.urandom(6).hex())}"
        assert self.get(token).status == 200
        self.log.wait(re.escape(token), self.mark)

    def check(self):
        """Fail if the log holds a fault that the test did not announce."""
        self.settle()
        faults = [
            line
            for line in self.log.since(self.mark)
            if FAULT.search(line)
            and not any(re.search(known, line) for known in self.allowed_faults)
        ]
        assert not faults, f"faults in the log:\n{self.log.text(self.mark)}"
        assert not self.log.find("Booting worker", self.mark), "the worker died"

    def workers(self):
        """Return the ids of the worker processes."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children]

    def signal(self, number):
        self.process.send_signal(number)

    def ask_to_stop(self):
        self.close_wires()
        if self.process.poll() is None:
            # gunicorn's workers look once a second whether a SIGTERM has come.
            quick = self.gunicorn and self.worker_count
            self.process.send_signal(signal.SIGINT if quick else signal.SIGTERM)

    def stop(self):
        """End the process, at once if it does not end by itself; return its status."""
        self.ask_to_stop()
        if self.process.poll() is None:
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.reader.join(5)
        return self.process.wait(peers.PATIENCE)

    def kill(self):
        # Some may have ended just now.
        with contextlib.suppress(OSError):
            for pid in self.workers() if self.gunicorn else []:
                os.kill(pid, signal.SIGKILL)
        self.process.kill()


def launch(kind, application="apps:app", *options, **details):
    """Start a server of this kind and wait until it answers."""
    if kind in GUNICORN:
        bind = details.setdefault("bind", "127.0.0.1:0")
        several = "--workers" in options
        details["workers"] = (
            int(options[options.index("--workers") + 1]) if several else 1
        )
        command = [
            *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
            *("--access-logfile", "-", "--access-logformat", ACCESS_FORMAT),
            *("--config", str(HERE / "gunicorn_settings.py"), "--bind", bind),
            # The time for a head, which is also the time between two requests.
            *("--keep-alive", "10", "--graceful-timeout", "10"),
            *GUNICORN[kind],
            *options,
            application,
        ]
    else:
        command = [sys.executable, str(HERE / "serve.py"), kind, application]
    return Server(kind, command, **details)


def skip_unless_installed(kind):
    if kind.endswith("-fast") and not os.environ.get("WSMIDDLEWARE_REQUIRE"):
        pytest.importorskip("gunicorn_h1c", reason="gunicorn's C parser is missing")


@pytest.fixture(scope="session")
def running():
    """Keep the servers that tests share, each started when first asked for."""
    servers = {}

    def get(kind, application="apps:app"):
        skip_unless_installed(kind)
        server = servers.get((kind, application))
        if server is None or server.process.poll() is not None:
            server = servers[kind, application] = launch(kind, application)
        return server

    yield get
    for server in servers.values():
        server.ask_to_stop()
    for server in servers.values():
        server.stop()


@pytest.fixture
def shared(running):
    """Lend shared servers to one test, and look at their logs behind it."""
    lent = []

    def get(kind, application="apps:app"):
        server = running(kind, application)
        server.allowed_faults = []
        server.mark = server.log.mark()
        lent.append(server)
        return server

    yield get
    for server in lent:
        server.close_wires()
    for server in lent:
        server.check()


@pytest.fixture(params=SUPPORTED)
def server(request, shared):
    """Every kind of server that a WebSocket can run on."""
    return shared(request.param)


@pytest.fixture
def start():
    """Start servers that end with the test."""
    started = []

    def start(kind, *arguments, **details):
        skip_unless_installed(kind)
        started.append(launch(kind, *arguments, **details))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def stopwatch():
    """Measure from the test's start, or from the last look."""

    class Stopwatch:
        def __init__(self):
            self.start = time.monotonic()

        def lap(self):
            now = time.monotonic()
            elapsed, self.start = now - self.start, now
            return elapsed

    return Stopwatch()
