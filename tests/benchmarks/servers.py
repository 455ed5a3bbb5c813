"""The servers that are measured: how each is started, and what it can do."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import environment
import processes
from environment import BUILD, PEERS, ROOT

GUNICORN = [
    "--workers=1",
    "--worker-connections=20000",
    "--backlog=2048",
    "--timeout=900",
    "--graceful-timeout=1",
    "--log-level=warning",
    "--no-control-socket",
]


@dataclass(frozen=True)
class Server:
    """One server: its command for a listening socket and the options of a scenario."""

    name: str
    title: str
    command: Callable[[int, set[str]], list[str]]
    install: Callable[[], None]
    can: frozenset[str] = field(default_factory=frozenset)
    raw: bool = False
    forks: bool = False


def gunicorn(env: str, worker: str, app: str, folder: Path = PEERS) -> list[str]:
    command = [environment.python(env), "-m", "gunicorn", *GUNICORN]
    return [*command, "-k", worker, "--chdir", str(folder), app]


def module(name: str, *more: str) -> Callable[[int, set[str]], list[str]]:
    def command(fd: int, options: set[str]) -> list[str]:
        script = [environment.python("peers"), str(PEERS / f"{name}.py")]
        return [*script, str(fd), *more, *sorted(options)]

    return command


def under_gunicorn(
    worker: str, app: str, env: str = "peers"
) -> Callable[[int, set[str]], list[str]]:
    def command(fd: int, options: set[str]) -> list[str]:
        return [*gunicorn(env, worker, app), f"--bind=fd://{fd}"]

    return command


def ours(env: str, worker: str) -> Callable[[int, set[str]], list[str]]:
    """examples/echo.py as it stands; only the fan-out needs an app of its own."""

    def command(fd: int, options: set[str]) -> list[str]:
        plain = (ROOT / "examples", "echo:app")
        folder, app = (PEERS, "ours_fanout:app") if "fanout" in options else plain
        return [*gunicorn(env, worker, app, folder), f"--bind=fd://{fd}"]

    return command


def node(fd: int, options: set[str]) -> list[str]:
    return ["node", str(PEERS / "ws_echo.js"), str(fd), *sorted(options)]


def install_peers() -> None:
    environment.environment("peers")


ALL = frozenset({"http", "fanout", "deflate"})
OUR_WORKER = "wsmiddleware.worker.WebSocketWorker"
GEVENT_WEBSOCKET = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"

SERVERS = {
    server.name: server
    for server in [
        Server(
            "raw",
            "gevent StreamServer, recv/sendall, no WebSocket",
            module("raw"),
            install_peers,
            frozenset({"fanout"}),
            raw=True,
        ),
        Server(
            "ours",
            "wsmiddleware, its worker",
            ours("peers", OUR_WORKER),
            lambda: environment.install_ours("peers"),
            ALL | {"fragments"},
            forks=True,
        ),
        Server(
            "ours-pure",
            "wsmiddleware, its worker, not compiled",
            ours("pure", OUR_WORKER),
            lambda: environment.install_ours("pure"),
            ALL | {"fragments"},
            forks=True,
        ),
        Server(
            "ours-gevent",
            "wsmiddleware, gunicorn's gevent worker",
            ours("peers", "gevent"),
            lambda: environment.install_ours("peers"),
            ALL | {"fragments"},
            forks=True,
        ),
        Server(
            "gevent-websocket",
            "gevent-websocket, gunicorn",
            under_gunicorn(GEVENT_WEBSOCKET, "gevent_websocket:app"),
            install_peers,
            frozenset({"http", "fanout"}),
            forks=True,
        ),
        Server(
            "flask-sock",
            "flask-sock, gunicorn (gevent)",
            under_gunicorn("gevent", "flask_sock_app:app"),
            install_peers,
            ALL,
            forks=True,
        ),
        Server(
            "websockets",
            "websockets, uvloop",
            module("websockets_echo"),
            install_peers,
            ALL,
        ),
        Server(
            "uvicorn-websockets",
            "uvicorn, websockets, uvloop",
            module("uvicorn_echo", "websockets-sansio"),
            install_peers,
            ALL,
        ),
        Server(
            "uvicorn-wsproto",
            "uvicorn, wsproto, uvloop",
            module("uvicorn_echo", "wsproto"),
            install_peers,
            ALL,
        ),
        Server(
            "aiohttp", "aiohttp, uvloop", module("aiohttp_echo"), install_peers, ALL
        ),
        Server(
            "picows",
            "picows, uvloop (callbacks)",
            module("picows_echo"),
            install_peers,
            frozenset({"http", "fanout"}),
        ),
        Server("ws", "node, ws", node, environment.node, ALL),
    ]
}


@dataclass
class Running:
    """A server that runs: its port, and the processes that serve."""

    server: Server
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pids(self) -> list[int]:
        """Every process of the server."""
        return [self.process.pid, *processes.children(self.process.pid)]

    @property
    def worker(self) -> int:
        """The process that serves: gunicorn's only child, or the server itself."""
        return self.pids[-1] if self.server.forks else self.process.pid

    def complaint(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


@contextmanager
def running(
    server: Server,
    options: set[str],
    prefix: list[str] | None = None,
    patience: float = 60,
) -> Iterator[Running]:
    """Start a server on a listening socket that it inherits, and end it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.set_inheritable(True)
    command = [*(prefix or []), *server.command(listener.fileno(), options)]
    environ = dict(os.environ, NODE_PATH=str(BUILD / "node" / "node_modules"))
    environ.update(PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
    (BUILD / "logs").mkdir(parents=True, exist_ok=True)
    log = BUILD / "logs" / f"{server.name}-{listener.getsockname()[1]}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=BUILD,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    port = listener.getsockname()[1]
    listener.close()
    instance = Running(server, port, process, log)
    try:
        if server.forks:
            wait_for_worker(instance, patience)
        yield instance
    finally:
        stop(instance)


def wait_for_worker(instance: Running, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not processes.children(instance.process.pid):
        if instance.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(instance.complaint())
        time.sleep(0.02)


def stop(instance: Running) -> None:
    """End a server: politely, then the group that it leads."""
    if instance.process.poll() is None:
        instance.process.send_signal(signal.SIGTERM)
        try:
            instance.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(instance.process.pid, signal.SIGKILL)
            instance.process.wait()
    if "Error" not in instance.complaint():
        instance.log.unlink()
