"""Fuzz the core, guided by coverage: `python tests/fuzz TARGET [SECONDS]`.

Needs atheris (the project's extra "fuzz"). The inputs of the target's corpus file are
where it starts; afterwards the file has those that reach each place, old and new. An
input that breaks a rule is written to build/fuzz; put it into the corpus file, as a
line of hex, once the fault is found. pytest replays all corpora on both builds.
"""

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE.parent)]


def load_target(name):
    """Return a target on the interpreted core, instrumented."""
    import atheris

    with atheris.instrument_imports(include=["wsmiddleware"]):
        rooms = ("reader", "rfc6455", "hixie")
        modules = [importlib.import_module(f"wsmiddleware.{room}") for room in rooms]
        targets = importlib.import_module("fuzz.targets")
    core = SimpleNamespace()
    for module in modules:
        vars(core).update(vars(module))
    return lambda octets: getattr(targets, name)(core, octets)


def read_corpus(path):
    return [bytes.fromhex(line) for line in path.read_text().split()]


def unpack(inputs, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number, octets in enumerate(inputs):
        (folder / f"{number:05}").write_bytes(octets)


def pack(folder, path):
    inputs = {file.read_bytes() for file in folder.iterdir()}
    lines = sorted(
        (octets.hex() for octets in inputs), key=lambda line: (len(line), line)
    )
    path.write_text("".join(f"{line}\n" for line in lines if line))


def run(name, *arguments):
    """Run libFuzzer in a process of its own; it ends the process when it is done."""
    command = [sys.executable, __file__, "--run", name, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT).returncode


def main(name, seconds="60"):
    path = HERE / "corpus" / f"{name}.txt"
    work = ROOT / "build" / "fuzz"
    found, kept = work / name, work / f"{name}-kept"
    unpack(read_corpus(path), found)
    unpack([], kept)
    faults = f"-artifact_prefix={work}/{name}-fault-"
    bounds = ["-max_len=600", "-timeout=10", "-rss_limit_mb=1000", faults]
    code = run(name, *bounds, f"-max_total_time={seconds}", found)
    run(name, *bounds, "-merge=1", kept, found)
    pack(kept, path)
    sys.exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        import atheris

        target = load_target(sys.argv[2])
        # libFuzzer starts itself again with what it takes for its name.
        name = f"{sys.executable} {__file__} --run {sys.argv[2]}"
        atheris.Setup([name, *sys.argv[3:]], target)
        atheris.Fuzz()
    else:
        main(*sys.argv[1:])
