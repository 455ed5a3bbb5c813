"""What the benchmark needs and installs itself, in build/benchmarks (ignored by git).

Two virtual environments: `peers` holds every server and this project compiled; `pure`
holds this project without its extension modules.  Node's `ws` comes from npm.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "benchmarks"
PEERS = HERE / "peers"

BASE = ["setuptools>=77", "Cython>=3.3", "wheel", "gevent", "gunicorn", "packaging"]
PACKAGES = {
    "peers": [
        *BASE,
        "gevent-websocket",
        "wsaccel",
        "flask-sock",
        "websockets",
        "uvicorn[standard]",
        "wsproto",
        "aiohttp",
        "picows",
        "uvloop",
    ],
    "pure": BASE,
}
SOURCES = ["pyproject.toml", "LICENSE", "README.md", "wsmiddleware"]
NODE_PACKAGES = ["ws", "bufferutil"]


def run(command: list[str], **options: object) -> str:
    """Run a command and return its output; its complaint is the exception's text."""
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def python(name: str) -> str:
    """Return the interpreter of an environment."""
    return str(BUILD / name / "bin" / "python")


def load_generator() -> Path:
    """Compile the load generator unless it is newer than its source."""
    source, binary = HERE / "loadgen.c", BUILD / "loadgen"
    if binary.exists() and binary.stat().st_mtime > source.stat().st_mtime:
        return binary
    BUILD.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-o", str(binary)]
    try:
        run([*command, str(source), "-lz"])
    except SystemExit:
        run([*command, str(source)])  # without zlib: no compression scenario
    return binary


def environment(name: str) -> None:
    """Create an environment and install its packages, once for each list of them."""
    folder, wanted = BUILD / name, "\n".join(PACKAGES[name])
    stamp = folder / "packages"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {name} ...", file=sys.stderr)
    run([sys.executable, "-m", "venv", str(folder)])
    run([python(name), "-m", "pip", "install", "-q", *PACKAGES[name]])
    stamp.write_text(wanted)


def fingerprint() -> str:
    """Return a digest of the sources that are installed."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "wsmiddleware").iterdir()):
        if path.suffix in {".py", ".pxd", ".pyx"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def install_ours(name: str) -> None:
    """Install the working tree into an environment, compiled or pure.

    From a copy: a `build/` directory left by one build would ship its extension modules
    in the next one.
    """
    environment(name)
    stamp = BUILD / name / "ours"
    if stamp.exists() and stamp.read_text() == fingerprint():
        return
    copy = BUILD / f"source-{name}"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for source in (ROOT / item for item in SOURCES):
        if source.is_dir():
            ignored = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, copy / source.name, ignore=ignored)
        elif source.exists():
            shutil.copy(source, copy)
    if not (copy / "README.md").exists():
        (copy / "README.md").touch()
    options = [
        "--no-deps",
        "--force-reinstall",
        "--no-build-isolation",
        "--no-cache-dir",
    ]
    environ = dict(os.environ)
    if name == "pure":
        environ["CC"] = "/bin/false"
    run([python(name), "-m", "pip", "install", "-q", *options, str(copy)], env=environ)
    modules = extension_modules(name)
    if (name == "pure") == bool(modules):
        raise SystemExit(f"the {name} environment has extension modules: {modules}")
    stamp.write_text(fingerprint())


def extension_modules(name: str) -> list[str]:
    """Return the compiled modules of this project in an environment."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    package = BUILD / name / "lib" / version / "site-packages" / "wsmiddleware"
    return sorted(path.name.removesuffix(suffix) for path in package.glob("*.so"))


def node() -> None:
    """Install node's peers."""
    folder = BUILD / "node"
    if all((folder / "node_modules" / name).exists() for name in NODE_PACKAGES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    run(["npm", "install", "--no-audit", "--no-fund", *NODE_PACKAGES], cwd=folder)


def versions() -> dict[str, str]:
    """Return what was measured: interpreters, packages and their versions."""
    found = {"python": sys.version.split()[0]}
    if (BUILD / "peers").exists():
        listing = run([python("peers"), "-m", "pip", "list", "--format", "json"])
        interesting = {item.split("[")[0].lower() for item in PACKAGES["peers"]}
        interesting |= {"greenlet", "simple-websocket", "flask", "aiofastnet"}
        interesting |= {"wsmiddleware", "httptools"}
        for package in json.loads(listing):
            if package["name"].lower() in interesting:
                found[package["name"]] = package["version"]
    for name in NODE_PACKAGES:
        manifest = BUILD / "node" / "node_modules" / name / "package.json"
        if manifest.exists():
            found[name] = json.loads(manifest.read_text())["version"]
            found["node"] = run(["node", "--version"]).strip().lstrip("v")
    return found
