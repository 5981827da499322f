"""The agent's decisions, step by step, on a TorchServe that is played; test_agent has a real one."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fake_bundle import write_fake_bundle
from s3_gateway import S3Gateway

import serving.agent
from masd.registry.registry import Registry
from serving.agent import ModelAgent
from serving.client import ScoringError
from serving.torchserve.management import Loaded, ManagementError


class Played:
    """Management and inference of a TorchServe: versions load unless they are ``broken``."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, bool]] = {}
        self.broken: set[tuple[str, str]] = set()
        self.away = False
        self.calls: list[str] = []

    def loaded(self, machine: str) -> dict[str, Loaded]:
        if self.away:
            raise ManagementError("no answer from TorchServe")
        known = self.versions.get(machine, {})
        return {version: Loaded(version, default, True) for version, default in known.items()}

    def register(self, file: str) -> None:
        machine, _, version = file.removesuffix(".mar").rpartition("-")
        self.calls.append(f"register {machine} {version}")
        self.versions.setdefault(machine, {})[version] = not self.versions.get(machine)

    def set_default(self, machine: str, version: str) -> None:
        self.versions[machine] = {known: known == version for known in self.versions[machine]}

    def unregister(self, machine: str, version: str) -> None:
        self.calls.append(f"unregister {machine} {version}")
        self.versions[machine].pop(version, None)

    def score(self, machine: str, clip: bytes, request_id: str, version: str) -> dict[str, Any]:
        if (machine, version) in self.broken:
            raise ScoringError("answered 503", 503)
        return {"model_version": version}


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry")


@pytest.fixture
def agent(registry: Registry, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelAgent:
    monkeypatch.setattr(serving.agent, "archive", lambda bundle, out: out)
    return ModelAgent(registry, played, played, tmp_path / "store")


def _promoted(registry: Registry, tmp_path: Path, machine: str = "fan") -> str:
    version = registry.register(write_fake_bundle(tmp_path / uuid4().hex, machine), metrics={})
    registry.promote(machine, version, reason="test")
    return version


def _serving(agent: ModelAgent) -> dict[str, str | None]:
    return {name: machine["serving"] for name, machine in agent.status()["models"].items()}


def test_the_version_before_stays_loaded_and_older_ones_do_not(
    agent: ModelAgent, registry: Registry, played: Played, tmp_path: Path
) -> None:
    assert not agent.ready
    for version in ("1", "2", "3"):
        assert _promoted(registry, tmp_path) == version
        agent.step()
        assert (_serving(agent), agent.ready) == ({"fan": version}, True)
    assert played.versions["fan"] == {"2": False, "3": True}
    registry.rollback("fan", reason="test")
    agent.step()
    assert played.versions["fan"] == {"2": True, "3": False}
    assert [call for call in played.calls if call.startswith("register")] == [f"register fan {n}" for n in (1, 2, 3)]


def test_a_broken_version_is_tried_again_later_and_later_and_said_once(
    agent: ModelAgent,
    registry: Registry,
    played: Played,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [1000.0]
    monkeypatch.setattr("serving.agent.time.monotonic", lambda: now[0])
    _promoted(registry, tmp_path)
    agent.step()
    played.broken = {("fan", "2")}
    _promoted(registry, tmp_path)
    tried = []
    for _ in range(60 * 16):
        before = played.calls.count("register fan 2")
        agent.step()
        if played.calls.count("register fan 2") > before:
            tried.append(now[0] - 1000.0)
        now[0] += 1.0
    assert tried == [0.0, 60.0, 180.0, 420.0, 900.0]
    assert played.versions["fan"] == {"1": True}
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "is not served" in line]
    assert said.endswith("fan: version 2 is not served: answered 503; version 1 goes on serving")
    _promoted(registry, tmp_path)
    agent.step()
    assert _serving(agent) == {"fan": "3"}, "a pointer that moves is followed at once"


def test_what_is_new_and_broken_takes_nobody_out_of_service_but_keeps_a_new_server_out(
    agent: ModelAgent, registry: Registry, played: Played, tmp_path: Path
) -> None:
    _promoted(registry, tmp_path)
    agent.step()
    played.broken = {("pump", "1")}
    _promoted(registry, tmp_path, "pump")
    agent.step()
    assert (_serving(agent), agent.ready) == ({"fan": "1", "pump": None}, True)
    newcomer = ModelAgent(registry, played, played, tmp_path / "store")
    newcomer.step()
    assert not newcomer.ready


def test_a_registry_that_is_away_or_a_pointer_that_vanishes_changes_nothing(
    agent: ModelAgent,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _promoted(registry, tmp_path)
    agent.step()

    def away() -> list[str]:
        raise OSError("the bucket cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "machines", away)
        for _ in range(3):
            agent.step()
        assert (_serving(agent), agent.ready) == ({"fan": "1"}, True)
    assert capsys.readouterr().err.count("the bucket cannot be reached; what is loaded goes on serving") == 1
    (tmp_path / "registry" / "models" / "fan" / "channels" / "production.json").unlink()
    agent.step()
    assert (_serving(agent), agent.ready) == ({"fan": "1"}, True)


def test_a_server_that_starts_again_empty_is_brought_back_at_once(
    agent: ModelAgent, registry: Registry, played: Played, tmp_path: Path
) -> None:
    _promoted(registry, tmp_path)
    agent.step()
    played.away = True
    agent.step()
    assert agent.ready, "it may be late once"
    for _ in range(50):
        agent.step()
    assert not agent.ready
    played.away, played.versions = False, {}
    agent.step()
    assert (_serving(agent), agent.ready) == ({"fan": "1"}, True)


@pytest.mark.slow
def test_follows_a_registry_in_a_bucket_which_may_be_away(
    s3_url: str, s3_gateway: S3Gateway, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.agent, "archive", lambda bundle, out: out)
    monkeypatch.setattr("masd.storage.s3.RETRIES", 0)
    registry = Registry.open(s3_url)
    agent = ModelAgent(registry, played, played, tmp_path / "store")
    _promoted(registry, tmp_path)
    agent.step()
    assert (_serving(agent), agent.ready) == ({"fan": "1"}, True)
    s3_gateway.kill()
    try:
        agent.step()
        assert (_serving(agent), agent.ready) == ({"fan": "1"}, True)
        assert agent.status()["registry"] != "read"
    finally:
        s3_gateway.start()
    _promoted(registry, tmp_path)
    agent.step()
    assert (_serving(agent), agent.status()["registry"]) == ({"fan": "2"}, "read")
