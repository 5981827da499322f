"""The shared processes of one server: start them, start others in the place of those that end or hang, end them."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

import serving
from masd.progress import print_line
from serving.background import Loop
from serving.torchserve.shared import launcher

STEP_SECONDS = 1.0
ANSWER_SECONDS = 1.0
SILENT_SECONDS = 30.0
"""Without an answer, before a process is ended; its threads take turns, so it answers however much it has to do."""

START_SECONDS = 180.0
"""The same while it starts: imports take some seconds of a core."""

LONGEST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 1.0

COMMAND: tuple[str, ...] = (sys.executable, "-m", "serving.torchserve.shared.engine")

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # found before the fork, where little is safe


class SharedWorkers:
    """``count`` processes; their sockets are in ``folder``, which is made, and has to be ours alone."""

    def __init__(self, folder: Path, count: int, metrics_file: Path, environment: Mapping[str, str]) -> None:
        """``environment`` is that of a worker."""
        self._sockets = folder / "shared"
        self._sockets.mkdir(mode=0o700)
        self._processes = [
            _Process(self._sockets / str(number), metrics_file, _environment(environment)) for number in range(count)
        ]
        self.launcher = folder / "worker"
        """What TorchServe has to start instead of Python."""
        paths = (sys.executable, "-I", "-S", launcher.__file__, self._sockets, sys.executable)
        quoted = " ".join("'" + str(path).replace("'", "'\\''") + "'" for path in paths)
        self.launcher.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n', encoding="utf-8")
        self.launcher.chmod(0o700)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that are there."""
        return tuple(process.pid for process in self._processes if process.running)

    def loop(self) -> Loop:
        """The loop that keeps them alive."""
        return Loop("shared workers", self.step, STEP_SECONDS)

    def step(self) -> None:
        """Look at each once; start what has ended, end what hangs."""
        for process in self._processes:
            process.look()

    def end(self, pid: int) -> bool:
        """Kill one of them; whether it is one. Another is started by the next step."""
        if pid not in self.pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def stop(self) -> None:
        """End all of them; returns when none is left."""
        for process in self._processes:
            process.stop()


class _Process:
    """One of them. Its socket is ours: callers that come while it starts again wait there."""

    def __init__(self, address: Path, metrics_file: Path, environment: Mapping[str, str]) -> None:
        self._address, self._metrics_file, self._environment = address, metrics_file, environment
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen(socket.SOMAXCONN)
        self._early_ends = 0
        self._start_at = 0.0
        self._stopped = False
        self._changing = threading.Lock()
        self._process = self._started()
        self._ended_at: float | None = None
        self._answered = False
        self._silent_since = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def look(self) -> None:
        with self._changing:
            if not self._stopped:
                self._look()

    def _look(self) -> None:
        now = time.monotonic()
        if not self.running:
            if self._ended_at is None:
                self._ended_at = now
                self._early_ends = 0 if self._answered else self._early_ends + 1
                pause = min(2.0**self._early_ends - 1.0, LONGEST_PAUSE_SECONDS)
                self._say(f"has ended ({self._process.returncode}): another one is started")
                self._start_at = now + pause
            if now >= self._start_at:
                self._process = self._started()
                self._ended_at, self._answered, self._silent_since = None, False, now
        elif self._answers():
            self._answered, self._silent_since = True, now
        elif now - self._silent_since >= (SILENT_SECONDS if self._answered else START_SECONDS) or self._is_stopped():
            self._say("does not answer: it is killed")
            self._process.kill()

    def stop(self) -> None:
        with self._changing:
            self._stopped = True
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._listener.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        number = self._listener.fileno()
        return subprocess.Popen(
            [*COMMAND, str(number), str(self._metrics_file)],
            cwd=self._metrics_file.parent,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output belongs to the caller
            pass_fds=[number],
            start_new_session=True,  # Ctrl-C in a terminal reaches only the parent, which then ends this one
            preexec_fn=_end_with_parent,
        )

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(ANSWER_SECONDS)
                caller.connect(str(self._address))
                caller.sendall(b"count\n\n")
                return bool(caller.recv(64))
        except OSError:
            return False

    def _is_stopped(self) -> bool:
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    def _say(self, what: str) -> None:
        print_line(f"masd: shared worker {self.pid} {what}")


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        **environment,
        "PYTHONPATH": str(Path(serving.__path__[0]).parent),
        "TS_DECODE_INPUT_REQUEST": "false",  # as TorchServe's configuration: the handler reads bodies itself
        # Of C's library and of OpenMP. Each thread would have a heap and threads of its own, and one works at a time.
        "MALLOC_ARENA_MAX": "2",
        # The arrays of a clip have up to a megabyte: a process that gives them back to the kernel each time gets them
        # again page by page, which costs up to a millisecond a clip.
        "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
        "OMP_NUM_THREADS": "1",
        # MKL would keep two megabytes for every thread that has ever multiplied, and each machine has two threads.
        "MKL_DISABLE_FAST_MM": "1",
    }


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent is gone, even by SIGKILL (Linux's PR_SET_PDEATHSIG)."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)
