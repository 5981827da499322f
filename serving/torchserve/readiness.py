"""When a server is ready: every model has a worker and has scored a clip through HTTP."""

import io
import threading
import time

import numpy as np
import soundfile

from masd.errors import MasdError
from serving.client import ScoringClient
from serving.torchserve.management import Management, ManagementError
from serving.torchserve.process import TorchServe
from serving.worker.inference_log import PROBE_PREFIX

POLL_SECONDS = 0.2


class StoppedError(MasdError):
    """The server was asked to stop before it was ready."""


def wait_until_ready(
    torchserve: TorchServe,
    management: Management,
    client: ScoringClient,
    models: dict[str, str],
    seconds: float,
    stop: threading.Event,
) -> None:
    """Return once each of ``models`` (machine -> version) has answered a probe as that version.

    :raises MasdError: it does not within ``seconds``, or a worker said why it never will.
    :raises StoppedError: ``stop`` was set first.
    """
    deadline = time.monotonic() + seconds
    waiting = dict(models)
    while waiting:
        if stop.wait(POLL_SECONDS):
            raise StoppedError("stopped before it was ready")
        if not torchserve.running:
            raise MasdError("TorchServe ended while it started: its last words are on standard error")
        if reason := torchserve.load_failure():
            raise MasdError(f"a model does not load: {reason}")
        if time.monotonic() > deadline:
            names, last = ", ".join(waiting), torchserve.last_words()
            raise MasdError(f"not ready after {seconds:g} s: {names}; last from a worker: {last}")
        for machine in [machine for machine in waiting if _has_ready_worker(management, machine)]:
            version = client.score(machine, probe_clip(), request_id=PROBE_PREFIX)["model_version"]
            if version != models[machine]:
                raise MasdError(f"machine '{machine}' answers as version {version}, not {models[machine]}")
            del waiting[machine]


def probe_clip() -> bytes:
    """Two seconds of a tone in noise, as WAV: a valid clip for any model, the same bytes every time."""
    rate = 16_000
    time_s = np.arange(2 * rate) / rate
    tone = 0.2 * np.sin(2 * np.pi * 440.0 * time_s)
    noise = np.random.default_rng(0).normal(scale=0.05, size=len(time_s))
    buffer = io.BytesIO()
    soundfile.write(buffer, tone + noise, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _has_ready_worker(management: Management, machine: str) -> bool:
    """Ask the management API; /ping is no help, as it says healthy while a handler restarts in a loop."""
    try:
        loaded = management.loaded(machine)
    except ManagementError:
        return False  # not listening yet
    if not loaded:
        raise MasdError(f"TorchServe did not take the archive of '{machine}': standard error says why")
    return any(version.ready for version in loaded.values())
