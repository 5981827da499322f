"""``masd serve``: TorchServe in the foreground, ready only when every model has scored a clip."""

import json
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from masd.config import Settings
from masd.errors import MasdError
from masd.lifecycle.manifest import load_manifest
from serving.archive import archive, is_archive_of
from serving.readiness import POLL_SECONDS, StoppedError, wait_until_ready
from serving.torchserve import TorchServe
from serving.torchserve_config import Addresses

LOOPBACK = ("127.0.0.1", "localhost")

BYTES_PER_SECOND = 48_000 * 2 * 2 * 4 // 3
"""Of the largest encoding of a clip that is let in: 48 kHz, stereo, 16 bits, as base64 in JSON."""

MAX_REQUEST_BYTES = 150_000_000
"""Whatever a clip may last: TorchServe and its worker each hold a whole request. An hour of 16 kHz mono is 115 MB."""


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready: its two addresses, and ``models`` (machine type -> version)."""

    url: str
    management_url: str
    grpc_address: str
    models: dict[str, str]
    torchserve: TorchServe


def serve(
    bundles: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    management_port: int = 8081,
    metrics_port: int = 8082,
    log_folder: Path | None = None,
    startup_seconds: float = 120.0,
    stop: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or ``stop``; once ready, print one JSON line on standard output.

    Arguments as for :func:`running_server`. Signals are caught only when this runs in the main thread.

    :raises MasdError: the server did not become ready, or TorchServe ended by itself.
    """
    stop = stop or threading.Event()
    with _set_by_signals(stop):
        try:
            with running_server(
                bundles,
                host=host,
                port=port,
                management_port=management_port,
                metrics_port=metrics_port,
                log_folder=log_folder,
                startup_seconds=startup_seconds,
                stop=stop,
            ) as server:
                print(json.dumps({"ready": True, "url": server.url, "models": server.models}), flush=True)
                while not stop.wait(POLL_SECONDS):
                    if not server.torchserve.running:
                        raise MasdError("TorchServe ended by itself: its last words are on standard error")
        except StoppedError:
            return


@contextmanager
def running_server(
    bundles: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    management_port: int = 0,
    metrics_port: int = 0,
    log_folder: Path | None = None,
    startup_seconds: float = 120.0,
    stop: threading.Event | None = None,
) -> Iterator[RunningServer]:
    """Yield a server once each of its models has scored a clip; no process is left when the block ends.

    ``bundles`` are bundle folders, one per machine type; an archive ``<machine>.mar`` inside one is used as it is when
    it holds that very bundle. A port of 0 means any free one. ``log_folder`` is for the inference log; without it the
    environment's ``MASD_INFERENCE_LOG`` decides. ``stop``, when set, ends the wait for readiness.

    :raises MasdError: what keeps the server from becoming ready: a bundle, a port, or the words of a model's worker.
    :raises StoppedError: ``stop`` was set first.
    """
    if host not in LOOPBACK:
        raise MasdError(f"--host {host}: requests are not authenticated, so use one of {', '.join(LOOPBACK)}")
    if not bundles:
        raise MasdError("nothing to serve: no bundle was given")
    if log_folder is not None:
        _check_writable(log_folder)
    addresses = Addresses.claim(host, port, management_port, metrics_port)
    with tempfile.TemporaryDirectory(prefix="masd-serve-", ignore_cleanup_errors=True) as work:
        folder = Path(work)
        models, max_bytes = _collect(bundles, folder / "models")
        torchserve = TorchServe(folder, addresses, list(models), max_bytes, log_folder)
        try:
            wait_until_ready(torchserve, addresses, models, startup_seconds, stop or threading.Event())
            yield RunningServer(addresses.url, addresses.management_url, addresses.grpc_address, models, torchserve)
        finally:
            torchserve.stop()


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


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MasdError(f"inference log folder {folder} cannot be written: {error.strerror}") from error


@contextmanager
def _set_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``stop`` inside the block."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
