"""What goes wrong in a bad hour, one thing after the other. A fault returns once it is mended."""

import errno
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from faulty_proxy import FaultyProxy, Mode

from bench.server.chaos.rollbacks import Rollbacks
from bench.server.chaos.server import Server
from bench.server.chaos.traffic import Traffic
from masd.registry.layout import place_of
from masd.registry.registry import Registry
from masd.registry.verify import verify

RECOVER_SECONDS = 120.0
DAMAGED_SECONDS = 25.0
FULL_SECONDS = 15.0
BLOCK = bytes(1 << 16)


@dataclass
class Faults:
    """``disk`` is the small file system of the spool, None where there is none. ``full`` has the times, in seconds
    since 1970, between which a record may have found no room.
    """

    registry: Registry
    server: Server
    traffic: Traffic
    rollbacks: Rollbacks
    proxy: FaultyProxy
    disk: Path | None
    full: list[tuple[float, float]] = field(default_factory=list)

    def named(self) -> list[tuple[str, Callable[[], None]]]:
        """All of them, in the order in which they happen."""
        return [
            ("nothing fails", lambda: time.sleep(20.0)),
            ("worker stopped", self._stop_a_worker),
            ("worker killed", self._kill_a_worker),
            ("bucket answers HTML", lambda: self._bucket("html", 15.0)),
            ("bucket answers 503", lambda: self._bucket("unavailable", 15.0)),
            ("bucket is slow", lambda: self._bucket("slow", 20.0)),
            ("bucket says nothing", lambda: self._bucket("nothing", 25.0)),
            ("pointer damaged", self._damage_a_pointer),
            *([("disk full", self._fill_the_disk)] if self.disk is not None else []),
            ("server killed", self._kill_the_server),
        ]

    def _stop_a_worker(self) -> None:
        self._at_a_worker(signal.SIGSTOP)

    def _kill_a_worker(self) -> None:
        self._at_a_worker(signal.SIGKILL)

    def _at_a_worker(self, number: signal.Signals) -> None:
        """Send a signal to one, the one that has worked most, and wait until that process is gone and all answer."""
        workers = {sum(worker.cpu_times()[:2]): worker for worker in self.server.workers()}
        worker = workers[max(workers)]
        self.rollbacks.workers_are_away.set()
        worker.send_signal(number)
        deadline = time.monotonic() + RECOVER_SECONDS
        while worker.is_running() and worker.status() != "zombie":
            if time.monotonic() > deadline:
                self.traffic.wrong.append(f"worker {worker.pid}, after {number.name}, was not replaced")
                worker.kill()
                break
            time.sleep(0.2)
        self._wait_for_all(deadline)
        self.rollbacks.workers_are_away.clear()

    def _wait_for_all(self, deadline: float) -> None:
        for machine in self.traffic.fleet.machines:
            while self.traffic.ask(machine) is None:
                if time.monotonic() > deadline:
                    self.traffic.wrong.append(f"{machine} was not served again")
                    return
                time.sleep(0.2)

    def _bucket(self, mode: Mode, seconds: float) -> None:
        self.rollbacks.bucket_is_away.set()
        self.proxy.mode = mode
        time.sleep(seconds)
        self.proxy.mode = "through"
        self.rollbacks.bucket_is_away.clear()

    def _damage_a_pointer(self) -> None:
        """Of one machine, which goes on being served; verify notes it in the index, which servers read."""
        machine, store = list(self.traffic.fleet.machines)[2], self.registry.store
        key = f"{place_of(machine)}/channels/production.json"
        with self.rollbacks.turn[machine]:
            before = store.read(key)
            store.write(key, before[: len(before) // 2])
            if not any(machine in problem for problem in verify(self.registry)):
                self.traffic.wrong.append(f"verify does not see the damaged pointer of {machine}")
            time.sleep(DAMAGED_SECONDS)
            store.write(key, before)
            verify(self.registry)

    def _fill_the_disk(self) -> None:
        assert self.disk is not None
        begin = time.time()
        with (self.disk / "other").open("wb", buffering=0) as file:
            deadline = time.monotonic() + FULL_SECONDS
            while time.monotonic() < deadline:  # what is shipped meanwhile makes room, which is filled too
                try:
                    file.write(BLOCK)
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    time.sleep(0.05)
        (self.disk / "other").unlink()
        self.full.append((begin, time.time() + 1.0))

    def _kill_the_server(self) -> None:
        self.traffic.server_is_down.set()
        self.server.kill()
        self.server.start()
        self.traffic.server_is_down.clear()


def happens_every(seconds: float, what: Callable[[], None], until: threading.Event) -> threading.Thread:
    """Do it again and again, in a thread."""

    def again() -> None:
        while not until.wait(seconds):
            what()

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    return thread
