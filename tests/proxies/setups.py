"""gunicorn, nginx and HAProxy in processes of their own, as the docs configure them."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from server import peers
from server.conftest import (
    ACCESS_FORMAT,
    OURS,
    ROOT,
    Log,
    Server,
    reserve,
    search_path,
)

HERE = Path(__file__).parent
DOCUMENTED = ROOT / "docs" / "deployment"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def require(program):
    """Skip where a program is missing, or fail where it is asked for."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        missing(program)
    return found


def missing(what):
    if os.environ.get("WSMIDDLEWARE_REQUIRE"):
        pytest.fail(f"{what} is missing, and WSMIDDLEWARE_REQUIRE is set")
    pytest.skip(f"{what} is missing")


def accepts(place):
    """Say whether someone listens there."""
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.socket(family) as sock:
        return sock.connect_ex(place) == 0


def fill_in(name, values):
    """Return a documented configuration with other values in their places."""
    text = (DOCUMENTED / name).read_text()
    for documented, value in values.items():
        assert documented in text, f"{name} has no {documented!r}"
        text = text.replace(documented, value)
    return text


class Gunicorn(Server):
    """gunicorn with our worker and the application of these tests."""

    def __init__(self, *options, **details):
        # Where it will listen and what it says then, if gunicorn does not say where.
        self.announced = details.pop("announced", None)
        self.descriptors = details.pop("descriptors", ())
        command = [
            *(sys.executable, "-m", "gunicorn", "--no-control-socket", "-k", OURS),
            *("--access-logfile", "-", "--access-logformat", ACCESS_FORMAT),
            *("--graceful-timeout", "10"),
            *options,
            details.pop("application", "application:application"),
        ]
        env = {
            **details.pop("env", {}),
            "PYTHONPATH": search_path(HERE),
        }
        super().__init__(
            "ours", [*details.pop("launcher", ()), *command], env, **details
        )

    def find_address(self):
        if self.announced is None:
            super().find_address()
            return
        place, words = self.announced
        self.log.wait(words)
        self.set_address("http", place)
        peers.until(lambda: accepts(self.address))


class SecureWire(peers.Wire):
    """A TLS connection, whose end is a close_notify in either direction."""

    def end_of_writing(self):
        # A peer may also end TCP without one.
        with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):
            self.sock.unwrap()


class Proxy:
    """A proxy's process, and the ways to its ports."""

    def __init__(self, command, ports, trust):
        self.kind = type(self).__name__.lower()
        self.ports = ports
        self.trust = trust
        # A test run that is killed leaves no proxy behind.
        guard = shutil.which("setpriv")
        guarded = [guard, "--pdeathsig", "TERM", *command] if guard else command
        self.process = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.log = Log(self.process.stdout)
        try:
            for place in ports.values():
                peers.until(functools.partial(self.is_ready, place))
        except BaseException:
            self.stop()
            raise

    def is_ready(self, place):
        assert self.process.poll() is None, f"the proxy ended:\n{self.log.text()}"
        return accepts(place)

    def host(self, name):
        """Return what a client's Host field says about a port."""
        return address(self.ports[name])

    def connect(self, name, patience=peers.PATIENCE):
        sock = socket.create_connection(self.ports[name], timeout=patience)
        if is_secure(name):
            sock = self.trust.wrap_socket(sock, server_hostname="localhost")
            return SecureWire(sock, patience)
        return peers.Wire(sock, patience)

    def client(self, name, version, path="/echo", **handshake):
        """Make a client of a version whose page came from the same place."""
        secure, host = is_secure(name), self.host(name)
        handshake.setdefault("origin", f"http{'s' * secure}://{host}")
        wire = self.connect(name, handshake.pop("patience", peers.PATIENCE))
        if version in ("55", "76"):
            handshake["secure"] = secure
        kind = handshake.pop("kind", peers.CLIENTS.get(version, peers.RFC6455Client))
        if kind is peers.RFC6455Client:
            handshake["version"] = version
        return kind(wire, host, path, **handshake)

    def get(self, name, path="/", fields=()):
        with self.connect(name) as wire:
            fields = [*fields, ("Connection", "close")]
            return peers.exchange(wire, path, host=self.host(name), fields=fields)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(5)
        self.log.reader.join(5)


def is_secure(name):
    return name.startswith("https") or name.endswith("tls")


class Nginx(Proxy):
    """nginx with docs/deployment/nginx.conf."""

    names = ("http", "https", "stream", "stream-tls")

    def __init__(self, folder, certificate, trust, ports, upstream, changes):
        places = {
            "listen 80;": f"listen {address(ports['http'])};",
            "listen [::]:80;": f"listen {address(ports['http6'])};",
            "listen 443 ssl;": f"listen {address(ports['https'])} ssl;",
            "listen [::]:443 ssl;": f"listen {address(ports['https6'])} ssl;",
            "listen 8055;": f"listen {address(ports['stream'])};",
            "listen 8056 ssl;": f"listen {address(ports['stream-tls'])} ssl;",
            "server 127.0.0.1:8000;": f"server {upstream};",
            "/etc/ssl/app": str(certificate),
            "http {": "http {\n    access_log off;\n" + self.scratch(folder),
        }
        configuration = folder / "nginx.conf"
        configuration.write_text(fill_in("nginx.conf", {**changes, **places}))
        directives = f"daemon off; pid {folder}/nginx.pid; error_log stderr notice;"
        if os.getuid() == 0:
            directives += "user root;"
        command = [self.program(), "-c", str(configuration), "-g", directives]
        super().__init__(command, ports, trust)

    @staticmethod
    def program():
        if not STREAM_MODULE.exists():
            missing("nginx's stream module")
        return require("nginx")

    @staticmethod
    def scratch(folder):
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        paths = [f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds]
        return "".join(paths)


class HAProxy(Proxy):
    """HAProxy with docs/deployment/haproxy.cfg."""

    names = ("http", "https")

    def __init__(self, folder, certificate, trust, ports, upstream, changes):
        if upstream.startswith("unix:"):
            upstream = "unix@" + upstream.removeprefix("unix:")
        at = {name: address(place) for name, place in ports.items()}
        places = {
            "bind :::80 v4v6": f"bind {at['http']},{at['http6']}",
            "bind :::443 v4v6": f"bind {at['https']},{at['https6']}",
            "server gunicorn 127.0.0.1:8000": f"server gunicorn {upstream}",
            "/etc/ssl/app": str(certificate),
        }
        configuration = folder / "haproxy.cfg"
        configuration.write_text(fill_in("haproxy.cfg", {**changes, **places}))
        super().__init__([self.program(), "-db", "-f", configuration], ports, trust)

    @staticmethod
    def program():
        return require("haproxy")


PROXIES = {"nginx": Nginx, "haproxy": HAProxy}


def address(place):
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Site:
    """A proxy with a gunicorn behind it."""

    def __init__(self, kind, **details):
        proxy = PROXIES[kind]
        proxy.program()
        self.kind = kind
        self.proxy = None
        names = {name: "127.0.0.1" for name in proxy.names}
        names.update({"http6": "::1", "https6": "::1"})
        with reserve(*names.values()) as numbers:
            places = zip(names.values(), numbers, strict=True)
            self.build(proxy, dict(zip(names, places, strict=True)), **details)

    def build(self, proxy, ports, *, folder, certificate, trust, unix=False, **details):
        secure = [port for name, (_, port) in ports.items() if is_secure(name)]
        bind = f"unix:{folder / 'gunicorn.sock'}" if unix else "127.0.0.1:0"
        changes = details.pop("gunicorn_changes", {})
        places = {
            'bind = "127.0.0.1:8000"': f"bind = {bind!r}",
            "443, 8056": ", ".join(map(str, secure)),
        }
        configuration = folder / "gunicorn.conf.py"
        configuration.write_text(fill_in("gunicorn.conf.py", {**changes, **places}))
        changes = details.pop("proxy_changes", {})
        self.gunicorn = Gunicorn("-c", str(configuration), **details)
        try:
            upstream = bind if unix else address(self.gunicorn.address)
            self.proxy = proxy(folder, certificate, trust, ports, upstream, changes)
        except BaseException:
            self.gunicorn.stop()
            raise

    def stop(self):
        if self.proxy is not None:
            self.proxy.stop()
        self.gunicorn.stop()


class RelayedDraft76Client(peers.Draft76Client):
    """A user agent of draft 76 by the letter: the fields of an answer in any order.

    nginx writes a head of its own, with Server and Date before the others.
    """

    def verify_head(self):
        head = self.wire.read_through(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise peers.Refused(head + self.wire.take(1 << 20))
        _, fields = peers.parse_head(head)
        values = dict(fields)
        assert len(values) == len(fields), "a field is there twice"
        # "If the value is not exactly equal to the string "WebSocket", then fail"
        assert values["upgrade"] == "WebSocket"
        # "converted to ASCII lowercase, is not exactly equal to the string "upgrade""
        assert values["connection"].lower() == "upgrade"
        scheme = "wss" if self.secure else "ws"
        location = f"{scheme}://{self.host}{self.path}"
        assert values["sec-websocket-location"] == location
        assert values["sec-websocket-origin"] == self.origin
