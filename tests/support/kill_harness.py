"""Run a client that says what was acknowledged to it, and kill -9 it, or its server, at a random point."""

import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from s3_gateway import S3Gateway

PATIENCE_S = 60.0


class Client:
    """A Python process that prints a JSON object per line: ``{"ready": true}`` first, then what was acknowledged."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.said: list[dict[str, Any]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, *arguments], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self.next() == {"ready": True}

    def next(self) -> dict[str, Any]:
        """Wait for the next line."""
        line = self._lines.get(timeout=PATIENCE_S)
        assert line is not None, "the client has ended by itself"
        self.said.append(json.loads(line))
        return self.said[-1]

    def kill(self) -> list[dict[str, Any]]:
        """kill -9; returns every line that was whole by then."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        while (line := self._lines.get()) is not None:
            self.said.append(json.loads(line))
        return self.said

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):  # else cut off by the kill
                    self._lines.put(line)
        self._lines.put(None)


@contextmanager
def client(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Client]:
    """A :class:`Client` that does not outlive the block."""
    started = Client(arguments, environment)
    try:
        yield started
    finally:
        started.kill()


def kill_client(
    arguments: Sequence[str], environment: Mapping[str, str], rng: random.Random, within_s: float
) -> list[dict[str, Any]]:
    """Start a client, kill it within so many seconds of its being ready; returns what it had said."""
    with client(arguments, environment) as started:
        time.sleep(rng.uniform(0, within_s))
    return started.said


def kill_gateway(gateway: S3Gateway, running: Client, rng: random.Random, within_s: float) -> None:
    """Kill the server under a running client, start it again, and wait until the client gets something done."""
    time.sleep(rng.uniform(0, within_s))
    gateway.kill()
    gateway.start()
    before = len(running.said)
    while "error" in running.next() or len(running.said) < before + 2:
        pass
