"""One server that follows a registry, behind its token: upgrades, rollbacks, broken versions, and who gets in."""

import http.client
import json
import re
import shutil
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from exposed_metrics import alarm_metrics, named, server_metrics

from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.drift.log import read_log
from masd.files import sha256
from masd.lifecycle import steps
from masd.registry.registry import Registry
from serving.archive import archive
from serving.client import ScoringClient, ScoringError
from serving.server import RunningServer, running_server
from serving.worker.metrics import COUNTERS, GAUGES, HISTOGRAMS

pytestmark = pytest.mark.slow

TOKEN = "a-token-for-the-tests-only"
MACHINE = "fan"
DASHBOARD = Path(__file__).parents[2] / "serving" / "grafana" / "masd.json"


@dataclass
class Plant:
    """A registry with two good versions of one machine, and the server that follows it."""

    registry: Registry
    bundles: dict[str, Path]
    log: Path
    server: RunningServer = field(init=False)

    def client(self) -> ScoringClient:
        """Sends nothing twice: one failed answer is a failed answer."""
        return ScoringClient(self.server.url, token=TOKEN, retries=0)

    def status(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.get(f"{self.server.url}/status", headers=headers, trust_env=False).json()

    def wait_until(self, what: Callable[[dict[str, Any]], bool], seconds: float = 120.0) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not what(machine := self.status()["models"][MACHINE]):
            assert time.monotonic() < deadline, machine
            time.sleep(0.2)
        return machine


@pytest.fixture(scope="module")
def plant(
    tiny_bundle: Path, tiny_features: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("plant")
    other = tiny_settings.model_copy(update={"seed": 1})
    steps.train(tiny_features, [MACHINE], other, folder / "network", device="cpu")
    steps.fit_detectors(tiny_features, MACHINE, folder / "network", other, folder / "other")
    registry = Registry.open(folder / "registry")
    bundles = {registry.register(bundle, metrics={}): bundle for bundle in (tiny_bundle, folder / "other")}
    registry.promote(MACHINE, "1", reason="first")
    plant = Plant(registry, bundles, folder / "log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASD_TOKEN", TOKEN)
        patch.setattr("serving.agent.follower.FIRST_RETRY_SECONDS", 5.0)
        with running_server(
            host="0.0.0.0",
            auth="static",
            registry=registry,
            poll_seconds=0.5,
            log_folder=plant.log / "spool",
            log_url=str(plant.log),
        ) as plant.server:
            yield plant


@contextmanager
def _load(plant: Plant, clips: list[bytes]) -> Iterator[list[tuple[int, str, float]]]:
    """Three callers without a pause; yields the list of answers: number of the clip, version, score."""
    answers: list[tuple[int, str, float]] = []
    stop = threading.Event()

    def call(first: int) -> None:
        with plant.client() as client:
            number = first
            while not stop.is_set():
                answer = client.score(MACHINE, clips[number % len(clips)], request_id=f"load-{first}-{number}")
                answers.append((number % len(clips), answer["model_version"], answer["score"]))
                number += 1

    with ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(call, first) for first in range(3)]
        try:
            yield answers
        finally:
            stop.set()
        for caller in callers:
            caller.result()  # raises what the caller met


def test_upgrade_and_rollback_under_load_fail_no_request_and_give_no_wrong_score(
    plant: Plant, wav: Callable[..., bytes]
) -> None:
    clips = [wav(seconds=2.0, seed=seed) for seed in range(4)]
    expected: dict[tuple[int, str], float] = {}
    for version, bundle in plant.bundles.items():
        scorer = load_bundle(bundle).scorer
        scores = scorer.score([scorer.decode(clip) for clip in clips])
        expected |= {(number, version): score.score for number, score in enumerate(scores)}
    assert expected[0, "1"] != pytest.approx(expected[0, "2"], abs=1e-3)
    with _load(plant, clips) as answers:
        plant.registry.promote(MACHINE, "2", reason="better")
        plant.wait_until(lambda machine: machine["serving"] == "2")
        upgraded = len(answers)
        plant.registry.rollback(MACHINE, reason="worse after all")
        begin = time.monotonic()
        plant.wait_until(lambda machine: machine["serving"] == "1")
        rollback_seconds = time.monotonic() - begin
        back = len(answers)
        while len(answers) < back + 10:
            time.sleep(0.05)
    assert {version for _, version, _ in answers[:upgraded]} >= {"1"}
    assert "2" in {version for _, version, _ in answers[upgraded:back]}
    assert {version for _, version, _ in answers[-3:]} == {"1"}
    for number, version, score in answers:
        assert score == pytest.approx(expected[number, version], abs=1e-5)
    assert rollback_seconds < 10, "the version before was still loaded"


def test_a_broken_version_never_becomes_default_and_is_said_once(
    plant: Plant, tiny_bundle: Path, tmp_path: Path, wav: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    misfit = shutil.copytree(tiny_bundle, tmp_path / "misfit")  # every digest is right: only loading it tells
    (misfit / "detectors.safetensors").write_bytes((misfit / "network.safetensors").read_bytes())
    manifest = json.loads((misfit / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["detectors.safetensors"] = sha256(misfit / "detectors.safetensors")
    (misfit / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    def silent(folder: Path, version: str) -> None:
        """An archive that loads, and answers the probe with an error."""
        mar = archive(folder, folder / f"{MACHINE}.mar")
        with zipfile.ZipFile(mar) as content:
            entries = {name: content.read(name) for name in content.namelist()}
        loaded = b"        from serving.worker.batch import answer\n"
        entries["handler.py"] = entries["handler.py"].replace(loaded, b"        raise ValueError('silent')\n")
        with zipfile.ZipFile(mar, "w") as content:
            for name, entry in entries.items():
                content.writestr(name, entry)

    with _load(plant, [wav(seconds=2.0)]) as answers:
        for bundle, build, problem in [
            (misfit, None, "do not belong together"),
            (tiny_bundle, silent, "answered 503"),
        ]:
            version = plant.registry.register(bundle, metrics={}, build=build)
            plant.registry.promote(MACHINE, version, reason="not looked at")
            machine = plant.wait_until(
                lambda machine, version=version: machine["wanted"] == version and machine["problem"] is not None
            )
            assert problem in machine["problem"]
            assert "/tmp" not in machine["problem"]
            assert machine["serving"] == "1"
            assert plant.status()["ready"] is True
        tampered = plant.registry.register(tiny_bundle, metrics={})
        plant.registry.promote(MACHINE, tampered, reason="whole at that time")
        with (plant.registry.fetch(MACHINE, tampered) / "network.safetensors").open("ab") as file:
            file.write(b"\0")
        machine = plant.wait_until(lambda machine: machine["wanted"] == tampered and machine["problem"] is not None)
        assert "network.safetensors" in machine["problem"]
        metrics = httpx.get(
            f"{plant.server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
        ).text
        assert f'masd_model_behind{{ModelName="{MACHINE}",ModelVersion="1"}} 1' in metrics
        plant.registry.promote(MACHINE, "1", reason="the last good one")
        plant.wait_until(lambda machine: machine["wanted"] == "1" and machine["problem"] is None)
    assert {version for _, version, _ in answers} == {"1"}
    said = [line for line in capsys.readouterr().err.splitlines() if "is not served" in line]
    assert len(said) == len(set(said)) == 3
    assert all("version 1 is still served" in line for line in said)
    assert plant.server.management.loaded(MACHINE).keys() <= {"1", "2"}


def _doors(process: psutil.Process) -> set[tuple[str, int]]:
    return {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_nothing_but_the_front_can_be_reached_from_outside_and_it_asks_for_the_token(
    plant: Plant, wav: Callable[..., bytes]
) -> None:
    port = httpx.URL(plant.server.url).port
    inner = int(plant.server.metrics_url.rpartition(":")[2])
    servers = [process for process in psutil.Process().children(recursive=True) if "java" in process.name()]
    # other tests have servers too
    (listening,) = (doors for doors in map(_doors, servers) if inner in {number for _, number in doors})
    assert len(listening) == 5
    assert {address for address, _ in listening} == {"127.0.0.1"}
    outside = next(
        (
            address.address
            for addresses in psutil.net_if_addrs().values()
            for address in addresses
            if address.family == socket.AF_INET and not address.address.startswith("127.")
        ),
        None,
    )
    if outside is not None:
        for _, closed in listening:
            with pytest.raises(OSError), socket.create_connection((outside, closed), timeout=1):
                pass
    paths = [
        *("/", "/ping", "/status", "/metrics", "/api-description", "/invocations", "/models", "/v2", "/token"),
        *(f"/predictions/{MACHINE}", f"/predictions/{MACHINE}/1", f"/explanations/{MACHINE}", f"/models/{MACHINE}"),
        *(
            f"/models/{MACHINE}/invoke",
            f"/v1/models/{MACHINE}:predict",
            f"/v2/models/{MACHINE}/infer",
            "/READY",
            "//ready",
        ),
        *("/ready/", "/ready/../status", "/%72eady%2f", f"/{MACHINE}/predict", "/v2/health/ready"),
    ]
    wrong = [None, "", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", f"Basic {TOKEN}", "Bearer \xff"]
    methods = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD")
    for (path, method), authorization in zip(product(paths, methods), cycle(wrong), strict=False):
        assert _ask(outside or "127.0.0.1", port, method, path, authorization) == 401, (method, path, authorization)
    for authorization in wrong:
        assert _ask("127.0.0.1", port, "POST", f"/predictions/{MACHINE}", authorization) == 401
    for path in ("/models", f"/models/{MACHINE}", "/token?type=inference", "/predictions/../models", "/ping"):
        assert _ask("127.0.0.1", port, "GET", path, f"Bearer {TOKEN}") == 404
    assert _ask("127.0.0.1", port, "GET", "/ready", None) == 200
    with plant.client() as client:
        assert client.score(MACHINE, wav())["model_version"] == "1"


def test_a_body_is_not_read_before_the_token_was(plant: Plant) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(plant.server.url).port), timeout=10) as caller:
        caller.sendall(b"POST /predictions/fan HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 401 ")
    with plant.client() as client, pytest.raises(ScoringError, match="413"):
        client.score(MACHINE, bytes(160_000_000))


def test_the_token_reaches_neither_torchserve_nor_a_command_line_nor_a_file(plant: Plant) -> None:
    processes = psutil.Process().children(recursive=True)
    assert any("java" in process.name() for process in processes)
    for process in processes:
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # Java starts every worker by a helper that ends
            assert TOKEN not in str(process.environ()) + str(process.cmdline())
    files = [file for file in plant.log.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert TOKEN.encode() not in file.read_bytes(), file


def test_a_killed_worker_loses_no_record_of_an_answered_clip(plant: Plant, wav: Callable[..., bytes]) -> None:
    answered: list[str] = []
    stop = threading.Event()

    def call(first: int) -> None:
        number = 0
        with plant.client() as client:
            while not stop.is_set():
                number += 1
                try:
                    client.score(MACHINE, wav(seconds=1.0), request_id=f"kill-{first}-{number}")
                except ScoringError:
                    time.sleep(0.2)
                else:
                    answered.append(f"kill-{first}-{number}")

    with ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(call, first) for first in range(3)]
        _wait(lambda: len(answered) >= 20)
        (entry,) = (entry for entry in plant.server.management.loaded(MACHINE).values() if entry.default)
        psutil.Process(entry.pids[0]).send_signal(signal.SIGKILL)
        at_kill = len(answered)
        _wait(lambda: len(answered) >= at_kill + 20)
        stop.set()
        for caller in callers:
            caller.result()
    logged = [json.loads(line)["request_id"] for file in plant.log.rglob("*.jsonl") for line in file.open()]
    assert set(answered) <= set(logged)
    killed = [request for request in logged if (request or "").startswith("kill-")]
    assert len(killed) == len(set(killed))


def test_the_dashboard_uses_exactly_the_names_the_server_exports(
    plant: Plant, wav: Callable[..., bytes], tmp_path: Path
) -> None:
    """Beside those of ``masd alarms``."""
    with plant.client() as client:
        client.score(MACHINE, wav())
        with pytest.raises(ScoringError, match="400"):
            client.score(MACHINE, b"no audio")
    time.sleep(0.5)  # TorchServe reads what a worker counted from its output
    headers = {"Authorization": f"Bearer {TOKEN}"}
    text = httpx.get(f"{plant.server.url}/metrics", headers=headers, trust_env=False).text
    exported = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    samples = set(re.findall(r"^(\w+)\{", text, re.MULTILINE))
    expressions = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    names = {name for text in expressions for name in named(text)} - (alarm_metrics(tmp_path) - server_metrics())
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} <= exported
    assert {name for name in exported if name.startswith("masd_")} <= {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in names
    }
    assert {*COUNTERS, *HISTOGRAMS, *GAUGES} < exported
    assert samples >= names - {"masd_log_dropped_total", "Requests5XX"}
    labels = {
        name: set(re.findall(r"(\w+)=", line)) for name, line in re.findall(r"^(\w+)\{(.*)\}", text, re.MULTILINE)
    }
    assert labels["masd_clips_total"] == {"ModelVersion", "Decision", "ModelName", "Level", "Hostname"}
    assert 'masd_rejects_total{Reason="undecodable",ModelName="fan"' in text
    assert re.search(r'masd_stage_seconds_count\{Stage="decode",ModelName="fan"', text)


def test_the_log_is_what_drift_reads(plant: Plant) -> None:
    """Last, as everything above has written to it."""
    rows = read_log(plant.log, MACHINE, "1", ["score", "level_dbfs"])
    assert len(rows.rows) > 50
    assert rows.unreadable == 0


def _wait(what: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ask(host: str, port: int | None, method: str, path: str, authorization: str | None) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    headers = {} if authorization is None else {"Authorization": authorization}
    try:
        connection.request(method, path, b"RIFF" if method in ("POST", "PUT") else None, headers)
        return connection.getresponse().status
    finally:
        connection.close()
