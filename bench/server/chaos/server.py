"""The server under test: ``masd serve`` as a process of its own, killed and started again on the same ports."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

TOKEN = "a-token-for-chaos-only"
END_SECONDS = 60.0
"""After a kill: until the kernel has ended what the server had started, which holds the ports."""

WORKERS = ("model_service_worker", "serving.torchserve.shared.engine")
"""Part of a worker's command line: of TorchServe's own, and of one that is shared by many machines."""


class Server:
    """``url`` stays the same over restarts; what it says on standard error goes to the file ``words``."""

    def __init__(self, registry: str, log: str, spool: Path, environment: dict[str, str], words: Path) -> None:
        ports = _free_ports(4)
        self.url = f"http://127.0.0.1:{ports[0]}"
        options = ["--port", "--management-port", "--metrics-port", "--grpc-port"]
        numbered = [part for option, port in zip(options, ports, strict=True) for part in (option, str(port))]
        where = ["--registry", registry, "--log", log, "--log-spool", str(spool), "--auth", "static"]
        self._command = [sys.executable, "-m", "masd.cli.main", "serve", *where, *numbered]
        self._environment, self._words = {**os.environ, **environment, "MASD_TOKEN": TOKEN}, words
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return once it is ready.

        :raises RuntimeError: it ended instead, or serves only some of the machines.
        """
        with self._words.open("a") as words:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=subprocess.PIPE, stderr=words, text=True
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:  # its end is the server's
            if line.startswith("{") and (ready := json.loads(line)).get("ready"):
                if "not_served" in ready:
                    raise RuntimeError(f"masd serve does not serve all machines: {ready['not_served']}")
                return
        raise RuntimeError(f"masd serve ended; its last words: {self._words.read_text()[-2000:]}")

    def kill(self) -> None:
        """As the kernel does where memory runs out; return once its children are gone."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        left = psutil.wait_procs(children, END_SECONDS)[1]
        if left:
            raise RuntimeError(f"the killed server has left processes: {left}")

    def stop(self) -> float:
        """SIGTERM; seconds until it has ended, 0 where it has before."""
        begin = time.monotonic()
        if self._process is None or self._process.poll() is not None:
            return 0.0
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(END_SECONDS)
        return time.monotonic() - begin

    def workers(self) -> list[psutil.Process]:
        """The processes that score."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child for child in children if any(word in part for part in child.cmdline() for word in WORKERS)]

    def unwell(self) -> list[str]:
        """What ``/ready`` and ``/status`` say against it."""
        with httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as http:
            status = http.get("/status", timeout=30.0).json()
            ready = http.get("/ready", timeout=30.0).status_code
        said = [] if ready == 200 else [f"/ready answers {ready}"]
        said += [f"the loop {name} is dead" for name, loop in status["loops"].items() if not loop["alive"]]
        models = status["models"].items()
        return said + [f"{name}: {model['problem']}" for name, model in models if model["problem"]]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
