"""What there is to say of an application, and of the gunicorn that is to run it.

Both are loaded as gunicorn would load them, in this process, and looked at.

The rule: every finding that is not good comes with what to do about it.
"""

import argparse
import difflib
import os
import platform
import re
import resource
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, NamedTuple

from gevent import monkey

from wsmiddleware import reader
from wsmiddleware.middleware import find_middleware
from wsmiddleware.options import PREFIX, Options

__all__ = ["Finding", "examine_application", "ok", "warning", "wrong"]

OURS = "wsmiddleware.worker.WebSocketWorker"
# What is needed, as pyproject.toml says
NEEDED = {"gevent": (24, 10, 1), "gunicorn": (23,)}
# How long proxies are patient by default: nginx, HAProxy's examples, most clouds
PATIENCE_OF_PROXIES = 60.0
# Descriptors of a worker that are no client's
OTHER_DESCRIPTORS = 64


class Finding(NamedTuple):
    """Be what was found: "ok", "warning" or "wrong", and what to do about it."""

    kind: str
    text: str
    advice: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warning(text: str, advice: str) -> Finding:
    return Finding("warning", text, advice)


def wrong(text: str, advice: str) -> Finding:
    return Finding("wrong", text, advice)


def examine_application(arguments: argparse.Namespace) -> Iterator[Finding]:
    """Yield what there is to say of an application and of gunicorn's settings."""
    loaded_before = set(sys.modules)
    yield from _examine_versions()
    loader = _load_gunicorn(arguments)
    if loader is None:
        yield wrong(
            "gunicorn cannot read its settings",
            "see what it says above: it will not start either",
        )
        return
    # gunicorn does the same before it starts its workers.
    os.environ.update(loader.cfg.env)
    kind, finding = _examine_worker(loader.cfg)
    yield finding
    yield from _examine_environment()
    try:
        application = _load_application(loader, patch=kind != "other")
    except (Exception, SystemExit) as error:
        yield wrong(
            f"{arguments.target} cannot be loaded: {type(error).__name__}: {error}",
            "gunicorn would say the same; name it as MODULE:VARIABLE",
        )
        return
    if kind != "other":
        yield _examine_patching(loaded_before)
    yield from _examine_middleware(application, kind, loader.cfg)


def _examine_middleware(application: Any, kind: str, cfg: Any) -> Iterator[Finding]:
    middleware = find_middleware(application)
    yield _examine_wrapping(middleware, kind)
    try:
        from_environment = Options.from_environment({})
    except ValueError as error:
        yield wrong(str(error), "correct it: the worker will not start with it")
        return
    options = from_environment if middleware is None else middleware.options
    yield from _examine_settings(options, from_environment)
    yield from _examine_options(options)
    yield from _examine_limits(options, cfg)
    yield from _examine_proxies(options, cfg)


def _examine_versions() -> Iterator[Finding]:
    here = f"Python {platform.python_version()}, wsmiddleware {_own_version()}"
    for name, needed in NEEDED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield wrong(f"{name} is not installed", f"pip install {name}")
            continue
        here += f", {name} {found}"
        if tuple(map(int, re.findall(r"\d+", found)[:3])) < needed:
            least = ".".join(map(str, needed))
            yield wrong(f"{name} {found} is too old", f"pip install '{name}>={least}'")
    yield ok(here)
    if find_spec("packaging") is None:
        yield wrong(
            "the package packaging is missing, which gunicorn's gevent workers import",
            "pip install packaging",
        )


def _own_version() -> str:
    build = "interpreted" if str(reader.__file__).endswith(".py") else "compiled"
    with suppress(PackageNotFoundError):
        return f"{version('wsmiddleware')} ({build})"
    return build


@contextmanager
def _command_line(*arguments: str) -> Iterator[None]:
    kept, sys.argv = sys.argv, list(arguments)
    try:
        yield
    finally:
        sys.argv = kept


def _load_gunicorn(arguments: argparse.Namespace) -> Any:
    """Return gunicorn's application object with its settings, None without."""
    from gunicorn.app.wsgiapp import WSGIApplication

    command = ["gunicorn"]
    if arguments.config is not None:
        command += ["--config", arguments.config]
    if arguments.worker_class is not None:
        command += ["--worker-class", arguments.worker_class]
    if arguments.preload:
        command += ["--preload"]
    with _command_line(*command, arguments.target):
        try:
            return WSGIApplication(prog="gunicorn")
        except SystemExit:
            return None


def _examine_worker(cfg: Any) -> tuple[str, Finding]:
    """Return "ours", "gevent" or "other", and what to say of it."""
    name = cfg.worker_class_str
    use_ours = f"start gunicorn with -k {OURS}"
    try:
        worker = cfg.worker_class
    except (Exception, SystemExit) as error:
        reason = str(error).rstrip("]\n ").splitlines()[-1]
        return "other", wrong(
            f"worker class {name} cannot be loaded: {reason}", use_ours
        )
    # By name: without the package packaging they cannot even be imported.
    kinds = [kind.__name__ for kind in worker.__mro__]
    if "WebSocketWorker" in kinds:
        return "ours", ok(f"worker class {name}")
    if worker.__module__.startswith("geventwebsocket."):
        return "gevent", wrong(
            f"worker class {name} answers handshakes by itself", use_ours
        )
    if "GeventPyWSGIWorker" in kinds:
        return "gevent", warning(
            f"worker class {name} heeds neither max_requests nor the PROXY protocol",
            use_ours,
        )
    if "GeventWorker" in kinds:
        return "gevent", ok(f"worker class {name}, which {OURS} improves on")
    return "other", wrong(f"worker class {name} cannot serve WebSocket", use_ours)


def _examine_environment() -> Iterator[Finding]:
    """Find names that no setting has."""
    known = [PREFIX + field.name.upper() for field in fields(Options)]
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            meant = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {meant[0]}?" if meant else "see docs/deployment.md"
            yield warning(f"{name} is no setting", advice)


def _load_application(loader: Any, *, patch: bool) -> Any:
    """Load the application when the worker would.

    The worker patches the standard library when it starts, which is before it loads
    the application unless that is preloaded.
    """
    if loader.cfg.preload_app:
        loader.wsgi()
    if patch:
        with warnings.catch_warnings():
            # gevent's warning also names modules that only the doctor needs.
            warnings.simplefilter("ignore")
            monkey.patch_all()
    return loader.wsgi()


def _examine_patching(loaded_before: set[str]) -> Finding:
    """Find modules that hold what was in the standard library before the patch."""
    found = sorted(_find_unpatched(loaded_before))
    if not found:
        return ok("monkey patching is in time")
    some = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    return wrong(
        f"monkey patching comes too late: {some} would block the whole worker",
        "do without preload_app, and import nothing of the application in gunicorn's "
        "settings; or begin them with: import gevent.monkey; gevent.monkey.patch_all()",
    )


def _find_unpatched(loaded_before: set[str]) -> Iterator[str]:
    originals = {
        id(original): f"{module}.{name}"
        for module, names in monkey.saved.items()
        for name, original in names.items()
        if callable(original)
        and getattr(sys.modules.get(module), name, original) is not original
    }
    for name, module in list(sys.modules.items()):
        if name in loaded_before or _is_exempt(name):
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in originals:
                yield f"{originals[id(value)]} in {name} ({attribute})"


def _is_exempt(module: str) -> bool:
    # They are patched, patch, or mean what they hold.
    package = module.partition(".")[0]
    known = ("gevent", "greenlet", "gunicorn", "wsmiddleware", "zope", "__main__")
    return package in known or package in sys.stdlib_module_names


def _examine_wrapping(middleware: Any, kind: str) -> Finding:
    if middleware is not None:
        return ok("the application is wrapped in WebSocketMiddleware")
    if kind == "ours":
        return ok("the worker wraps the application in WebSocketMiddleware")
    return wrong(
        "the application is not wrapped: it has no wsgi.websocket",
        f"app = WebSocketMiddleware(app), or start gunicorn with -k {OURS}",
    )


def _examine_settings(options: Options, wanted: Options) -> Iterator[Finding]:
    changed = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            changed.append(f"{field.name}={value!r}")
        name = PREFIX + field.name.upper()
        if name in os.environ and value != getattr(wanted, field.name):
            yield warning(
                f"{name} is not heeded", f"the application sets {field.name} itself"
            )
    yield ok(f"settings: {', '.join(changed) or 'the defaults'}")


def _examine_options(options: Options) -> Iterator[Finding]:
    interval = options.ping_interval
    if interval is None or interval >= PATIENCE_OF_PROXIES:
        yield warning(
            f"ping_interval is {interval}: proxies cut off what is silent for "
            f"{PATIENCE_OF_PROXIES:.0f} s",
            f"set {PREFIX}PING_INTERVAL to 25, or give the proxies more patience",
        )
    allowed = options.allowed_origins
    if allowed == "*" or (isinstance(allowed, (list, tuple)) and "*" in allowed):
        yield warning(
            "allowed_origins lets the pages of every site connect, with the cookies "
            "of whoever looks at them",
            "name the sites, unless nothing depends on cookies",
        )


def _examine_limits(options: Options, cfg: Any) -> Iterator[Finding]:
    if options.drain_window >= cfg.graceful_timeout - 2:
        yield warning(
            f"drain_window is {options.drain_window:.0f} s, but gunicorn kills its "
            f"workers after graceful_timeout, {cfg.graceful_timeout} s",
            f"set graceful_timeout to {options.drain_window + 10:.0f} or more",
        )
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors < cfg.worker_connections + OTHER_DESCRIPTORS:
        yield warning(
            f"a worker may open {descriptors} files, but is to hold "
            f"worker_connections={cfg.worker_connections}",
            "raise the limit: ulimit -n, or LimitNOFILE= in a unit of systemd",
        )


def _examine_proxies(options: Options, cfg: Any) -> Iterator[Finding]:
    believed = [str(address) for address in cfg.forwarded_allow_ips or []]
    trusted = list(options.trusted_proxies)
    yield ok(
        f"proxies: gunicorn believes {', '.join(believed) or 'none'} "
        f"(forwarded_allow_ips), the middleware {', '.join(trusted) or 'none'} "
        "(trusted_proxies)"
    )
    everybody = [name for name in believed + trusted if _is_everybody(name)]
    if everybody and not all(_is_local(address) for address in cfg.address):
        yield warning(
            f"{everybody[0]} believes every client what it says of its address and of "
            "its site",
            "name the addresses of the proxies",
        )
    if options.max_connections_per_address is not None and not trusted:
        yield warning(
            "max_connections_per_address counts all clients of a proxy as one",
            f"name the proxies in {PREFIX}TRUSTED_PROXIES if there are any",
        )


def _is_everybody(name: str) -> bool:
    return name == "*" or name.endswith("/0")


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a unix socket
    try:
        return ip_address(address[0]).is_loopback
    except ValueError:
        return bool(address[0] == "localhost")
