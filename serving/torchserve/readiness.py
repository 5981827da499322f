"""When a server is ready: every model that can be loaded has a worker and has scored a clip through HTTP."""

import io
import threading
import time

import numpy as np
import soundfile

from masd.errors import MasdError
from serving.client import ScoringClient, ScoringError
from serving.torchserve.management import Management, ManagementError
from serving.torchserve.process import TorchServe
from serving.worker.inference_log import PROBE_PREFIX

POLL_SECONDS = 0.2


class StoppedError(MasdError):
    """The server was asked to stop before it was ready."""


class Bundles:
    """Models that TorchServe was started with: ``models`` is machine -> version."""

    def __init__(
        self, models: dict[str, str], torchserve: TorchServe, management: Management, client: ScoringClient
    ) -> None:
        self.models = models
        self.problems: dict[str, str] = {}
        """Machine -> why nothing serves it."""
        self._torchserve, self._management, self._client = torchserve, management, client
        self._served: dict[str, str] = {}

    @property
    def serving(self) -> dict[str, str]:
        """Machine -> version, of those that have scored a clip."""
        return dict(self._served)

    @property
    def settled(self) -> bool:
        """Whether each has scored a clip or said why it does not."""
        return self.models.keys() == self._served.keys() | self.problems.keys()

    def step(self) -> None:
        """Look at those that do not serve yet.

        :raises MasdError: what keeps them from it.
        """
        for machine in self.models.keys() - self._served.keys():
            try:
                self._look(machine)
            except MasdError as error:
                self.problems[machine] = str(error)
        if self.problems:
            raise MasdError("; ".join(f"{machine}: {text}" for machine, text in sorted(self.problems.items())))

    def _look(self, machine: str) -> None:
        version = self.models[machine]
        if reason := self._torchserve.load_failure(machine, version):
            self.problems[machine] = f"it does not load: {reason}"
        try:
            loaded = self._management.loaded(machine)
        except ManagementError:
            return  # not listening yet, or late once
        if not loaded:
            raise MasdError("TorchServe refused the archive: see standard error")
        if not any(entry.ready for entry in loaded.values()):
            return
        try:
            answer = self._client.score(machine, probe_clip(), request_id=PROBE_PREFIX)["model_version"]
        except ScoringError as error:
            if error.status is None:  # late, on a busy machine: it is asked again
                return
            raise
        if answer != version:
            raise MasdError(f"the loaded model says that it is version {answer}, not {version}; make the archive again")
        self.problems.pop(machine, None)
        self._served[machine] = version


def wait_until_listening(torchserve: TorchServe, management: Management, seconds: float, stop: threading.Event) -> None:
    """Return once TorchServe answers on its management port.

    :raises MasdError: it does not in this time, or ended.
    :raises StoppedError: ``stop`` was set first.
    """
    deadline = time.monotonic() + seconds
    while True:
        check_running(torchserve, stop)
        try:
            management.loaded("nobody")
            return
        except ManagementError as error:
            if time.monotonic() > deadline:
                raise MasdError(
                    f"TorchServe does not answer after {seconds:g} s: {error}; give it longer with --startup-seconds"
                ) from error


def check_running(torchserve: TorchServe, stop: threading.Event) -> None:
    """Wait for a moment.

    :raises MasdError: TorchServe has ended.
    :raises StoppedError: ``stop`` was set.
    """
    if stop.wait(POLL_SECONDS):
        raise StoppedError("stopped before it was ready")
    if not torchserve.running:
        raise MasdError("TorchServe ended while it started: see its last lines on standard error")


def probe_clip() -> bytes:
    """Two seconds of a tone in noise, as WAV: a valid clip for any model, the same bytes every time."""
    rate = 16_000
    time_s = np.arange(2 * rate) / rate
    tone = 0.2 * np.sin(2 * np.pi * 440.0 * time_s)
    noise = np.random.default_rng(0).normal(scale=0.05, size=len(time_s))
    buffer = io.BytesIO()
    soundfile.write(buffer, tone + noise, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
