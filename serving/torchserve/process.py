"""One TorchServe process from its wheel: start, what its workers say, and an end without leftovers."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from serving.torchserve.config import WORKER_LOG, Access, Addresses, command, environment
from serving.worker.handler import LOAD_FAILED

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # found before the fork, where little is safe

UNPACKED = re.compile(r"\S*/models/[0-9a-f]{32}/")
"""Where TorchServe unpacks an archive: another place each time, which says nothing to a reader."""

TERMINATE_SECONDS = 2.5
KILL_SECONDS = 1.0
"""How long TorchServe may take to end by itself, then its workers: well within the ten seconds promised."""


class TorchServe:
    """A TorchServe and its workers: a process group, a working directory and a temporary folder of its own."""

    def __init__(
        self,
        folder: Path,
        addresses: Addresses,
        models: Sequence[str],
        max_bytes: int,
        log: Path | None,
        access: Access,
        python: Path = Path(sys.executable),
    ) -> None:
        """Start it with ``folder / "models" / <name>.mar`` for each of ``models``.

        ``max_bytes`` limits a request; ``log`` is the folder the workers write the inference log to; workers are
        started with ``python``.
        """
        self._folder = folder
        self._known_lines: dict[tuple[str, str], int] = {}
        self._java = subprocess.Popen(
            command(folder, addresses, models, max_bytes, access, python),
            cwd=folder,
            env=environment(log),
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output belongs to the caller: all that TorchServe says goes to standard error
            start_new_session=True,  # Ctrl-C in a terminal reaches only the parent, which then ends the group
            preexec_fn=_end_with_parent,
        )

    @property
    def running(self) -> bool:
        """Whether the server process is there; its workers may come and go."""
        return self._java.poll() is None

    def forget_failures(self, machine: str, version: str) -> None:
        """Let :meth:`load_failure` look only at what workers of this version say from now on."""
        self._known_lines[machine, version] = len(self._worker_log(machine, version))

    def load_failure(self, machine: str, version: str) -> str | None:
        """Why a version does not load, in one line from its worker; ``None`` as long as no worker gave up."""
        log = self._worker_log(machine, version)[self._known_lines.get((machine, version), 0) :]
        for line in log:
            if LOAD_FAILED in line:
                return UNPACKED.sub("", line.split(LOAD_FAILED, 1)[1])
        died = sum("Backend worker process died." in line for line in log)
        return _last_error(log) if died > 1 else None  # once may be an accident, and TorchServe restarts it

    def end_worker(self, pid: int) -> None:
        """Kill a worker that hangs: TorchServe tells its callers and starts another in its place.

        A process that is no worker of this TorchServe is left alone.
        """
        with suppress(ProcessLookupError, PermissionError):
            if pid != self._java.pid and os.getpgid(pid) == self._java.pid:
                os.kill(pid, signal.SIGKILL)

    def last_words(self, machine: str, version: str) -> str:
        """The last meaningful line of a version's workers."""
        return _last_error(self._worker_log(machine, version))

    def stop(self) -> None:
        """End TorchServe and every worker; returns when none is left, at the latest after some five seconds."""
        if self.running:
            self._java.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._java.wait(TERMINATE_SECONDS)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _members(self._java.pid):  # idle workers end by themselves when java does
                break
            with suppress(ProcessLookupError):
                os.killpg(self._java.pid, number)
            deadline = time.monotonic() + KILL_SECONDS
            while _members(self._java.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
        self._java.poll()

    def _worker_log(self, machine: str, version: str) -> list[str]:
        """The lines of a version's workers: TorchServe names their threads W-<port>-<machine>_<version>-..."""
        log = self._folder / WORKER_LOG
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        own = re.compile(rf" W-\d+-{re.escape(f'{machine}_{version}')}(?:-std\w+)? - ")
        any_worker = re.compile(r" W-\d+-\S+ - ")
        kept, belongs = [], False
        for line in lines:  # a line without a thread is the next of the text before it
            belongs = bool(own.search(line)) if any_worker.search(line) else belongs
            if belongs:
                kept.append(line)
        return kept


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent is gone, even by SIGKILL (Linux's PR_SET_PDEATHSIG)."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)


def _last_error(log: list[str]) -> str:
    """The last line that looks like the end of a traceback, else the last line."""
    messages = [line.split(" - ", 1)[-1].strip() for line in log]
    errors = [message for message in messages if re.match(r"[\w.]+(Error|Exception)\b", message)]
    return (errors or messages or ["its worker gave no reason; see TorchServe's log"])[-1]


def _members(group: int) -> list[int]:
    """Processes of a process group, without those that have ended and only wait to be collected."""
    members = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members
