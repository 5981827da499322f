"""Whether each machine that is served still answers: a probe each, and an end for workers that hang.

TorchServe does not notice a worker that is stopped or stuck: its callers wait for the limit of ten minutes. A probe
that is not answered in its own time says that no worker was free. Those that used the processor meanwhile are busy, and
left alone; the others hang, and are ended, upon which TorchServe starts new ones. Of a worker that is a thread of a
shared process, the machine's workers are replaced: the process goes on with its other machines.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from masd.progress import print_line
from serving.background import Loop, Loops
from serving.client import ScoringClient, ScoringError
from serving.health.workers import Worker, is_stopped, workers_of
from serving.torchserve.management import Loaded, Management, default_of
from serving.torchserve.readiness import probe_clip
from serving.worker.inference_log import PROBE_PREFIX

PROBE_SECONDS = 8.0
EVERY_SECONDS = 10.0
"""Pause after a probe, so that there is one at least every twenty seconds."""

FRESH_SECONDS = 60.0
"""A machine is ready if it answered a probe, or was seen at work, at most this many seconds ago."""

BUSY_SECONDS = 600.0
"""Longest time that workers may be at work without answering a probe: TorchServe's own limit for a batch."""

IDLE_CPU_SECONDS = 0.02
"""A worker that uses fewer processor seconds than this, between a probe and its time limit, does nothing."""

UNANSWERED_FAILURES = 2
"""Probes in a row without an answer before those who do nothing are ended: once may be a busy machine's."""

SHARED_FAILURES = 4
"""The same of threads of a shared process: they may only wait for their turn."""

WRONG_FAILURES = 3
"""Probes in a row that are answered by an error before the workers are ended."""

STARTING_FAILURES = 30
"""Probes in a row that find no worker, some five minutes, before others are asked for."""

UNSEEN_SECONDS = 300.0
"""Seconds without an answer before workers are replaced whose processes masd cannot see."""

REPLACE_SECONDS = 20.0
UNAVAILABLE = 503


class Probe:
    """The probes of one machine: when it last answered, and since when it does not."""

    def __init__(self, machine: str, watch: "Watch") -> None:
        self.machine = machine
        self.last_answer: float | None = None
        """Seconds since 1970."""
        self.loop = Loop(f"probe of {machine}", self.step, EVERY_SECONDS)
        self._watch = watch
        self._fresh_at: float | None = None
        self._answered_at = time.monotonic()
        self._failures = 0

    @property
    def fresh(self) -> bool:
        """Whether it answers, or has never answered: it then was never served."""
        return self._fresh_at is None or time.monotonic() - self._fresh_at < FRESH_SECONDS

    def step(self) -> None:
        """Send a probe, and act if there is no answer.

        :raises MasdError: there was none.
        """
        watch = self._watch
        if self.machine not in watch.served():
            self._fresh_at = None
            return
        if self._fresh_at is None:  # it has scored a clip just now, or it would not be served
            self._fresh_at = self._answered_at = time.monotonic()
        loaded = watch.management.loaded(self.machine)
        watch.end([pid for entry in loaded.values() for pid in entry.pids if is_stopped(pid)])
        used = _used(loaded)
        try:
            watch.client.score(self.machine, probe_clip(), request_id=PROBE_PREFIX)
        except ScoringError as error:
            if error.status is None and self._at_work(loaded, used):
                return
            self._act(error, loaded, used)
            raise
        self._failures = 0
        self._answered_at = self._fresh_at = time.monotonic()
        self.last_answer = time.time()

    def _at_work(self, loaded: dict[str, Loaded], used: dict[Worker, float]) -> bool:
        """Whether every worker has used the processor since ``used``: then they are busy, and it may be said again."""
        if not used or _idle(loaded, used) or time.monotonic() - self._answered_at >= BUSY_SECONDS:
            return False
        self._fresh_at = time.monotonic()
        self._failures = 0
        return True

    def _act(self, error: ScoringError, loaded: dict[str, Loaded], used: dict[Worker, float]) -> None:
        watch, default = self._watch, default_of(loaded)
        if default is None:
            return
        self._failures += 1
        if not watch.sees_workers:
            if time.monotonic() - self._answered_at >= UNSEEN_SECONDS:
                self._answered_at = time.monotonic()
                watch.replace(self.machine, default)
        elif error.status is None:
            idle = _idle(loaded, used)
            shared = any(worker.shared for worker in idle)
            if self._failures >= (SHARED_FAILURES if shared else UNANSWERED_FAILURES):
                self._mend(default, idle or workers_of(default))
        elif error.status == UNAVAILABLE:  # TorchServe starts another worker, but gives up after some minutes
            if not default.pids and self._failures % STARTING_FAILURES == 0:
                watch.replace(self.machine, default)
        elif self._failures % WRONG_FAILURES == 0:
            self._mend(default, workers_of(default))

    def _mend(self, default: Loaded, workers: list[Worker]) -> None:
        if any(worker.shared for worker in workers):
            self._failures = 0
            self._watch.replace(self.machine, default)
        else:
            self._watch.end([worker.pid for worker in workers])


class Watch:
    """Probes every machine that ``served`` names, each in a loop of its own, one of ``loops``."""

    def __init__(
        self,
        management: Management,
        client: ScoringClient,
        served: Callable[[], Mapping[str, str]],
        loops: Loops,
        end_worker: Callable[[int], None] | None = None,
    ) -> None:
        """``end_worker`` kills one by its number; None where workers are in another container and cannot be seen."""
        self.management = management
        self.client = client
        self.served = served
        self._loops = loops
        self._end_worker = end_worker
        self._probes: dict[str, Probe] = {}

    @property
    def ready(self) -> bool:
        """Whether every machine that is served has answered lately."""
        return all(probe.fresh for probe in list(self._probes.values()))

    def status(self) -> dict[str, dict[str, Any]]:
        """Machine -> when it last answered (``last_answer``, seconds since 1970), and the ``problem`` since."""
        return {
            name: {"last_answer": probe.last_answer, "problem": probe.loop.problem}
            for name, probe in sorted(self._probes.items())
        }

    def loop(self) -> Loop:
        """The loop that begins to probe what is served from now on."""
        return Loop("probes", self._begin, 1.0)

    @property
    def sees_workers(self) -> bool:
        """Whether workers are processes of this computer, which masd can see and end."""
        return self._end_worker is not None

    def end(self, pids: list[int]) -> None:
        """End workers that hang: TorchServe starts others."""
        for pid in pids:
            if self._end_worker is not None:
                print_line(f"masd: worker {pid} does not answer: it is killed")
                self._end_worker(pid)

    def replace(self, machine: str, entry: Loaded) -> None:
        """Have TorchServe end all workers of a version and start others."""
        print_line(
            f"masd: {machine}: the workers of version {entry.version} do not answer as they should: all are replaced"
        )
        self.management.scale(machine, entry.version, 0)
        deadline = time.monotonic() + REPLACE_SECONDS
        while self.management.loaded(machine)[entry.version].pids and time.monotonic() < deadline:
            time.sleep(0.5)
        self.management.scale(machine, entry.version, max(1, entry.workers))

    def stop(self) -> None:
        """Stop all probes."""
        for probe in list(self._probes.values()):
            probe.loop.stop(0.0)

    def _begin(self) -> None:
        for machine in self.served().keys() - self._probes.keys():
            self._probes[machine] = Probe(machine, self)
            self._loops.start(self._probes[machine].loop)


def _used(loaded: dict[str, Loaded]) -> dict[Worker, float]:
    """Processor seconds that the workers of the default version have used, of those that can be seen."""
    default = default_of(loaded)
    measured = {worker: worker.seconds() for worker in workers_of(default)} if default else {}
    return {worker: seconds for worker, seconds in measured.items() if seconds is not None}


def _idle(loaded: dict[str, Loaded], before: dict[Worker, float]) -> list[Worker]:
    """Those workers that are still there and have done nothing since ``before``."""
    now = _used(loaded)
    return [worker for worker, seconds in before.items() if worker in now and now[worker] - seconds < IDLE_CPU_SECONDS]
