"""Run the whole test suite: `python3 tests [ARGUMENT ...]`. Nothing needs to be set up.

Standard library only. Two environments are made at the project's root and kept up to
date: `.venv` has the project compiled, as far as there is a compiler, and `.venv-pure`
has it interpreted. Then come, in this order: ruff and mypy; on the pure build the tests
of the core, with its coverage, and of what a server does most; all tests on the
compiled build. Every step runs even if one before it failed.

Arguments go to both runs of pytest; the coverage is then shown but not judged.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from environment import prepare  # noqa: E402

TESTS = ROOT / "tests"
# What the pure build must pass, too: the core, and real servers with each version.
# The other tests are about gunicorn, proxies and browsers: twice would be too long.
PURE = [
    *sorted(TESTS.glob("test_*.py")),
    TESTS / "server" / "test_conformance.py",
    TESTS / "server" / "test_handshakes.py",
    TESTS / "server" / "test_takeover.py",
    TESTS / "server" / "test_vectors.py",
    TESTS / "server" / "test_websocket_object.py",
]

SCRATCH = ROOT / "artefacts"
COVERAGE = {"COVERAGE_FILE": str(SCRATCH / ".coverage")}

failed: list[str] = []


def find_core() -> list[str]:
    """Return the modules of the core: the rooms above I/O in docs/design.md."""
    design = (ROOT / "docs" / "design.md").read_text()
    return re.findall(r"^\| `(\w+)` \|", design.partition("**I/O**")[0], re.MULTILINE)


def step(title: str, *command: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    """Run one command under a title, and remember whether it failed."""
    print(f"\n== {title}", flush=True)
    environment = {**os.environ, **variables}
    # The installed package is what is tested, not the work tree.
    environment.pop("PYTHONPATH", None)
    if subprocess.run(command, cwd=cwd, env=environment).returncode:
        failed.append(title)


def check_style(python: Path) -> None:
    """Run the linter, the formatter and the type checker."""
    step("ruff check", python, "-m", "ruff", "check", ".")
    step("ruff format", python, "-m", "ruff", "format", "--check", ".")
    step("mypy", python, "-m", "mypy", "--strict", "wsmiddleware", "tools")


def run_tests(python: Path, arguments: Sequence[str], *, pure: bool) -> None:
    """Run pytest, in a folder from which the work tree's package is not imported."""
    pytest = ["-m", "pytest", f"--rootdir={ROOT}", "-c", f"{ROOT}/pyproject.toml"]
    pytest += arguments
    if not any(Path(a.partition("::")[0]).exists() for a in arguments):
        pytest += map(str, PURE if pure else [TESTS])
    if not pure:
        step("all tests, compiled build", python, *pytest, cwd=SCRATCH)
        return
    # What asks for the extension to be there does not mean this build.
    variables = {**COVERAGE, "WSMIDDLEWARE_REQUIRE_EXTENSION": ""}
    measured = ["-m", "coverage", "run", f"--rcfile={ROOT}/pyproject.toml", *pytest]
    step("tests, pure build", python, *measured, cwd=SCRATCH, **variables)


def judge_coverage(python: Path, arguments: Sequence[str]) -> None:
    """Ask for every branch of the core."""
    report = ["-m", "coverage", "report", f"--rcfile={ROOT}/pyproject.toml"]
    core = ",".join(f"*/wsmiddleware/{name}.py" for name in find_core())
    report.append(f"--include={core}")
    report += ["--skip-covered", f"--fail-under={0 if arguments else 100}"]
    # From here, files have short names.
    packages = next((python.parent.parent / "lib").glob("*/site-packages"))
    step("coverage of the core", python, *report, cwd=packages, **COVERAGE)


def main() -> None:
    """Make the environments and run every step."""
    # A shell without job control has its background commands ignore SIGINT; so would
    # the servers and clients to which tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = [
        str(Path.cwd() / a) if Path(a.partition("::")[0]).exists() else a
        for a in sys.argv[1:]
    ]
    compiled = prepare(".venv", extra="test")
    # A compiler that always fails: the extension, being optional, is left out.
    pure = prepare(".venv-pure", extra="test", environment={"CC": "/bin/false"})
    SCRATCH.mkdir(exist_ok=True)
    check_style(compiled)
    run_tests(pure, arguments, pure=True)
    judge_coverage(pure, arguments)
    run_tests(compiled, arguments, pure=False)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
