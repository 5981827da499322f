"""``masd agent`` beside a TorchServe it did not start: from nothing to a version in production, and on after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from masd.registry.registry import Registry
from serving.client import ScoringClient
from serving.torchserve.config import KEY_FILE, Access, Addresses
from serving.torchserve.management import KeyFile
from serving.torchserve.process import TorchServe

pytestmark = pytest.mark.slow


@contextmanager
def _torchserve(folder: Path) -> Iterator[Addresses]:
    """One with an empty model store."""
    (folder / "models").mkdir(parents=True)
    addresses = Addresses.claim("127.0.0.1", 0, 0, 0)
    server = TorchServe(folder, addresses, [], 10_000_000, None, Access(model_api=True))
    try:
        yield addresses
    finally:
        server.stop()


@contextmanager
def _agent(registry: Path, store: Path, addresses: Addresses) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    probe = Addresses.claim("127.0.0.1", 0, 0, 0).port
    options = {
        "registry": registry,
        "model-store": store,
        "management-url": addresses.management_url,
        "inference-url": addresses.url,
        "key-file": store.parent / KEY_FILE,
        "probe-port": probe,
        "poll": 0.5,
        "log": store.parent / "log",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", "masd.cli.main", "agent", *arguments], env={**os.environ})
    try:
        yield process, f"http://127.0.0.1:{probe}"
    finally:
        process.kill()
        process.wait()


def _ready(probe: str) -> int:
    try:
        return httpx.get(f"{probe}/ready", trust_env=False).status_code
    except httpx.TransportError:
        return 0


def _wait(what: Callable[[], bool], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_brings_an_empty_server_to_production_and_goes_on_after_it_was_killed(
    tiny_bundle: Path, tmp_path: Path, wav: Callable[..., bytes]
) -> None:
    registry = Registry.open(tmp_path / "registry")
    store = tmp_path / "server" / "models"
    with _torchserve(tmp_path / "server") as addresses:
        key = KeyFile(tmp_path / "server" / KEY_FILE, addresses.management_url).inference
        with _agent(tmp_path / "registry", store, addresses) as (process, probe):
            _wait(lambda: _ready(probe) == 503)  # nothing is in production
            machine = "fan"
            registry.promote(machine, registry.register(tiny_bundle, metrics={}), reason="first")
            _wait(lambda: _ready(probe) == 200)
            with ScoringClient(addresses.url, token=key) as client:
                assert client.score(machine, wav())["model_version"] == "1"
            for path in ("/status", "/metrics", f"/predictions/{machine}", "/"):
                assert httpx.get(probe + path, trust_env=False).status_code == 401
            process.send_signal(signal.SIGKILL)
        registry.promote(machine, registry.register(tiny_bundle, metrics={}), reason="second")
        with (
            _agent(tmp_path / "registry", store, addresses) as (process, probe),
            ScoringClient(addresses.url, token=key) as client,
        ):
            _wait(lambda: client.score(machine, wav())["model_version"] == "2")
            _wait(lambda: _ready(probe) == 200)
            begin = time.monotonic()
            process.terminate()
            assert process.wait(timeout=10) == 0
            assert time.monotonic() - begin < 10
            assert client.score(machine, wav())["model_version"] == "2"
