"""Drive the load generator: loadgen.c explains the conversation."""

import json
import subprocess
from typing import Any

import environment
from servers import Running


class Load:
    """Connections to one server, and the messages exchanged over them on demand."""

    def __init__(self, target: Running, arguments: list[str]) -> None:
        command = [str(environment.load_generator()), f"--port={target.port}"]
        self._target = target
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the load generator died"}
        if "error" in answer:
            name = self._target.server.name
            raise RuntimeError(f"{name}: {answer['error']}\n{self._target.complaint()}")
        return answer

    def run(self, messages: int) -> dict[str, Any]:
        """Exchange messages and return what it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"run {messages}\n")
        self._process.stdin.flush()
        return self._answer()

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self._process.kill()
        self._process.communicate()
