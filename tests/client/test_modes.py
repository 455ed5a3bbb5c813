"""The client's tests again, where callers are greenlets: with and without patching."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .concurrency import MODE

HERE = Path(__file__).parent
MODULES = [
    "test_client.py",
    "test_draft55.py",
    "test_proxying.py",
    "test_reconnecting.py",
    "test_tls.py",
]

# The patching comes before everything else that the process imports.
RUN_PATCHED = ["-m", "gevent.monkey", "--module", "pytest"]
RUN = ["-m", "pytest"]


@pytest.mark.skipif(MODE != "threads", reason="these are the other modes")
@pytest.mark.parametrize(
    ("mode", "run"), [("greenlets", RUN), ("patched", RUN_PATCHED)]
)
def test_the_client_in_greenlets(mode, run):
    result = subprocess.run(
        [
            *(sys.executable, *run, "-q", "-p", "no:cacheprovider", "--no-header"),
            f"--rootdir={HERE.parent.parent}",
            *("-c", str(HERE.parent.parent / "pyproject.toml")),
            *(str(HERE / module) for module in MODULES),
        ],
        env={**os.environ, "WSMIDDLEWARE_CLIENT_MODE": mode},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    print(result.stdout)
    assert result.returncode == 0
    assert " passed" in result.stdout
