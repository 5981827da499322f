"""The model agent: keeps one TorchServe at the versions that the registry's production pointers name.

It asks TorchServe what is loaded, so it may start, end and start again at any time. A new version is fetched and
verified, loaded beside the one that serves, scores a clip, and only then becomes the default; the one before stays
loaded, so that a rollback is a matter of one request. Whatever fails, what serves goes on serving.
"""

import shutil
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from masd.errors import MasdError
from masd.files import replacing_file
from masd.registry.registry import Registry
from serving.archive import archive, is_archive_of
from serving.client import ScoringClient
from serving.torchserve.management import Loaded, Management
from serving.torchserve.readiness import probe_clip
from serving.worker.inference_log import PROBE_PREFIX

LOAD_SECONDS = 180.0
PROBE_SECONDS = 30.0
POLL_SECONDS = 0.5
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 60.0, 3600.0


class WorkerLog(Protocol):
    """Where the workers of a TorchServe say why they do not load."""

    def forget_failures(self) -> None:
        """Look only at what is said from now on."""

    def load_failure(self) -> str | None:
        """The reason, in one line, or None."""


@dataclass
class MachineStatus:
    """Of one machine: the version its pointer names, the one that serves, and what keeps them apart."""

    wanted: str
    serving: str | None = None
    problem: str | None = None
    served: bool = False
    tries: int = 0
    retry_at: float = 0.0

    def move(self, wanted: str) -> None:
        """The pointer names another version now, which gets a try of its own at once."""
        if wanted != self.wanted:
            self.wanted, self.problem, self.tries, self.retry_at = wanted, None, 0, 0.0


class ModelAgent:
    """Follows ``registry`` for the TorchServe behind ``management``, whose model store is the folder ``store``."""

    def __init__(
        self,
        registry: Registry,
        management: Management,
        inference: ScoringClient,
        store: Path,
        *,
        worker_log: WorkerLog | None = None,
    ) -> None:
        """:param worker_log: ends the wait for a model that does not load before time is up."""
        self._registry = registry
        self._management = management
        self._inference = inference
        self._store = store
        self._worker_log = worker_log
        self._stop = threading.Event()
        self._machines: dict[str, MachineStatus] = {}
        self._scored: set[tuple[str, str]] = set()
        self._registry_problem = "not asked yet"
        self._was_ready = False

    @property
    def ready(self) -> bool:
        """Whether every machine in production has a version that serves, after it scored a clip.

        One bad promotion must not take every replica out of service. So a machine that serves an older version,
        because the newest does not load, is ready; and once all were ready, a new machine counts from when it serves.
        """
        counted = [machine for machine in self._machines.values() if machine.served or not self._was_ready]
        return bool(counted) and all(machine.serving is not None for machine in counted)

    def status(self) -> dict[str, Any]:
        """For people: what serves, what should, and why not."""
        machines = {
            name: {"wanted": machine.wanted, "serving": machine.serving, "problem": machine.problem}
            for name, machine in sorted(self._machines.items())
        }
        return {"ready": self.ready, "models": machines, "registry": self._registry_problem or "read"}

    def run(self, seconds: float, stop: threading.Event) -> None:
        """Take a step every ``seconds`` until ``stop`` is set, which ends a step that waits too."""
        self._stop = stop
        while not self._stop.is_set():
            self.step()
            self._stop.wait(seconds)

    def step(self) -> None:
        """Read the pointers and bring each machine to its version; says each new problem in one line."""
        try:
            for machine in self._registry.machines():
                version = self._registry.channel(machine, "production")
                if version is not None:
                    self._machines.setdefault(machine, MachineStatus(version)).move(version)
            self._registry_problem = ""
        except (MasdError, OSError) as error:
            if self._registry_problem != str(error):
                self._say(f"registry: {error}; what is loaded goes on serving")
            self._registry_problem = str(error)
        for machine, status in list(self._machines.items()):
            if self._stop.is_set():
                return
            self._follow(machine, status)
            status.served = status.served or status.serving is not None
        self._was_ready = self._was_ready or self.ready

    def _follow(self, machine: str, status: MachineStatus) -> None:
        try:
            loaded = self._management.loaded(machine)
            self._scored -= {key for key in self._scored if key[0] == machine and key[1] not in loaded}
            status.serving = self._serving(machine, loaded)
        except (MasdError, OSError) as error:
            if status.problem is not None:  # not the first time: a server under load may be late once
                status.serving = None
            self._tell(machine, status, str(error))
            return
        if status.serving == status.wanted:
            status.problem, status.tries = None, 0
        elif time.monotonic() >= status.retry_at:
            self._upgrade(machine, status, loaded)

    def _upgrade(self, machine: str, status: MachineStatus, loaded: dict[str, Loaded]) -> None:
        try:
            self._deploy(machine, status.wanted, loaded)
        except (MasdError, OSError) as error:
            self._tell(machine, status, str(error))
            status.retry_at = time.monotonic() + min(FIRST_RETRY_SECONDS * 2.0**status.tries, LONGEST_RETRY_SECONDS)
            status.tries += 1
            return
        self._say(
            f"{machine}: version {status.wanted} serves" + (f", after {status.serving}" if status.serving else "")
        )
        status.serving, status.problem, status.tries = status.wanted, None, 0

    def _tell(self, machine: str, status: MachineStatus, problem: str) -> None:
        """Say a problem, unless it is the one that was said last or only part of being stopped."""
        if problem != status.problem and not self._stop.is_set():
            now = f"version {status.serving} goes on serving" if status.serving else "nothing serves it"
            self._say(f"{machine}: version {status.wanted} is not served: {problem}; {now}")
        status.problem = problem

    def _serving(self, machine: str, loaded: dict[str, Loaded]) -> str | None:
        """The default version, if it has a worker and has scored a clip."""
        default = next((entry for entry in loaded.values() if entry.default), None)
        if default is None or not default.ready:
            return None
        self._probe(machine, default.version)
        return default.version

    def _deploy(self, machine: str, version: str, loaded: dict[str, Loaded]) -> None:
        serving = next((entry.version for entry in loaded.values() if entry.default), None)
        try:
            if version not in loaded:
                self._management.register(self._archive(machine, version))
            self._wait_for_worker(machine, version)
            self._probe(machine, version)
            self._management.set_default(machine, version)
        except (MasdError, OSError):
            self._unload(machine, version)
            raise
        for other in set(loaded) - {version, serving}:
            self._unload(machine, other)

    def _archive(self, machine: str, version: str) -> str:
        """Put the verified archive into the model store; its name there."""
        bundle = self._registry.fetch(machine, version)
        name = f"{machine}-{version}.mar"
        ready = bundle / f"{machine}.mar"
        if is_archive_of(ready, bundle):
            with replacing_file(self._store / name) as staged:
                shutil.copyfile(ready, staged)
        else:
            archive(bundle, self._store / name)
        return name

    def _wait_for_worker(self, machine: str, version: str) -> None:
        if self._worker_log is not None:
            self._worker_log.forget_failures()
        deadline = time.monotonic() + LOAD_SECONDS
        while not self._stop.is_set():
            entry = self._management.loaded(machine).get(version)
            if entry is not None and entry.ready:
                return
            if self._worker_log is not None and (reason := self._worker_log.load_failure()):
                raise MasdError(f"it does not load: {reason}")
            if time.monotonic() > deadline:
                raise MasdError(f"it has no worker after {LOAD_SECONDS:g} s")
            self._stop.wait(POLL_SECONDS)
        raise MasdError("stopped")

    def _probe(self, machine: str, version: str) -> None:
        """Have the version score a clip, once."""
        if (machine, version) in self._scored:
            return
        answer = self._inference.score(machine, probe_clip(), request_id=PROBE_PREFIX, version=version)
        if answer["model_version"] != version:
            raise MasdError(f"version {version} answers as version {answer['model_version']}")
        self._scored.add((machine, version))

    def _unload(self, machine: str, version: str) -> None:
        self._scored.discard((machine, version))
        try:
            self._management.unregister(machine, version)
            (self._store / f"{machine}-{version}.mar").unlink(missing_ok=True)
        except (MasdError, OSError) as error:
            self._say(f"{machine}: version {version} cannot be unloaded: {error}")

    def _say(self, line: str) -> None:
        print(f"masd agent: {line}", file=sys.stderr, flush=True)
