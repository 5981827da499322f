"""The agent's decisions, step by step, on a TorchServe that is played; test_agent has a real one."""

import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from fake_bundle import write_fake_bundle
from played_torchserve import Played
from s3_gateway import S3Gateway

import serving.agent.follower
from masd.registry.registry import Look, Registry
from masd.registry.verify import verify
from serving.agent.follower import Plant
from serving.agent.model_agent import ModelAgent
from serving.background import Loops


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry")


@pytest.fixture
def agent(registry: Registry, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelAgent:
    monkeypatch.setattr(serving.agent.follower, "deploy", lambda bundle, out, shared: shared)
    return _agent(registry, played, tmp_path)


def _agent(registry: Registry, played: Played, tmp_path: Path) -> ModelAgent:
    return ModelAgent(Plant(registry, played, played, tmp_path / "store"), Loops())


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
    monkeypatch.setattr(serving.agent.follower.time, "monotonic", lambda: now[0])
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
    assert said.endswith("fan: version 2 is not served: answered 503; version 1 is still served")
    _promoted(registry, tmp_path)
    agent.step()
    assert _serving(agent) == {"fan": "3"}, "a pointer that moves is followed at once"


def test_what_is_new_and_broken_takes_nobody_out_of_service_and_is_named_by_a_new_server(
    agent: ModelAgent, registry: Registry, played: Played, tmp_path: Path
) -> None:
    _promoted(registry, tmp_path)
    agent.step()
    played.broken = {("pump", "1")}
    _promoted(registry, tmp_path, "pump")
    agent.step()
    assert (_serving(agent), agent.ready) == ({"fan": "1", "pump": None}, True)
    newcomer = _agent(registry, played, tmp_path)
    newcomer.step()
    assert (newcomer.settled, newcomer.ready, newcomer.serving) == (True, True, {"fan": "1"})
    assert newcomer.problems == {"pump": "answered 503"}


def test_a_registry_that_is_away_or_a_pointer_that_vanishes_changes_nothing(
    agent: ModelAgent,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _promoted(registry, tmp_path)
    agent.step()

    def away() -> Look:
        raise OSError("the bucket cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "look", away)
        for _ in range(3):
            agent.step()
        assert (_serving(agent), agent.ready) == ({"fan": "1"}, True)
    assert capsys.readouterr().err.count("the bucket cannot be reached; the loaded versions are still served") == 1
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


def test_a_damaged_pointer_and_a_foreign_folder_keep_nobody_waiting(
    agent: ModelAgent, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for machine in ("fan", "pump", "saw"):
        _promoted(registry, tmp_path, machine)
    models = tmp_path / "registry" / "models"
    (models / "pump" / "channels" / "production.json").write_bytes(b"\xff not JSON")
    (models / "no machine!" / "1").mkdir(parents=True)
    (models / "no machine!" / "1" / "manifest.json").write_text("{}")
    problems = verify(registry)  # which notes them in the index that agents read
    assert any("pump" in problem for problem in problems) and any("no machine!" in problem for problem in problems)
    for _ in range(3):
        agent.step()
    assert (_serving(agent), agent.ready) == ({"fan": "1", "saw": "1", "pump": None}, True)
    assert agent.problems.keys() == {"pump"}
    assert capsys.readouterr().err.count("pump: ") == 1
    registry.promote("pump", "1", reason="mended")
    agent.step()
    assert agent.serving["pump"] == "1" and not agent.problems


def test_whatever_one_machine_raises_is_its_own(
    agent: ModelAgent, registry: Registry, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for machine in ("fan", "pump"):
        _promoted(registry, tmp_path, machine)
    fetch = registry.fetch

    def failing(machine: str, version: str) -> Path:
        if machine == "fan":
            raise SyntaxError("an XML parser's")
        return fetch(machine, version)

    monkeypatch.setattr(registry, "fetch", failing)
    agent.step()
    assert (agent.serving, agent.problems) == ({"pump": "1"}, {"fan": "SyntaxError: an XML parser's"})


def test_a_version_that_hangs_keeps_no_other_machine_and_no_way_back_waiting(
    registry: Registry, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.agent.follower, "deploy", lambda bundle, out, shared: shared)
    loops = Loops()
    agent = ModelAgent(Plant(registry, played, played, tmp_path / "store"), loops, seconds=0.1)
    for machine in ("fan", "pump"):
        _promoted(registry, tmp_path, machine)
    try:
        loops.start(agent.pointers)
        agent.begin()
        _wait(lambda: agent.serving == {"fan": "1", "pump": "1"})
        played.hanging = {("fan", "2")}
        _promoted(registry, tmp_path)
        _wait(lambda: "register fan 2" in played.calls)
        begin = time.monotonic()
        _promoted(registry, tmp_path, "pump")
        _wait(lambda: agent.serving == {"fan": "1", "pump": "2"})
        registry.rollback("pump", reason="test")
        _wait(lambda: agent.serving == {"fan": "1", "pump": "1"})
        registry.rollback("fan", reason="test")
        _wait(lambda: agent.status()["models"]["fan"] == {"wanted": "1", "serving": "1", "problem": None})
        _wait(lambda: "unregister fan 2" in played.calls)
        assert time.monotonic() - begin < 10, "and not the 180 s that a version has to load"
        assert loops.alive and all(loop["problem"] == "" for loop in loops.status().values())
    finally:
        agent.pointers.stop(1.0)
        agent.stop()


def test_workers_are_divided_again_when_a_machine_comes_and_what_only_waits_has_one(
    registry: Registry, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.agent.follower, "deploy", lambda bundle, out, shared: shared)
    plant = Plant(registry, played, played, tmp_path / "store")
    agent = ModelAgent(plant, Loops())
    plant.share = lambda shared: max(1, 6 // len(agent.machines))
    _promoted(registry, tmp_path)
    agent.step()
    assert played.workers == {("fan", "1"): 6}
    _promoted(registry, tmp_path)
    for machine in ("pump", "saw"):
        _promoted(registry, tmp_path, machine)
    for _ in range(2):
        agent.step()
    assert played.workers == {("fan", "1"): 1, ("fan", "2"): 2, ("pump", "1"): 2, ("saw", "1"): 2}


def _wait(what: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_follows_a_registry_in_a_bucket_which_may_be_away(
    s3_url: str, s3_gateway: S3Gateway, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.agent.follower, "deploy", lambda bundle, out, shared: shared)
    monkeypatch.setattr("masd.storage.s3.RETRIES", 0)
    registry = Registry.open(s3_url)
    agent = _agent(registry, played, tmp_path)
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
