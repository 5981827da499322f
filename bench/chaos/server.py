"""The server under test: ``masd serve`` as a process of its own, killed and started again on the same ports."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

START_SECONDS = 400.0
STOP_SECONDS = 60.0


class Server:
    """``url`` stays the same over restarts."""

    def __init__(self, registry: str, log: str, spool: Path, environment: dict[str, str], words: Path) -> None:
        ports = _free_ports(4)
        self.url = f"http://127.0.0.1:{ports[0]}"
        options = ["--port", "--management-port", "--metrics-port", "--grpc-port"]
        numbered = [part for option, port in zip(options, ports, strict=True) for part in (option, str(port))]
        where = ["--registry", registry, "--log", log, "--log-spool", str(spool), "--poll", "1"]
        self._command = [sys.executable, "-m", "masd.cli.main", "serve", *where, *numbered]
        self._environment, self._words = {**os.environ, **environment}, words
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """:raises RuntimeError: the server ended instead of becoming ready."""
        with self._words.open("a") as words:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=subprocess.PIPE, stderr=words, text=True
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:  # its end is the server's
            if line.startswith("{") and json.loads(line).get("ready"):
                return
        raise RuntimeError(f"masd serve ended; its last words: {self._words.read_text()[-2000:]}")

    def kill(self) -> None:
        """As the kernel does where memory runs out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait for what it still ships."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(STOP_SECONDS)

    def workers(self) -> list[psutil.Process]:
        """TorchServe's worker processes."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child for child in children if any("model_service_worker" in part for part in child.cmdline())]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
