"""One server with two machines and real faults: stopped and killed workers, and a version that does not load."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from raw_http import call

from masd.config import Settings
from masd.lifecycle import steps
from masd.registry.registry import Registry
from masd.registry.verify import verify
from serving.front import traffic
from serving.health import watch
from serving.server import RunningServer, running_server
from serving.torchserve.config import cores, share_of_workers

pytestmark = pytest.mark.slow

TOKEN = "a-token-for-the-tests-only"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "audio/wav"}


@pytest.fixture(scope="module")
def server(
    tiny_bundle: Path, tiny_features: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Fan and bearing serve; the pump's pointer is damaged from the start. Limits are shorter than usual."""
    folder = tmp_path_factory.mktemp("two")
    steps.train(tiny_features, ["bearing"], tiny_settings, folder / "network", device="cpu")
    steps.fit_detectors(tiny_features, "bearing", folder / "network", tiny_settings, folder / "bearing")
    registry = Registry.open(folder / "registry")
    for bundle in (tiny_bundle, folder / "bearing"):
        version = registry.register(bundle, metrics={})
        registry.promote(bundle.name, version, reason="first")
    pump = folder / "registry" / "models" / "pump"
    (pump / "1").mkdir(parents=True)
    (pump / "1" / "manifest.json").write_text("{}")
    (pump / "channels").mkdir()
    (pump / "channels" / "production.json").write_text("damaged")
    assert any("pump" in problem for problem in verify(registry))  # and notes it in the index, which servers read
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASD_TOKEN", TOKEN)
        patch.setattr(watch, "EVERY_SECONDS", 2.0)
        patch.setattr(watch, "PROBE_SECONDS", 4.0)
        patch.setattr("serving.server.PROBE_SECONDS", 4.0)
        patch.setattr(traffic, "USUAL_SECONDS", 12.0)
        with running_server(registry=registry, auth="static", poll_seconds=0.5) as running:
            yield running


def _score(server: RunningServer, machine: str, clip: bytes) -> tuple[int, dict[str, Any], float]:
    answer = call(server.url, "POST", f"/predictions/{machine}", clip, HEADERS)
    return answer.status, answer.json or {}, answer.seconds


def _wait(what: Callable[[], bool], seconds: float = 120.0) -> float:
    begin = time.monotonic()
    while not what():
        assert time.monotonic() - begin < seconds
        time.sleep(0.1)
    return time.monotonic() - begin


def _pids(server: RunningServer, machine: str) -> tuple[int, ...]:
    return next(entry.pids for entry in server.management.loaded(machine).values() if entry.default)


def test_it_serves_what_loads_and_names_what_does_not(server: RunningServer, wav: Callable[..., bytes]) -> None:
    assert server.models == {"bearing": "1", "fan": "1"}
    assert "unreadable pointer" in server.not_served["pump"]
    status = server.health.status()
    assert status["ready"], status
    for machine in server.models:
        assert _score(server, machine, wav())[0] == 200


def test_each_machine_has_workers_in_two_processes_that_it_shares(server: RunningServer) -> None:
    _wait(lambda: all(len(_pids(server, machine)) == share_of_workers(2) for machine in server.models))
    assert len(set(_pids(server, "fan"))) == share_of_workers(2)
    assert len({*_pids(server, "fan"), *_pids(server, "bearing")}) <= cores()


def test_a_stopped_worker_is_replaced_and_its_callers_are_answered_or_refused(
    server: RunningServer, wav: Callable[..., bytes]
) -> None:
    before = _pids(server, "fan")
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(_score, server, "fan", wav()) for _ in range(3)]
        answers = [answer.result() for answer in asked]
    assert {status for status, _, _ in answers} <= {200, 500, 503, 507}
    assert max(seconds for _, _, seconds in answers) < 30
    _wait(lambda: _score(server, "fan", wav())[0] == 200)
    print(f"a stopped worker was replaced {time.monotonic() - begin:.1f} s later")
    assert not set(_pids(server, "fan")) & set(before)
    assert time.monotonic() - begin < 90
    _wait(lambda: server.health.status()["ready"])


def test_a_worker_that_is_killed_comes_back(server: RunningServer, wav: Callable[..., bytes]) -> None:
    for pid in _pids(server, "bearing"):
        os.kill(pid, signal.SIGKILL)
    _wait(lambda: _score(server, "bearing", wav())[0] == 200)
    _wait(lambda: server.health.status()["ready"])


def test_last_successes_are_in_status_and_metrics(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url, headers=HEADERS, trust_env=False) as client:
        status = client.get("/status").json()
        assert {"registry", "shared workers", "fan", "bearing", "probes", "probe of fan", "probe of bearing"} == status[
            "loops"
        ].keys()
        assert all(loop["alive"] and time.time() - loop["last_success"] < 60 for loop in status["loops"].values())
        assert time.time() - status["probes"]["fan"]["last_answer"] < 60
        metrics = client.get("/metrics").text
    assert 'masd_loop_last_success_seconds{Loop="registry"} ' in metrics
    assert 'masd_probe_last_answer_seconds{ModelName="fan"} ' in metrics


def test_the_management_port_asks_for_a_key_that_only_we_can_read(server: RunningServer) -> None:
    for method, path in [("GET", "/models"), ("PUT", "/models/fan?max_worker=0"), ("DELETE", "/models/fan")]:
        assert call(server.management_url, method, path).status == 400
    assert server.key_file.stat().st_mode & 0o077 == 0
    assert server.key_file.parent.stat().st_mode & 0o077 == 0
