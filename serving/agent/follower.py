"""One machine of the model agent: brings it to the version its production pointer names, whatever others do.

A new version is fetched and verified, loaded beside the one that serves, scores a clip, and only then becomes the
default; the one before stays loaded with one worker, so that a rollback is a matter of one request. Whatever fails,
what serves goes on serving. A pointer that moves while a version loads ends that wait at once.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from masd.errors import MasdError, described
from masd.progress import print_line
from masd.registry.registry import Registry
from serving.archive import deploy
from serving.client import ScoringClient
from serving.torchserve.management import Loaded, Management, default_of
from serving.torchserve.readiness import probe_clip
from serving.worker.inference_log import PROBE_PREFIX

LOAD_SECONDS = 180.0
POLL_SECONDS, LONGEST_POLL_SECONDS = 0.25, 2.0
"""Between two looks at whether a version has a worker: ever longer, as fifty machines may be loading."""

REGISTERING = 4
"""Versions that TorchServe is asked to take at a time: it unpacks each before it answers anybody else."""

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 60.0, 3600.0


class WorkerLog(Protocol):
    """Where the workers of a TorchServe say why they do not load."""

    def forget_failures(self, machine: str, version: str) -> None:
        """Look only at what workers of this version say from now on."""

    def load_failure(self, machine: str, version: str) -> str | None:
        """The reason, in one line, or None."""


class MovedOnError(MasdError):
    """The pointer names another version by now, or the server is being stopped."""


@dataclass
class Plant:
    """What every machine's follower uses: the registry, one TorchServe and its model store, the folder ``store``.

    ``share`` says how many workers a machine may have, shared ones or not; None leaves that to TorchServe, and then
    there are no shared ones. ``worker_log`` ends the wait for a model that does not load before ``load_seconds`` are
    over.
    """

    registry: Registry
    management: Management
    inference: ScoringClient
    store: Path
    worker_log: WorkerLog | None = None
    share: Callable[[bool], int] | None = None
    load_seconds: float = LOAD_SECONDS
    registering: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(REGISTERING))


class Follower:
    """The state of one machine: the version its pointer names, the one that is served, and why they differ."""

    def __init__(self, machine: str, plant: Plant) -> None:
        self.machine = machine
        self.wanted: str | None = None
        self.serving: str | None = None
        self.problem: str | None = None
        self.served = False
        """Whether a version has ever served here."""
        self.settled = False
        """Whether the wanted version serves, or was tried and does not."""
        self._plant = plant
        self._stop = threading.Event()
        self._tries = 0
        self._retry_at = 0.0
        self._scored: set[str] = set()
        self._spare: set[str] = set()
        self._alone: set[str] = set()
        """Versions whose workers are processes of their own."""
        self._late = False

    def move(self, wanted: str) -> bool:
        """Note the version that the pointer names; returns whether it is a new one. A new version is tried at once."""
        if wanted == self.wanted:
            return False
        self.wanted, self.problem, self._tries, self._retry_at = wanted, None, 0, 0.0
        return True

    def stop(self) -> None:
        """End what waits."""
        self._stop.set()

    def status(self) -> dict[str, Any]:
        """For people: what serves, what should, and why not."""
        return {"wanted": self.wanted, "serving": self.serving, "problem": self.problem}

    def step(self) -> None:
        """Bring the machine to its version; says each new problem in one line."""
        while self.wanted is not None and not self._stop.is_set():
            try:
                self._follow(self.wanted)
            except MovedOnError:
                continue
            break
        for version in sorted(self._spare - {self.serving}):
            self._unload(version)

    def _follow(self, wanted: str) -> None:
        try:
            loaded = self._plant.management.loaded(self.machine)
            self._scored &= loaded.keys()
            found = self._find_serving(loaded)
            self.served = self.served or found is not None
            self.serving = found
            self._late = False
        except MovedOnError:
            raise
        except Exception as error:  # whatever it is, it is this machine's alone
            if self._late:  # not the first time: a server under load may be late once
                self.serving = None
            self._late = True
            self._tell(wanted, error)
            return
        if self.serving == wanted:
            self._divide(loaded)
            self.problem, self._tries, self.settled = None, 0, True
        elif time.monotonic() >= self._retry_at:
            self._upgrade(wanted, loaded)

    def _upgrade(self, wanted: str, loaded: dict[str, Loaded]) -> None:
        try:
            self._deploy(wanted, loaded)
        except MovedOnError:
            raise
        except Exception as error:  # as above
            self._tell(wanted, error)
            self._retry_at = time.monotonic() + min(FIRST_RETRY_SECONDS * 2.0**self._tries, LONGEST_RETRY_SECONDS)
            self._tries += 1
            self.settled = True
            return
        self._say(f"version {wanted} is served" + (f" instead of version {self.serving}" if self.serving else ""))
        self.served = True
        self.serving, self.problem, self._tries, self.settled = wanted, None, 0, True

    def _tell(self, wanted: str, error: Exception) -> None:
        """Print a problem, unless it was the last one printed or only comes from stopping."""
        problem = described(error)
        if problem != self.problem and not self._stop.is_set():
            now = f"version {self.serving} is still served" if self.serving else "no version is served"
            self._say(f"version {wanted} is not served: {problem}; {now}")
        self.problem = problem

    def _find_serving(self, loaded: dict[str, Loaded]) -> str | None:
        """The default version, if it has a worker and has scored a clip."""
        default = default_of(loaded)
        if default is None or not default.ready or default.version in self._spare:
            return None
        self._probe(default.version)
        return default.version

    def _deploy(self, version: str, loaded: dict[str, Loaded]) -> None:
        try:
            if version not in loaded:
                archive = self._archive(version)
                with self._plant.registering:
                    self._plant.management.register(archive, self._workers(version))
            self._spare.discard(version)
            self._wait_for_worker(version)
            self._probe(version)
            self._plant.management.set_default(self.machine, version)
        except Exception:
            self._spare.add(version)
            raise
        self._spare |= loaded.keys() - {version, self.serving}

    def _archive(self, version: str) -> str:
        """Put what TorchServe shall load of a verified version into the model store; its name there."""
        bundle = self._plant.registry.fetch(self.machine, version)
        name = f"{self.machine}-{version}.mar"
        if deploy(bundle, self._plant.store / name, shared=self._plant.share is not None):
            self._alone.discard(version)
        else:
            self._alone.add(version)
        return name

    def _workers(self, version: str) -> int | None:
        share = self._plant.share
        return share(version not in self._alone) if share else None

    def _wait_for_worker(self, version: str) -> None:
        log = self._plant.worker_log
        if log is not None:
            log.forget_failures(self.machine, version)
        seconds = self._plant.load_seconds
        deadline, pause = time.monotonic() + seconds, POLL_SECONDS
        while True:
            entry = self._plant.management.loaded(self.machine).get(version)
            if entry is not None and entry.ready:
                return
            if log is not None and (reason := log.load_failure(self.machine, version)):
                raise MasdError(f"it does not load: {reason}")
            if time.monotonic() > deadline:
                raise MasdError(f"no worker has started after {seconds:g} s; see TorchServe's log")
            if self._stop.wait(pause) or self.wanted != version:
                raise MovedOnError("production names another version")
            pause = min(1.5 * pause, LONGEST_POLL_SECONDS)

    def _probe(self, version: str) -> None:
        """Have the version score a clip, once."""
        if version in self._scored:
            return
        answer = self._plant.inference.score(self.machine, probe_clip(), request_id=PROBE_PREFIX, version=version)
        if answer["model_version"] != version:
            raise MasdError(
                f"the loaded model says that it is version {answer['model_version']}, not {version}; register the "
                "version "
                "again"
            )
        self._scored.add(version)

    def _divide(self, loaded: dict[str, Loaded]) -> None:
        """Give the version that serves this machine's share of the workers, and those that wait beside it one."""
        if self._plant.share is None:
            return
        for entry in loaded.values():
            workers = self._workers(entry.version) if entry.default else 1
            if workers is not None and entry.workers != workers:
                self._plant.management.scale(self.machine, entry.version, workers)

    def _unload(self, version: str) -> None:
        self._scored.discard(version)
        try:
            self._plant.management.unregister(self.machine, version)
            (self._plant.store / f"{self.machine}-{version}.mar").unlink(missing_ok=True)
        except (MasdError, OSError) as error:
            self._say(f"version {version} cannot be unloaded: {error}")
        else:
            self._spare.discard(version)

    def _say(self, line: str) -> None:
        print_line(f"masd agent: {self.machine}: {line}")
