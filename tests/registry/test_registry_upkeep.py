"""Comparing, checking and pruning versions."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from fake_bundle import write_fake_bundle

from masd.cli.main import main
from masd.config import Settings
from masd.errors import MasdError
from masd.registry import verify as verifying
from masd.registry.diff import VersionDifference, diff
from masd.registry.prune import Pruned, prune
from masd.registry.registry import Registry
from masd.registry.verify import verify


@pytest.fixture(params=["folder", "s3"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry" if request.param == "folder" else request.getfixturevalue("s3_url"))


def _register(registry: Registry, tmp_path: Path, count: int) -> None:
    for number in range(count):
        registry.register(write_fake_bundle(tmp_path / f"bundle-{number}"), metrics={"hmean": number / 10})


def _hours_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "BROKEN_OFF", timedelta(0))
    monkeypatch.setattr(verifying, "LEASE", timedelta(0))


def test_diff_names_what_differs(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    longer = Settings.load(None, ["training.stage1_steps=7", "seed=3"])
    registry.register(write_fake_bundle(tmp_path / "a"), metrics={"hmean": 0.5, "system": "fused"})
    registry.register(write_fake_bundle(tmp_path / "b", settings=longer), metrics={"hmean": 0.75, "system": "fused"})
    found = {(one.about, one.name): (one.before, one.after) for one in diff(registry, "fan", "1", "2")}
    fingerprints = [registry.manifest("fan", version).data_fingerprint for version in ("1", "2")]
    assert found == {
        ("settings", "seed"): (0, 3),
        ("settings", "training.stage1_steps"): (Settings().training.stage1_steps, 7),
        ("metrics", "hmean"): (0.5, 0.75),
        ("data", "fingerprint"): tuple(fingerprints),
    }
    assert diff(registry, "fan", "2", "2") == []
    assert main(["registry", "diff", "fan", "1", "2", "--registry", registry.url]) == 0
    assert "metrics   hmean: 0.5 -> 0.75\n" in capsys.readouterr().out
    assert main(["registry", "diff", "fan", "1", "2", "--json", "--registry", registry.url]) == 0
    rows = [VersionDifference(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    assert rows == diff(registry, "fan", "1", "2")
    with pytest.raises(MasdError, match="no version '3'"):
        diff(registry, "fan", "1", "3")


def test_prune_keeps_what_is_needed(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _register(registry, tmp_path, 8)
    for version in ("1", "2", "3", "4", "5"):
        registry.promote("fan", version, reason="next")
    registry.rollback("fan", reason="worse")  # production: 1 2 3 4 5 4
    where = ["--registry", registry.url]
    before = {item.key for item in registry.store.list()}
    assert main(["registry", "prune", "fan", "--keep", "2", "--dry-run", *where]) == 0
    assert "versions would be removed: 1, 6\n" in capsys.readouterr().out
    assert {item.key for item in registry.store.list()} == before
    assert main(["registry", "prune", "fan", "--keep", "2", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out) == {"versions": ["1", "6"], "broken_off": []}
    assert registry.versions("fan") == ["2", "3", "4", "5", "7", "8"]
    assert not [item.key for item in registry.store.list("models/fan/1/")]
    assert registry.channel("fan", "production") == "4"
    assert registry.rollback("fan", reason="much worse") == "3"
    assert [record["version"] for record in registry.audit("fan", "prune")] == ["1", "6"]
    assert verify(registry) == []
    assert prune(registry, "fan", keep=2) == Pruned([], [])
    _register(registry, tmp_path / "later", 1)
    assert registry.versions("fan")[-1] == "9"
    with pytest.raises(MasdError, match="keep 1 or more"):
        prune(registry, "fan", keep=0)
    for command in (["show", "fam"], ["prune", "fam", "--keep", "1"]):
        assert main(["registry", *command, *where]) == 1
        assert "has no machine fam (machines: fan)" in capsys.readouterr().err
    assert not list(registry.store.list("models/fam"))


def test_a_number_is_never_given_twice(registry: Registry, tmp_path: Path) -> None:
    _register(registry, tmp_path, 2)
    for item in list(registry.store.list("models/fan/2/")):
        registry.store.delete(item.key)
    _register(registry, tmp_path / "later", 1)
    assert registry.versions("fan") == ["1", "3"]


def test_the_archive_is_vouched_for_too(registry: Registry, tmp_path: Path) -> None:
    def add_archive(folder: Path, version: str) -> None:
        (folder / "fan.mar").write_bytes(b"archive")

    registry.register(write_fake_bundle(tmp_path / "b"), metrics={}, build=add_archive)
    assert (registry.fetch("fan", "1") / "fan.mar").read_bytes() == b"archive"
    assert verify(registry) == []
    registry.store.write("models/fan/1/fan.mar", b"Archive")
    assert [line for line in verify(registry) if "fan.mar: differs from what was registered" in line]
    with pytest.raises(MasdError, match=r"fan\.mar: differs from what was registered"):
        registry.promote("fan", "1", reason="x")
    registry.store.delete("models/fan/1/fan.mar")
    assert "fan.mar" in verify(registry)[0]


def test_leftovers_are_found_and_mended(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there after a kill between any two writes, made by hand."""
    _register(registry, tmp_path, 3)
    registry.promote("fan", "1", reason="first")
    content = registry.store.read("models/fan/3/config.yaml")
    registry.store.write("models/fan/4/claim-abc", b"")  # killed before the manifest
    registry.store.write("models/fan/4/config.yaml", content)
    registry.store.write("models/fan/3/claim-def", b"")  # killed after it
    with monkeypatch.context() as patch:  # killed between the record and the pointer
        write = registry.store.write
        pointer = "models/fan/channels/production.json"
        patch.setattr(registry.store, "write", lambda key, content: None if key == pointer else write(key, content))
        registry.promote("fan", "2", reason="better")
    assert registry.channel("fan", "production") == "1"
    assert registry.history("fan") == ["1"]
    assert registry.versions("fan") == ["1", "2", "3"]
    assert verify(registry) == [], "may still be at work"
    _hours_later(monkeypatch)
    claim, half, move = verify(registry)
    assert "models/fan/3: is complete, but its registration was interrupted" in claim
    assert "models/fan/4: is a leftover of a killed process, not a version; masd registry prune fan removes it" in half
    assert "fan promote to version 2" in move
    assert "production is 1; set the right version with masd registry promote" in move
    with monkeypatch.context() as patch:
        patch.setattr("masd.registry.prune.broken_off", lambda files, now: False)
        assert prune(registry, "fan", keep=3) == Pruned([], []), "nor is it touched while that may be"
    assert prune(registry, "fan", keep=3) == Pruned([], ["4"])
    registry.promote("fan", "1", reason="stays")
    assert verify(registry) == []


def test_a_pointer_to_another_manifest_is_found(registry: Registry, tmp_path: Path) -> None:
    _register(registry, tmp_path, 1)
    pointer = json.loads(registry.store.read("models/fan/channels/candidate.json"))
    pointer["manifest_sha256"] = "0" * 64
    registry.store.write("models/fan/channels/candidate.json", json.dumps(pointer).encode())
    (line,) = verify(registry)
    assert "version 1 has changed since the candidate pointer was set" in line


def test_rollback_goes_back_through_what_really_happened(registry: Registry, tmp_path: Path) -> None:
    _register(registry, tmp_path, 4)
    for version in ("1", "2", "1", "3"):
        registry.promote("fan", version, reason="x")
    assert registry.history("fan") == ["3", "1", "2", "1"]
    assert registry.rollback("fan", reason="x") == "1"
    assert registry.rollback("fan", reason="x") == "2"
    registry.promote("fan", "4", reason="x")
    assert registry.rollback("fan", reason="x") == "2"
    assert registry.rollback("fan", reason="x") == "1"
    with pytest.raises(MasdError, match="no earlier production version than 1"):
        registry.rollback("fan", reason="x")


def test_records_stay_in_order_when_clocks_disagree(registry: Registry, tmp_path: Path) -> None:
    _register(registry, tmp_path, 2)
    ahead = "models/fan/audit/29991231T235959.999999-promote-1-00000000.json"
    registry.promote("fan", "1", reason="x")
    (record,) = [item.key for item in registry.store.list("models/fan/audit/") if "promote" in item.key]
    registry.store.write(ahead, registry.store.read(record))
    registry.store.delete(record)
    registry.promote("fan", "2", reason="y")
    assert [record["version"] for record in registry.audit("fan", "promote")] == ["1", "2"]


def test_a_registry_of_masd_0_1_0_goes_on(tmp_path: Path) -> None:
    """It had no SHA256SUMS, no digest in pointers, and records named by time and event."""
    registry = Registry.open(tmp_path / "registry")
    _register(registry, tmp_path, 2)
    for version in ("1", "2"):
        registry.promote("fan", version, reason="x")
        registry.store.delete(f"models/fan/{version}/SHA256SUMS")
    for name in ("candidate", "production"):
        registry.store.write(f"models/fan/channels/{name}.json", b'{"version": "2", "time": "2026-01-01"}')
    for path in (tmp_path / "registry" / "models" / "fan" / "audit").iterdir():
        path.rename(path.with_name("-".join(path.name.split("-")[:2]) + ".json"))
    assert verify(registry) == []
    assert registry.rollback("fan", reason="x") == "1"
    _register(registry, tmp_path / "later", 1)
    assert registry.versions("fan") == ["1", "2", "3"]
    assert verify(registry) == []


def test_a_damaged_copy_in_the_cache_is_fetched_again(s3_url: str, tmp_path: Path) -> None:
    registry = Registry.open(s3_url)
    _register(registry, tmp_path, 1)
    folder = registry.fetch("fan", "1")
    before = (folder / "manifest.json").stat().st_ino
    assert registry.fetch("fan", "1") == folder
    assert (folder / "manifest.json").stat().st_ino == before, "downloaded once"
    (folder / "network.safetensors").write_bytes(b"damaged")
    registry.check("fan", "1")
    assert registry.fetch("fan", "1") == folder
    assert (folder / "network.safetensors").read_bytes() == registry.store.read("models/fan/1/network.safetensors")
    assert not [path for path in folder.parent.iterdir() if path != folder]


@pytest.mark.parametrize("change", ["deleted", "rewritten"])
def test_an_archive_changed_together_with_its_sums_is_refused(
    registry: Registry, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASD_CACHE", str(tmp_path / "cache"))

    def add_archive(folder: Path, version: str) -> None:
        (folder / "fan.mar").write_bytes(b"archive")

    for number in range(3):
        registry.register(write_fake_bundle(tmp_path / f"b{number}"), metrics={}, build=add_archive)
    registry.promote("fan", "1", reason="x")
    for version in ("1", "2", "3"):  # in production, in no pointer (only its record knows), candidate
        sums = f"models/fan/{version}/SHA256SUMS"
        lines = registry.store.read(sums).decode().splitlines()
        registry.store.write(f"models/fan/{version}/fan.mar", b"Archive")
        if change == "deleted":
            registry.store.delete(sums)
        else:
            others = [line for line in lines if not line.endswith("  fan.mar")]
            registry.store.write(sums, "".join(f"{line}\n" for line in others).encode())
        with pytest.raises(MasdError, match=r"SHA256SUMS: (is missing|differs from what was registered)"):
            registry.fetch("fan", version)
        with pytest.raises(MasdError, match=r"SHA256SUMS: (is missing|differs from what was registered)"):
            registry.promote("fan", version, reason="x")
    assert sum("SHA256SUMS" in line for line in verify(registry)) == 3


def test_a_file_that_was_never_registered_is_refused(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "registry")
    registry.register(write_fake_bundle(tmp_path / "b"), metrics={})
    registry.fetch("fan", "1")
    registry.store.write("models/fan/1/fan.mar", b"code of somebody's")
    with pytest.raises(MasdError, match=r"fan\.mar: was not there when the version was registered"):
        registry.fetch("fan", "1")


def test_what_was_registered_before_pointers_had_digests_is_read(registry: Registry, tmp_path: Path) -> None:
    _register(registry, tmp_path, 2)
    registry.promote("fan", "1", reason="x")
    for key in [item.key for part in ("channels", "audit") for item in registry.store.list(f"models/fan/{part}/")]:
        content = json.loads(registry.store.read(key))
        content.pop("sums_sha256")
        registry.store.write(key, json.dumps(content).encode())
    for version in ("1", "2"):
        registry.fetch("fan", version)
    assert verify(registry) == []
    registry.promote("fan", "2", reason="y")
    pointer = registry.pointer("fan", "production")
    assert pointer is not None and len(pointer["sums_sha256"]) == 64


def test_hidden_files_of_a_killed_writer_are_found_and_removed(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "registry")
    _register(registry, tmp_path, 1)
    left = tmp_path / "registry" / "models" / "fan" / "1" / ".network.safetensors.abc"
    left.write_bytes(b"half")
    assert verify(registry) == []  # it may be at work
    os.utime(left, (0, 0))
    (line,) = verify(registry)
    assert "1 hidden files of killed processes (.network.safetensors.abc); masd registry prune fan" in line
    prune(registry, "fan", keep=1)
    assert not left.exists() and verify(registry) == []


def test_no_text_can_forge_a_line_of_the_audit_trail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry.open(tmp_path / "registry")
    forged = "2026-01-01T00:00:00  promote  1 -> 9  boss  approved"
    monkeypatch.setenv("MASD_ACTOR", f"me\n{forged}")
    _register(registry, tmp_path, 1)
    registry.promote("fan", "1", reason=f"first\r\n{forged}\x1b[2K\u2028{forged}")
    (key,) = [item.key for item in registry.store.list("models/fan/audit/") if "promote" in item.key]
    record = json.loads(registry.store.read(key))
    assert record["actor"] == f"me {' '.join(forged.split())}"
    registry.store.write(key, json.dumps({**record, "reason": f"as of before\n{forged}"}).encode())
    assert main(["registry", "show", "fan", "--registry", registry.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and not any(line.startswith(forged[:10]) for line in lines)
    assert "\x1b" not in "".join(lines)
