"""What a worker has done: a process of its own, or a thread of a process that many machines share."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from serving.torchserve.management import Loaded

PROCESSES = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Worker:
    """The process ``pid``, or its thread ``name`` where it has one that is called so."""

    pid: int
    name: str = ""

    @property
    def shared(self) -> bool:
        """Whether it is a thread."""
        return self._thread is not None

    def seconds(self) -> float | None:
        """Processor seconds that it has used; None if it is gone or cannot be seen."""
        try:
            if self._thread is None:
                times = psutil.Process(self.pid).cpu_times()
                return float(times.user + times.system)
            _, _, numbers = (self._thread / "stat").read_text(encoding="latin-1").rpartition(")")
            return sum(int(ticks) for ticks in numbers.split()[11:13]) / TICKS
        except (psutil.Error, OSError):
            return None

    @cached_property
    def _thread(self) -> Path | None:
        if not self.name:
            return None
        found = _THREADS.get(self)
        if found is None or _name_of(found) != self.name:
            try:
                threads = list((PROCESSES / str(self.pid) / "task").iterdir())
            except OSError:
                return None
            found = next((thread for thread in threads if _name_of(thread) == self.name), None)
            if found is not None:
                _THREADS[self] = found
        return found


_THREADS: dict[Worker, Path] = {}
"""Where they were last: a process has as many threads as machines, and each machine looks for its own."""


def workers_of(entry: Loaded) -> list[Worker]:
    """Those of a version that are up."""
    names = entry.names or ("",) * len(entry.pids)
    return [Worker(pid, name) for pid, name in zip(entry.pids, names, strict=True)]


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped the process."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _name_of(thread: Path) -> str:
    try:
        return (thread / "comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
