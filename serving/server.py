"""``masd serve``: TorchServe in the foreground, ready once every model that can be loaded has scored a clip."""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from masd.bundle.manifest import load_manifest
from masd.config import Settings
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage.opening import open_store
from serving.agent.follower import LOAD_SECONDS, Plant
from serving.agent.model_agent import ModelAgent
from serving.archive import deploy
from serving.background import Loop, Loops, in_background, set_by_signals
from serving.client import ScoringClient
from serving.front.auth import Auth, StaticToken
from serving.front.grpc_relay import relaying_grpc
from serving.front.proxy import Front, listening
from serving.front.relay import relaying
from serving.health.status import Health
from serving.health.watch import PROBE_SECONDS, Watch
from serving.log_shipper import FINAL_SECONDS, LogShipper, check_writable
from serving.torchserve.config import (
    KEY_FILE,
    LOOPBACK,
    Access,
    Addresses,
    check_sockets,
    cores,
    environment,
    share_of_workers,
)
from serving.torchserve.management import KeyFile, Management
from serving.torchserve.process import TorchServe
from serving.torchserve.readiness import POLL_SECONDS, Bundles, StoppedError, check_running, wait_until_listening
from serving.torchserve.shared.pool import SharedWorkers
from serving.worker.metrics import METRICS_FILE

LOOPBACK_NAMES = (LOOPBACK, "localhost")

BYTES_PER_SECOND = 48_000 * 2 * 2 * 4 // 3
"""Of the largest encoding of a clip that is let in: 48 kHz, stereo, 16 bits, as base64 in JSON."""

MAX_REQUEST_BYTES = 150_000_000
"""Whatever a clip may last: TorchServe and its worker each hold a whole request. An hour of 16 kHz mono is 115 MB."""

FIRST_SECONDS, MORE_SECONDS, MOST_SECONDS = 120.0, 30.0, 540.0
"""Until a server is ready: for the first machine, for each other one, and at most; a worker takes 7 s of a core."""

DRAIN_SECONDS = 3.0
"""Seconds for open requests when a server stops, so that it ends within ten seconds."""

LOAD_PROBE_SECONDS = 30.0
"""For the first clip of a version that was just loaded."""

LOOP_SECONDS = 0.2
"""For the step that a loop is taking, when a server stops."""

TOKEN_MINUTES = 60
"""How long a key of ``--auth token`` lasts."""


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready: its addresses, and ``models`` (machine type -> version) as they were then.

    ``not_served`` are those that could not be loaded, and why. ``key_file`` has TorchServe's keys, ``management`` uses
    them.
    """

    url: str
    management_url: str
    metrics_url: str
    grpc_address: str
    models: dict[str, str]
    torchserve: TorchServe
    management: Management
    key_file: Path
    health: Health
    not_served: dict[str, str] = field(default_factory=dict)


def serve(bundles: Sequence[Path], *, stop: threading.Event | None = None, **options: Any) -> None:
    """Serve until SIGTERM, SIGINT or ``stop``; once ready, print one JSON line on standard output.

    ``options`` are those of :func:`running_server`. Signals are caught only when this runs in the main thread.

    :raises MasdError: the server did not become ready, or TorchServe ended by itself.
    """
    stop = stop or threading.Event()
    with set_by_signals(stop):
        try:
            with running_server(bundles, stop=stop, **options) as server:
                line = {"ready": True, "url": server.url, "models": server.models, "grpc": server.grpc_address}
                if server.not_served:
                    line["not_served"] = server.not_served
                print(json.dumps({**line, "key_file": str(server.key_file)}), flush=True)
                while not stop.wait(POLL_SECONDS):
                    if not server.torchserve.running:
                        raise MasdError("TorchServe ended by itself: see its last lines on standard error")
        except StoppedError:
            pass  # as it was asked to


@contextmanager
def running_server(
    bundles: Sequence[Path] = (),
    *,
    host: str = LOOPBACK,
    port: int = 0,
    management_port: int = 0,
    metrics_port: int = 0,
    grpc_port: int | None = 0,
    auth: Auth = "none",
    log_folder: Path | None = None,
    log_url: str | None = None,
    registry: Registry | None = None,
    machines: Collection[str] | None = None,
    poll_seconds: float = 10.0,
    startup_seconds: float | None = None,
    drain_seconds: float = DRAIN_SECONDS,
    stop: threading.Event | None = None,
) -> Iterator[RunningServer]:
    """Yield a server once each of its models that can be loaded has scored a clip; no process is left at the end.

    ``bundles`` are bundle folders, one per machine type; an archive ``<machine>.mar`` inside one is used as it is when
    it holds that very bundle. A port of 0 means any free one.

    :param grpc_port: None means 7070, or any where that is taken.
    :param host: for inference; management, metrics and gRPC stay on the loopback address.
    :param auth: "static", one token from the environment, which hosts other than loopback need; or "token",
        TorchServe's own keys, which some of its paths do not ask for.
    :param log_folder: where workers write the inference log; without it the environment's ``MASD_INFERENCE_LOG``.
    :param log_url: where that log is shipped to, as Parquet.
    :param registry: instead of bundles: what is in production there is served, and read every ``poll_seconds``.
    :param machines: those of the registry that are served; None means all.
    :param startup_seconds: how long it may take until the first is served; None means two minutes and half a minute
        for each machine, at most nine minutes. What is not loaded by then is loaded later.
    :param drain_seconds: at the end, for what is being answered.
    :param stop: when set, ends the wait for readiness.
    :raises MasdError: what keeps the server from becoming ready: a bundle, a port, or the words of a model's worker.
    :raises StoppedError: ``stop`` was set first.
    """
    if auth != "static" and host not in LOOPBACK_NAMES:
        raise MasdError(
            f"--host {host} needs --auth static, because other computers could send requests without a token"
        )
    if not bundles and registry is None:
        raise MasdError("nothing to serve: no bundle was given")
    token = StaticToken.from_environment() if auth == "static" else None
    check_writable(log_folder, log_url)
    store = open_store(log_url) if log_url is not None else None
    addresses = Addresses.claim(host, port, management_port, metrics_port, grpc_port)
    if auth == "token":  # nobody stands before its gRPC: callers have the key
        addresses = replace(addresses, inner_grpc_port=addresses.grpc_port)
    stop, begin, health = stop or threading.Event(), time.monotonic(), Health(Loops())
    with ExitStack() as running:
        work = running.enter_context(tempfile.TemporaryDirectory(prefix="masd-serve-", ignore_cleanup_errors=True))
        folder = Path(work)
        check_sockets(folder)
        models, max_bytes = _collect(bundles, folder / "models")
        if store is not None and log_folder is not None:
            shipping = LogShipper(log_folder, store).loop()
            health.shipping = running.enter_context(in_background(shipping, health.loops, FINAL_SECONDS))

        keys = KeyFile(folder / KEY_FILE, addresses.management_url)
        management = Management(addresses.management_url, keys.management)
        client = ScoringClient(addresses.url, PROBE_SECONDS, token=keys.inference, retries=0)
        first = ScoringClient(addresses.url, LOAD_PROBE_SECONDS, token=keys.inference, retries=0)
        for opened in (client, first, management):
            running.callback(opened.close)
        if registry is not None:
            plant = Plant(registry, management, first, folder / "models")
            agent = ModelAgent(plant, health.loops, poll_seconds, machines)
            running.callback(agent.stop)
            running.enter_context(in_background(agent.pointers, health.loops, LOOP_SECONDS))
            _wait_for_pointers(agent, registry.url, stop)
        access = Access(model_api=registry is not None)
        if auth == "token":
            access = replace(access, key_minutes=TOKEN_MINUTES)
        workers = SharedWorkers(folder, cores(), folder / METRICS_FILE, environment(log_folder))
        running.callback(workers.stop)
        torchserve = health.torchserve = TorchServe(
            folder, addresses, list(models), max_bytes, log_folder, access, workers.launcher
        )
        running.callback(torchserve.stop)
        running.enter_context(in_background(workers.loop(), health.loops, LOOP_SECONDS))

        key = None if auth == "token" else keys.inference
        if key is not None:
            running.enter_context(relaying_grpc(addresses.inner_grpc_address, addresses.grpc_address, key, max_bytes))
        if token is None:
            url = running.enter_context(relaying(addresses.url, host, port, key=key, drain_seconds=drain_seconds))
        else:
            front = Front(health.status, token, addresses.url, addresses.metrics_url, max_bytes, key)
            url = running.enter_context(listening(front, host, port, drain_seconds=drain_seconds))

        count = len(models) or len(agent.machines)
        seconds = startup_seconds or seconds_to_start(count)
        wait_until_listening(torchserve, management, seconds, stop)
        fleet: Fleet
        if registry is not None:
            plant.worker_log, plant.load_seconds = torchserve, max(LOAD_SECONDS, seconds)
            plant.share = lambda shared: share_of_workers(len(agent.machines), shared=shared)
            health.agent = fleet = agent
            agent.begin()
        else:
            fleet = Bundles(models, torchserve, management, first)
            running.enter_context(in_background(Loop("bundles", fleet.step, POLL_SECONDS), health.loops, LOOP_SECONDS))
        _wait_until_served(fleet, torchserve, begin + seconds, seconds, stop)

        def end_worker(pid: int) -> None:
            if not workers.end(pid):
                torchserve.end_worker(pid)

        health.watch = Watch(management, client, lambda: fleet.serving, health.loops, end_worker)
        running.enter_context(in_background(health.watch.loop(), health.loops, LOOP_SECONDS))
        health.started = True
        running.callback(health.stop)
        yield RunningServer(
            url,
            addresses.management_url,
            addresses.metrics_url,
            addresses.grpc_address,
            fleet.serving,
            torchserve,
            management,
            keys.path,
            health,
            fleet.problems,
        )


class Fleet(Protocol):
    """What is to be served: bundles, or what is in production."""

    @property
    def serving(self) -> dict[str, str]:
        """Machine -> version."""

    @property
    def problems(self) -> dict[str, str]:
        """Machine -> why its version is not served."""

    @property
    def settled(self) -> bool:
        """Whether each is in one of them."""


def _wait_for_pointers(agent: ModelAgent, url: str, stop: threading.Event) -> None:
    """:raises MasdError: the registry cannot be read, or nothing is in production there."""
    while agent.pointers.last_success is None and not agent.pointers.problem:
        if stop.wait(POLL_SECONDS):
            raise StoppedError("stopped before it was ready")
    if agent.pointers.last_success is None:
        raise MasdError(agent.pointers.problem)
    if not agent.machines:
        reasons = "; ".join(f"{name}: {problem}" for name, problem in agent.problems.items())
        raise MasdError(
            f"{url}: no version is in production; promote a version with masd registry promote, or use --bundle"
            + (f" ({reasons})" if reasons else "")
        )


def _wait_until_served(
    fleet: Fleet, torchserve: TorchServe, deadline: float, seconds: float, stop: threading.Event
) -> None:
    """Return once each machine is served or has a problem, or some are when time is up.

    :raises MasdError: none is served.
    """
    while not fleet.settled and time.monotonic() < deadline:
        check_running(torchserve, stop)
    reasons = "; ".join(f"{machine}: {problem}" for machine, problem in sorted(fleet.problems.items()))
    if not fleet.serving:
        raise MasdError(
            f"no model can be served: {reasons}"
            if reasons
            else f"no model is served after {seconds:g} s; raise --startup-seconds, or see standard error"
        )
    if not fleet.settled:
        print(
            f"masd: after {seconds:g} s some models are still loading; they are served as soon as they are loaded",
            file=sys.stderr,
            flush=True,
        )


def _collect(bundles: Sequence[Path], store: Path) -> tuple[dict[str, str], int]:
    """Put one archive per bundle into the model store; machine -> version, and the limit of a request in bytes."""
    store.mkdir()
    models: dict[str, str] = {}
    max_seconds = 0.0
    for folder in bundles:
        manifest = load_manifest(folder)
        machine = manifest.machine_type
        if machine in models:
            raise MasdError(f"two bundles are for machine '{machine}': serve one version at a time")
        deploy(folder, store / f"{machine}.mar", shared=True)
        models[machine] = manifest.version
        config = folder / "config.yaml"
        settings = Settings.from_yaml(config.read_text(encoding="utf-8"), str(config))
        max_seconds = max(max_seconds, settings.serving.max_clip_seconds)
    if not bundles:  # what a registry will have is not known yet
        return {}, MAX_REQUEST_BYTES
    return models, int(min(max_seconds * BYTES_PER_SECOND, MAX_REQUEST_BYTES))


def seconds_to_start(machines: int) -> float:
    """How long a server of so many machines may take until it is ready, where nobody says."""
    return min(FIRST_SECONDS + MORE_SECONDS * (machines - 1), MOST_SECONDS)
