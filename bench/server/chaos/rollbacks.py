"""Promotions and rollbacks without end, machine after machine, and how long the server takes to follow."""

import itertools
import threading
import time

from bench.server.chaos.traffic import Traffic
from masd.registry.registry import Registry

AT_ONCE = 2
"""Machines that are moved at a time."""

UNSEEN_SECONDS = 120.0
"""Whoever has not seen a rollback by then gives up, and it counts as so long."""

PAUSE_SECONDS = 0.2


class Rollbacks:
    """``followed`` has seconds and machine of each rollback, ``promoted`` the machines that were promoted in time.

    Faults set and clear the events, and keep the ``turn`` of a machine that they damage: it is not moved meanwhile.
    """

    def __init__(self, registry: Registry, traffic: Traffic) -> None:
        self.followed: list[tuple[float, str]] = []
        self.promoted: list[str] = []
        self.turn = {name: threading.Lock() for name in traffic.fleet.machines}
        self.bucket_is_away = threading.Event()
        self.workers_are_away = threading.Event()
        """Some machines are not whole: those whose clips are refused."""
        self._registry, self._traffic = registry, traffic
        self._ended = threading.Event()
        names = list(traffic.fleet.machines)
        shares = [names[first::AT_ONCE] for first in range(AT_ONCE)]
        self._threads = [threading.Thread(target=self._roll, args=(share,), daemon=True) for share in shares]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the rollbacks that are being followed."""
        self._ended.set()
        for thread in self._threads:
            thread.join(2 * UNSEEN_SECONDS)

    def _roll(self, names: list[str]) -> None:
        for name in itertools.cycle(names):
            if self._ended.wait(PAUSE_SECONDS):
                return
            with self.turn[name]:
                machine = self._traffic.fleet.machines[name]
                self._registry.promote(name, machine.other, reason="chaos")
                if self._seen(name, machine.other) is not None:
                    self.promoted.append(name)
                self._registry.rollback(name, reason="chaos")
                seconds = self._seen(name, machine.usual)
                self.followed.append((UNSEEN_SECONDS if seconds is None else seconds, name))

    def _seen(self, machine: str, version: str) -> float | None:
        """Ask until the version answers; None where it never does.

        Time begins again while bucket or server are away, and while a machine without workers refuses clips.
        """
        begin = time.monotonic()
        while (answered := self._traffic.ask(machine)) != version:
            if time.monotonic() - begin > UNSEEN_SECONDS:
                return None
            not_whole = answered is None and self.workers_are_away.is_set()
            if not_whole or self.bucket_is_away.is_set() or self._traffic.server_is_down.is_set():
                begin = time.monotonic()
            time.sleep(PAUSE_SECONDS)
        return time.monotonic() - begin
