"""Registries that masd 0.1.0 has made with its own code are listed, shown, served, gated against and rolled back."""

import json
from pathlib import Path

import pandas as pd
import pytest
from old_registry import unpacked

from masd.bundle.bundle import load_bundle
from masd.bundle.manifest import OtherSchemaError
from masd.cli.main import main
from masd.config import Settings
from masd.detection.controls import CONTROLS
from masd.errors import MasdError
from masd.lifecycle import steps
from masd.lifecycle.monitoring import drifted_machines
from masd.registry.registry import Registry
from masd.registry.verify import verify
from serving.archive import archive, is_archive_of


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Bundle schema 2, which is not read any more."""
    return unpacked(2, tmp_path)


@pytest.fixture
def readable(tmp_path: Path) -> Path:
    """Bundle schema 4, the oldest that is read."""
    return unpacked(4, tmp_path)


def test_an_old_registry_is_listed_shown_and_compared(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--registry", str(old)]
    assert main(["registry", "list", *where]) == 0
    assert capsys.readouterr().out == "fan: versions 1, 2; production 2, candidate 2\n"
    assert main(["registry", "show", "fan", *where]) == 0
    shown = capsys.readouterr().out
    assert "code 0.1.0  hmean 0.600\n  bundle schema 2 is older than this masd reads (4); train it again" in shown
    assert "promote  1 -> 2  somebody  better" in shown
    assert main(["registry", "show", "fan", "--json", *where]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["version"], first["bundle_schema"], first["readable"]) == ("1", 2, False)
    assert main(["registry", "diff", "fan", "1", "2", *where]) == 0
    assert capsys.readouterr().out == "metrics   hmean: 0.5 -> 0.6\n"
    assert main(["registry", "verify", *where]) == 0
    assert "2 versions of 1 machine checked, 0 problems" in capsys.readouterr().out


def test_an_old_version_is_served_by_its_archive_and_rolled_back(old: Path) -> None:
    registry = Registry.open(old)
    assert registry.look().production == {"fan": "2"}
    folder = registry.fetch("fan", "2")
    assert is_archive_of(folder / "fan.mar", folder)  # what the agent loads: it carries its own code
    with pytest.raises(OtherSchemaError, match="bundle schema 2 is older") as raised:
        load_bundle(folder)
    assert raised.value.schema == 2
    assert registry.rollback("fan", reason="worse") == "1"
    assert registry.look().production == {"fan": "1"}
    registry.promote("fan", "2", reason="better after all")
    assert registry.history("fan") == ["2", "1"]
    assert verify(registry) == []
    (folder / "network.safetensors").write_bytes(b"damaged")
    assert "network.safetensors: differs from the manifest" in verify(registry)[0]


def test_an_old_registry_that_was_copied_to_a_bucket_is_as_good(old: Path, s3_url: str, tiny_bundle: Path) -> None:
    """Nothing vouches for its archives there either, but for what its manifests say of the other files."""
    registry = Registry.open(s3_url)
    for file in sorted(path for path in old.rglob("*") if path.is_file()):
        registry.store.write(file.relative_to(old).as_posix(), file.read_bytes())
    assert verify(registry) == []
    folder = registry.fetch("fan", "2")
    assert is_archive_of(folder / "fan.mar", folder) and registry.fetch("fan", "2") == folder
    assert registry.rollback("fan", reason="worse") == "1"
    registry.store.write("models/fan/2/network.safetensors", b"damaged")
    with pytest.raises(MasdError, match=r"network\.safetensors"):
        registry.fetch("fan", "2")
    version = registry.register(tiny_bundle, metrics={})
    registry.store.delete(f"models/fan/{version}/SHA256SUMS")
    with pytest.raises(MasdError, match="SHA256SUMS: is missing"):
        registry.fetch("fan", version)


def test_an_old_version_does_not_stop_the_watch_over_others(
    old: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "fan-1.jsonl").write_text("{}\n")
    assert drifted_machines(["fan", "pump"], str(tmp_path / "log"), str(old), tmp_path / "out") == []
    said = [record.getMessage() for record in caplog.records]
    assert "bundle schema 2 is older" in said[0] and said[1].startswith("pump has no version in production")


def test_a_version_of_the_oldest_schema_is_loaded(readable: Path, tmp_path: Path) -> None:
    registry = Registry.open(readable)
    assert verify(registry) == []
    folder = registry.fetch("fan", "2")
    loaded = load_bundle(folder)
    assert (loaded.scorer.machine_type, loaded.manifest.version, loaded.manifest.schema_version) == ("fan", "2", 4)
    assert is_archive_of(archive(folder, tmp_path / "fan.mar"), folder)
    assert registry.rollback("fan", reason="worse") == "1"
    assert registry.pointer("fan", "production") == {**(registry.pointer("fan", "production") or {}), "version": "1"}


def _evaluation() -> pd.DataFrame:
    """Scores of a good candidate and of controls that are as good."""
    clips = [
        {"name": f"{condition}_{domain}_{number}", "section": "00", "domain": domain, "condition": condition}
        for condition in ("normal", "anomaly")
        for domain in ("source", "target")
        for number in range(20)
    ]
    scores = pd.DataFrame(clips)
    good = scores["condition"].eq("anomaly").astype(float) + scores.index * 1e-3
    return scores.assign(**dict.fromkeys(("fused", *CONTROLS), good))


def test_the_gate_finds_no_champion_in_an_old_version(
    old: Path, tiny_bundle: Path, tiny_features: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """What stands in production decides nothing, is said to be none to compare with, and is replaced."""
    _evaluation().to_parquet(tmp_path / "scores.parquet")
    measured = {"threshold": 0.5}
    metrics = {"machine_type": "fan", "systems": {"fused": measured}, "controls": dict.fromkeys(CONTROLS, measured)}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    settings = Settings.model_validate({"gate": {"bootstrap_samples": 50}})
    verdict = steps.gate(
        tmp_path, tiny_features, str(old), settings, tiny_data, tmp_path / "v.json", tmp_path / "p.html"
    )
    assert (verdict.decision, verdict.champion_version, verdict.difference) == ("promote", "2", None)
    assert "champion" not in {check.kind for check in verdict.checks}
    assert (
        "it was not compared with version 2 in production, whose bundle schema 2 this masd does not read"
        in verdict.sentence
    )
    assert json.loads((tmp_path / "v.json").read_text())["champion_schema"] == 2
    assert "it was not compared with version 2 in production" in (tmp_path / "p.html").read_text()

    registry = Registry.open(old)
    version = registry.register(tiny_bundle, metrics={})
    registry.promote("fan", version, reason=verdict.sentence)
    assert registry.history("fan") == ["3", "2", "1"]
    assert registry.rollback("fan", reason="worse") == "2"
