"""The client against servers from the registry, in every version that they speak."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from server.peers import PATIENCE

from wsmiddleware import HandshakeError
from wsmiddleware.client import connect

VERSIONS = {
    "websockets": ["13"],
    "aiohttp": ["13", "8", "7"],
    "eventlet": ["13", "8", "76", "55"],
}
CASES = [(name, version) for name, them in VERSIONS.items() for version in them]


@pytest.fixture(scope="module")
def running():
    """Keep the servers that the tests share, each started when first asked for."""
    processes = {}

    def start(name):
        if name == "eventlet" and sys.version_info >= (3, 14):
            pytest.skip("eventlet does not run on this Python")
        if importlib.util.find_spec(name) is None:
            if os.environ.get("WSMIDDLEWARE_REQUIRE"):
                pytest.fail(f"{name} is missing, and WSMIDDLEWARE_REQUIRE is set")
            pytest.skip(f"{name} is missing")
        if name not in processes:
            script = Path(__file__).with_name("other_servers.py")
            process = subprocess.Popen(
                # The warnings of other projects are not ours.
                [sys.executable, "-W", "ignore", str(script), name],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            processes[name] = process, process.stdout.readline()
        return int(processes[name][1])

    yield start
    for process, _ in processes.values():
        process.kill()
        process.wait()
        process.stdout.close()


def messages_for(version):
    messages = ["hello", "", "wörld \U0001f600", "x" * 70_000, "y" * 300_000]
    if version not in ("55", "76"):
        messages += [b"", b"binary", b"\x00\xff" * 100_000]
    return messages


@pytest.mark.parametrize(("name", "version"), CASES)
def test_echo(running, name, version):
    url = f"ws://127.0.0.1:{running(name)}/"
    with connect(url, version=version, max_message_size=1 << 24) as ws:
        for message in messages_for(version):
            ws.send(message)
            assert ws.receive(timeout=PATIENCE) == message
    assert ws.closed


@pytest.mark.parametrize(("name", "version"), CASES)
def test_subprotocol(running, name, version):
    url = f"ws://127.0.0.1:{running(name)}/"
    if (name, version) == ("eventlet", "55"):
        # It does not answer to WebSocket-Protocol, which draft 55 calls a failure.
        with pytest.raises(HandshakeError, match="0 websocket-protocol headers"):
            connect(url, version=version, subprotocols=["chat"])
        return
    with connect(url, version=version, subprotocols=["chat"]) as ws:
        assert ws.subprotocol == "chat"


@pytest.mark.parametrize("name", ["websockets", "aiohttp"])
def test_compression_and_its_switch(running, name):
    received = []
    for compression in (True, False):
        url = f"ws://127.0.0.1:{running(name)}/"
        with connect(url, compression=compression) as ws:
            for _ in range(3):
                ws.send("x" * 10_000)
                assert ws.receive(timeout=PATIENCE) == "x" * 10_000
            received.append(ws.bytes_received)
    assert received[0] < 1000
    assert received[1] > 30_000


@pytest.mark.parametrize("name", ["websockets", "aiohttp"])
def test_close_codes_reach_the_other_side_and_come_back(running, name):
    ws = connect(f"ws://127.0.0.1:{running(name)}/")
    ws.close(4321, "enough")
    assert (ws.close_code, ws.close_reason) == (4321, "enough")
    assert ws.wait_closed(PATIENCE)


@pytest.mark.parametrize("name", VERSIONS)
def test_refusal(running, name):
    with pytest.raises(HandshakeError) as caught:
        connect(f"ws://127.0.0.1:{running(name)}/refused")
    assert caught.value.status == 403
    assert caught.value.body == b"not here\n"
