"""Packaging: what the registry holds after a verdict, and after a retry."""

import json
import shutil
from pathlib import Path

import pytest

from masd.bundle.manifest import load_manifest
from masd.cli.main import main
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.registry.verify import verify
from serving.archive import is_archive_of
from serving.package import COMPARISON, package

VALUES = {"auc_source": 0.9, "auc_target": 0.8, "pauc": 0.7, "hmean": 0.79}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    content = {"machine_type": "fan", "systems": {"knn-feature": VALUES}}
    (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _verdict(tmp_path: Path, *, passed: bool, machine: str = "fan", decision: str = "") -> Path:
    sentence = f"{machine} {'passes' if passed else 'is refused'}."
    content = {"machine_type": machine, "passed": passed, "sentence": sentence, "system": "knn-feature"}
    content["reason"] = "it is as good as its references"
    content["decision"] = decision or ("promote" if passed else "refuse")
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_passed_is_in_production_with_its_archive(tiny_bundle: Path, evaluation: Path, tmp_path: Path) -> None:
    registry, page = tmp_path / "registry", tmp_path / "page.html"
    page.write_text("side by side")
    verdict = _verdict(tmp_path, passed=True)
    version = package(tiny_bundle, evaluation, verdict, str(registry), run="run 7", comparison=page)

    models = Registry.open(registry)
    assert version == "1"
    assert models.channel("fan", "production") == models.channel("fan", "candidate") == "1"
    folder = models.fetch("fan", "1")
    assert is_archive_of(folder / "fan.mar", folder)
    assert (folder / COMPARISON).read_text() == "side by side"
    assert COMPARISON in (folder / "SHA256SUMS").read_text()
    assert load_manifest(folder).metrics == {"system": "knn-feature", **VALUES}
    records = models.audit("fan")
    assert [record["event"] for record in records] == ["register", "promote"]
    assert records[-1]["reason"] == "fan passes."
    for record in records:
        by = (record["run"], record["decision"], record["decision_reason"])
        assert by == ("run 7", "promote", "it is as good as its references")


def test_refused_stays_a_candidate_and_production_stays(tiny_bundle: Path, evaluation: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    package(tiny_bundle, evaluation, _verdict(tmp_path, passed=True), str(registry), run="run 7")
    manifest = tiny_bundle / "manifest.json"
    later = shutil.copytree(tiny_bundle, tmp_path / "later")
    content = json.loads(manifest.read_text(encoding="utf-8"))
    (later / "manifest.json").write_text(json.dumps({**content, "created": "2100-01-01T00:00:00+00:00"}))

    assert package(later, evaluation, _verdict(tmp_path, passed=False), str(registry), run="run 8") == "2"

    models = Registry.open(registry)
    assert models.channel("fan", "production") == "1"
    assert models.channel("fan", "candidate") == "2"
    assert is_archive_of(models.fetch("fan", "2") / "fan.mar", models.fetch("fan", "2"))
    record = models.audit("fan")[-1]
    assert (record["event"], record["run"], record["decision"]) == ("refuse", "run 8", "refuse")
    assert record["reason"] == "fan is refused."
    assert verify(models) == []


def test_what_awaits_approval_stays_a_candidate_until_a_person_promotes_it(
    tiny_bundle: Path, evaluation: Path, tmp_path: Path
) -> None:
    registry, verdict = str(tmp_path / "registry"), _verdict(tmp_path, passed=True, decision="ask")
    assert package(tiny_bundle, evaluation, verdict, registry, run="run 9") == "1"

    models = Registry.open(registry)
    assert models.channel("fan", "production") is None
    assert models.channel("fan", "candidate") == "1"
    record = models.audit("fan")[-1]
    assert (record["event"], record["version"], record["previous"]) == ("ask", "1", None)
    assert record["run"] == "run 9" and record["decision"] == "ask" and record["metrics"]["hmean"] == VALUES["hmean"]

    assert main(["registry", "promote", "fan", "1", "--registry", registry, "--reason", "heard it, agreed"]) == 0
    assert models.channel("fan", "production") == "1"
    assert [record["event"] for record in models.audit("fan")] == ["register", "ask", "promote"]
    assert verify(models) == []


def test_a_retried_task_makes_no_second_version(tiny_bundle: Path, evaluation: Path, tmp_path: Path) -> None:
    registry, verdict = tmp_path / "registry", _verdict(tmp_path, passed=True)
    for _ in range(2):
        assert package(tiny_bundle, evaluation, verdict, str(registry), run="run 7") == "1"
    assert [record["event"] for record in Registry.open(registry).audit("fan")] == ["register", "promote"]


@pytest.mark.parametrize("decision", ["promote", "ask"])
def test_a_bundle_that_a_cache_has_answered_stays_one_version_and_every_run_has_its_record(
    tiny_bundle: Path, evaluation: Path, tmp_path: Path, decision: str
) -> None:
    """What a run made is handed to another run of the same recordings, when it is in production already."""
    registry = str(tmp_path / "registry")
    package(tiny_bundle, evaluation, _verdict(tmp_path, passed=True), registry, run="run 7")
    verdict = _verdict(tmp_path, passed=True, decision=decision)
    for _ in range(2):  # the second time as a retried task
        assert package(tiny_bundle, evaluation, verdict, registry, run="run 8") == "1"

    models = Registry.open(registry)
    assert models.versions("fan") == ["1"] and models.channel("fan", "production") == "1"
    records = [(record["event"], record["version"], record["previous"]) for record in models.audit("fan")]
    assert records == [("register", "1", None), ("promote", "1", None), ("promote", "1", "1")]
    assert models.audit("fan")[-1]["run"] == "run 8"
    assert models.history("fan") == ["1"]  # nothing that a rollback could go back to
    assert verify(models) == []


def test_a_verdict_on_another_machine_is_not_acted_on(tiny_bundle: Path, evaluation: Path, tmp_path: Path) -> None:
    verdict = _verdict(tmp_path, passed=True, machine="valve")
    with pytest.raises(MasdError, match="is about valve, but the bundle is a model of fan"):
        package(tiny_bundle, evaluation, verdict, str(tmp_path / "registry"), run="run 7")
    assert not (tmp_path / "registry").exists()


def test_a_registry_that_is_a_file(tiny_bundle: Path, evaluation: Path, tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("")
    with pytest.raises(MasdError, match=r"registry: cannot write models/fan/"):
        package(tiny_bundle, evaluation, _verdict(tmp_path, passed=True), str(tmp_path / "registry"), run="run 7")
