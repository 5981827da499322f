"""``masd serve``: TorchServe in the foreground, ready only when every model has scored a clip."""

import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masd.bundle.manifest import load_manifest
from masd.config import Settings
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage.opening import open_store
from serving.agent import ModelAgent
from serving.archive import archive, is_archive_of
from serving.background import in_background, set_by_signals
from serving.client import ScoringClient
from serving.front.auth import Auth, StaticToken
from serving.front.proxy import Front, listening
from serving.front.relay import relaying
from serving.log_shipper import FINAL_SECONDS, LogShipper, check_writable
from serving.torchserve.config import LOOPBACK, Access, Addresses
from serving.torchserve.management import KeyFile, Management
from serving.torchserve.process import TorchServe
from serving.torchserve.readiness import POLL_SECONDS, StoppedError, wait_until_ready

LOOPBACK_NAMES = (LOOPBACK, "localhost")

BYTES_PER_SECOND = 48_000 * 2 * 2 * 4 // 3
"""Of the largest encoding of a clip that is let in: 48 kHz, stereo, 16 bits, as base64 in JSON."""

MAX_REQUEST_BYTES = 150_000_000
"""Whatever a clip may last: TorchServe and its worker each hold a whole request. An hour of 16 kHz mono is 115 MB."""

AGENT_SECONDS = 1.0
"""For the step that the model agent is at, when a server stops."""


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready: its addresses, and ``models`` (machine type -> version) as they were then.

    ``key_file`` has the keys of TorchServe's token mode, where that is on.
    """

    url: str
    management_url: str
    metrics_url: str
    grpc_address: str
    models: dict[str, str]
    torchserve: TorchServe
    key_file: Path | None = None


class Health:
    """Whether requests can be answered: every model has scored a clip, and what the model agent sees since."""

    def __init__(self, torchserve: TorchServe) -> None:
        self._torchserve = torchserve
        self.scored = False
        self.agent: ModelAgent | None = None
        self.shipper: LogShipper | None = None

    def status(self) -> dict[str, Any]:
        """``{"ready": ...}``, with the model agent's own words where one follows a registry, and ``log_problem`` where
        an inference log is kept: why records only wait at present, or "".
        """
        status = self.agent.status() if self.agent else {"ready": self.scored}
        if self.shipper is not None:
            status = {**status, "log_problem": self.shipper.problem}
        return {**status, "ready": status["ready"] and self._torchserve.running}


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
                if server.key_file is not None:
                    line["key_file"] = str(server.key_file)
                print(json.dumps(line), flush=True)
                while not stop.wait(POLL_SECONDS):
                    if not server.torchserve.running:
                        raise MasdError("TorchServe ended by itself: its last words are on standard error")
        except StoppedError:
            return


@contextmanager
def running_server(
    bundles: Sequence[Path],
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
    poll_seconds: float = 10.0,
    startup_seconds: float = 120.0,
    stop: threading.Event | None = None,
) -> Iterator[RunningServer]:
    """Yield a server once each of its models has scored a clip; no process is left when the block ends.

    ``bundles`` are bundle folders, one per machine type; an archive ``<machine>.mar`` inside one is used as it is when
    it holds that very bundle. A port of 0 means any free one.

    :param grpc_port: None means 7070, or any where that is taken.
    :param host: for inference; management, metrics and gRPC stay on the loopback address.
    :param auth: "static", one token from the environment, which hosts other than loopback need; or "token",
        TorchServe's own keys, which some of its paths do not ask for.
    :param log_folder: where workers write the inference log; without it the environment's ``MASD_INFERENCE_LOG``.
    :param log_url: where that log is shipped to, as Parquet.
    :param registry: its production pointers are followed from then on, looked at every ``poll_seconds``.
    :param stop: when set, ends the wait for readiness.
    :raises MasdError: what keeps the server from becoming ready: a bundle, a port, or the words of a model's worker.
    :raises StoppedError: ``stop`` was set first.
    """
    if auth != "static" and host not in LOOPBACK_NAMES:
        raise MasdError(f"--host {host}: requests would not all be authenticated: use {LOOPBACK}, or --auth static")
    if not bundles:
        raise MasdError("nothing to serve: no bundle was given")
    token = StaticToken.from_environment() if auth == "static" else None
    check_writable(log_folder, log_url)
    store = open_store(log_url) if log_url is not None else None
    addresses = Addresses.claim(host, port, management_port, metrics_port, grpc_port)
    with ExitStack() as running:
        work = running.enter_context(tempfile.TemporaryDirectory(prefix="masd-serve-", ignore_cleanup_errors=True))
        folder = Path(work)
        models, max_bytes = _collect(bundles, folder / "models")
        shipper = LogShipper(log_folder, store) if store is not None and log_folder is not None else None
        if shipper is not None:
            running.enter_context(in_background(shipper.run, FINAL_SECONDS))
        access = Access(model_api=registry is not None, tokens=auth == "token")
        torchserve = TorchServe(folder, addresses, list(models), max_bytes, log_folder, access)
        running.callback(torchserve.stop)

        keys = KeyFile(folder / "key_file.json", addresses.management_url) if access.tokens else None
        management = Management(addresses.management_url, keys.management if keys else None)
        client = ScoringClient(addresses.url, token=keys.inference if keys else None, retries=0)
        running.callback(management.close)
        running.callback(client.close)
        health = Health(torchserve)
        health.shipper = shipper
        if token is None:
            url = running.enter_context(relaying(addresses.url, host, port))
        else:
            front = Front(health.status, token, addresses.url, addresses.metrics_url, max_bytes)
            url = running.enter_context(listening(front, host, port))

        wait_until_ready(torchserve, management, client, models, startup_seconds, stop or threading.Event())
        health.scored = True
        if registry is not None:
            agent = ModelAgent(registry, management, client, folder / "models", worker_log=torchserve)
            agent.step()
            health.agent = agent
            running.enter_context(in_background(lambda ended: agent.run(poll_seconds, ended), AGENT_SECONDS))
        yield RunningServer(
            url,
            addresses.management_url,
            addresses.metrics_url,
            addresses.grpc_address,
            models,
            torchserve,
            keys.path if keys else None,
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
        ready = folder / f"{machine}.mar"
        if is_archive_of(ready, folder):
            (store / ready.name).symlink_to(ready.resolve())
        else:
            archive(folder, store / ready.name)
        models[machine] = manifest.version
        config = folder / "config.yaml"
        settings = Settings.from_yaml(config.read_text(encoding="utf-8"), str(config))
        max_seconds = max(max_seconds, settings.serving.max_clip_seconds)
    return models, int(min(max_seconds * BYTES_PER_SECOND, MAX_REQUEST_BYTES))
