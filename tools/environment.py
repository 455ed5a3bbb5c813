"""Make a virtual environment that holds this project, as `pip install .` puts it there.

Standard library only: this is what runs on a fresh machine. The project is installed
from a copy of its files, so that no build leaves anything in the work tree, and what
then runs is what an installation contains, compiled where there is a compiler. It is
installed again only when one of those files has changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("pyproject.toml", "README.md", "LICENSE", "wsmiddleware")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.so", "*.c")


def prepare(
    name: str,
    extra: str = "",
    packages: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Return the `python` of the environment `name`, made or brought up to date.

    `extra` names one of the project's extras, `packages` what else to install;
    `environment` adds to the variables under which the project is built.
    """
    python = ROOT / name / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="wsmiddleware-") as folder:
        copy = copy_project(Path(folder) / "wsmiddleware")
        digest = fingerprint(copy)
        wanted = " ".join([digest, extra, *packages])
        stamp = ROOT / name / "installed"
        lines = stamp.read_text().splitlines() if stamp.is_file() else []
        present = [line for line in lines if line.startswith(digest)]
        if works(python) and wanted in present:
            return python
        print(f"Preparing {name} (a minute or two, once) ...", flush=True)
        if not works(python):
            run(sys.executable, "-m", "venv", "--clear", str(ROOT / name))
        target = f"{copy}[{extra}]" if extra else str(copy)
        pip = [str(python), "-m", "pip", "install", "-qq"]
        run(*pip, target, *packages, environment=environment)
    stamp.write_text("\n".join([*present, wanted]))
    return python


def works(python: Path) -> bool:
    """Tell whether `python` is there and starts: its system may have been upgraded."""
    if not python.exists():
        return False
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def copy_project(target: Path) -> Path:
    """Copy what an installation is made from."""
    target.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=NOT_COPIED)
        else:
            shutil.copy(source, target)
    return target


def fingerprint(folder: Path) -> str:
    """Return a digest of the files in `folder`, by name and content."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    """Run `command`, or end with its exit status: it has said what is wrong."""
    done = subprocess.run(command, env={**os.environ, **(environment or {})})
    if done.returncode:
        sys.exit(done.returncode)
