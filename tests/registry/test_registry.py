"""The registry: versions never change, pointers move, every decision is on record."""

import json
import threading
from pathlib import Path

import pytest

from masd.bundle.manifest import FILES, load_manifest
from masd.errors import MasdError
from masd.registry.audit import acting_as, current_actor
from masd.registry.registry import Registry
from masd.registry.verify import verify


@pytest.fixture(params=["folder", "s3"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry" if request.param == "folder" else request.getfixturevalue("s3_url"))


def test_versions_count_up_and_carry_their_number(registry: Registry, tiny_bundle: Path) -> None:
    versions = [registry.register(tiny_bundle, metrics={"hmean": n / 10}) for n in range(3)]
    assert versions == ["1", "2", "3"] == registry.versions("fan")
    assert registry.machines() == ["fan"]
    assert registry.channel("fan", "candidate") == "3"
    assert registry.channel("fan", "production") is None
    manifest = load_manifest(registry.fetch("fan", "2"))
    assert (manifest.version, manifest.metrics) == ("2", {"hmean": 0.1})
    assert load_manifest(tiny_bundle).version == "0", "the registered copy is stamped, not the original"


def test_versions_are_ordered_as_numbers(registry: Registry, tiny_bundle: Path) -> None:
    for _ in range(10):
        registry.register(tiny_bundle, metrics={})
    assert registry.versions("fan")[-1] == "10"
    assert registry.register(tiny_bundle, metrics={}) == "11"


def test_promotion_and_rollback_move_the_pointer_and_are_recorded(
    registry: Registry, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASD_ACTOR", "ci-job-17")
    for _ in range(3):
        registry.register(tiny_bundle, metrics={}, reason="nightly")
    registry.promote("fan", "1", reason="first")
    registry.promote("fan", "3", reason="better", metrics={"hmean": 0.8})
    registry.refuse("fan", "2", reason="worse than the baseline")
    assert registry.channel("fan", "production") == "3"
    assert registry.rollback("fan", reason="false alarms") == "1"
    assert registry.channel("fan", "production") == "1"
    moves = [(r["event"], r["previous"], r["version"], r["reason"]) for r in registry.audit("fan")][3:]
    assert moves == [
        ("promote", None, "1", "first"),
        ("promote", "1", "3", "better"),
        ("refuse", "3", "2", "worse than the baseline"),
        ("rollback", "3", "1", "false alarms"),
    ]
    assert {record["actor"] for record in registry.audit("fan")} == {"ci-job-17"}
    assert all(record["time"].endswith("+00:00") for record in registry.audit("fan"))
    with pytest.raises(MasdError, match="no earlier production version"):
        registry.rollback("fan", reason="again")


def _objects(registry: Registry, prefix: str = "") -> dict[str, bytes]:
    return {item.key: registry.store.read(item.key) for item in registry.store.list(prefix)}


def test_files_of_a_version_never_change(registry: Registry, tiny_bundle: Path) -> None:
    registry.register(tiny_bundle, metrics={})
    before = _objects(registry, "models/fan/1/")
    assert {key.rpartition("/")[2] for key in before} == {"manifest.json", "SHA256SUMS", *FILES}
    registry.register(tiny_bundle, metrics={"hmean": 1.0})
    registry.promote("fan", "2", reason="x")
    registry.promote("fan", "1", reason="y")
    assert _objects(registry, "models/fan/1/") == before


def test_two_that_register_at_once_get_two_versions(registry: Registry, tiny_bundle: Path) -> None:
    barrier, versions = threading.Barrier(4), list[str]()

    def register() -> None:
        barrier.wait()
        versions.append(registry.register(tiny_bundle, metrics={}))

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions, key=int) == registry.versions("fan")
    assert len(set(versions)) == 4
    assert verify(registry) == []


def test_a_build_that_fails_leaves_no_version_and_no_litter(registry: Registry, tiny_bundle: Path) -> None:
    def fail(folder: Path, version: str) -> None:
        (folder / "half.mar").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        registry.register(tiny_bundle, metrics={}, build=fail)
    assert registry.versions("fan") == []
    assert _objects(registry) == {}


def test_a_tampered_version_is_not_promoted_and_verify_names_it(registry: Registry, tiny_bundle: Path) -> None:
    registry.register(tiny_bundle, metrics={})
    assert verify(registry) == []
    registry.store.write("models/fan/1/config.yaml", b"seed: 1\n")
    with pytest.raises(MasdError, match=r"config\.yaml"):
        registry.promote("fan", "1", reason="x")
    assert registry.channel("fan", "production") is None
    assert len(verify(registry)) == 1


def test_a_version_deleted_under_a_pointer_is_found(registry: Registry, tiny_bundle: Path) -> None:
    for _ in range(2):
        registry.register(tiny_bundle, metrics={})
    registry.promote("fan", "1", reason="x")
    for key in _objects(registry, "models/fan/1/"):
        registry.store.delete(key)
    assert any("production" in problem and "'1'" in problem for problem in verify(registry))


@pytest.mark.parametrize("version", ["9", "..", "../../x", "channels", "", "1/../1"])
def test_versions_that_are_not_there_are_refused_with_those_that_are(
    registry: Registry, tiny_bundle: Path, version: str
) -> None:
    registry.register(tiny_bundle, metrics={})
    with pytest.raises(MasdError, match=r"versions: 1"):
        registry.fetch("fan", version)


@pytest.mark.parametrize("machine", ["../fan", "..", "a/b", ""])
def test_machine_names_cannot_leave_the_registry(registry: Registry, machine: str) -> None:
    with pytest.raises(MasdError, match="machine type"):
        registry.versions(machine)


def test_an_unreadable_pointer_says_what_to_do_and_that_helps(registry: Registry, tiny_bundle: Path) -> None:
    registry.register(tiny_bundle, metrics={})
    registry.register(tiny_bundle, metrics={})
    registry.promote("fan", "1", reason="x")
    for name in ("candidate", "production"):
        pointer = f"models/fan/channels/{name}.json"
        assert json.loads(registry.store.read(pointer))["version"] == {"candidate": "2", "production": "1"}[name]
        registry.store.write(pointer, b"{")
    with pytest.raises(MasdError, match="registering a version replaces it"):
        registry.channel("fan", "candidate")
    with pytest.raises(MasdError, match="masd registry promote replaces it"):
        registry.channel("fan", "production")
    assert len(verify(registry)) == 2
    registry.promote("fan", "2", reason="y")
    assert registry.history("fan") == ["2", "1"]
    assert registry.register(tiny_bundle, metrics={}) == "3"
    assert verify(registry) == []


def test_a_process_can_act_for_several_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASD_ACTOR", "service")
    with acting_as("anna"):
        assert current_actor() == "anna"
    assert current_actor() == "service"
