"""The pipelines with nothing stubbed, on two tiny machines: one that must pass the gate and one that cannot."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

from components.drift import drift
from masd.config import Settings
from masd.registry.registry import Registry
from masd.registry.verify import verify
from masd.storage.opening import open_store
from pipelines.jobs import PipelineJob
from pipelines.local.run import TrainingRun, run_monitoring, run_training

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_data``, where the fan's anomalies are white noise and the bearing's are copies of normal clips."""
    out = shutil.copytree(tiny_data, tmp_path_factory.mktemp("judged") / "data")
    rng = np.random.default_rng(0)
    for path in (out / "fan" / "test").glob("*anomaly*.wav"):
        length = soundfile.info(path).frames
        soundfile.write(path, rng.normal(scale=0.3, size=length).clip(-1.0, 1.0), 16_000, subtype="PCM_16")
    _make_anomalies_normal(out / "bearing" / "test")
    return out


def _make_anomalies_normal(test: Path) -> None:
    """Nothing can then be told from anything: no model passes the gate."""
    for domain in ("source", "target"):
        normal, anomalous = (sorted(test.glob(f"*{domain}*{condition}*.wav")) for condition in ("normal", "anomaly"))
        for clean, path in zip(normal, anomalous, strict=True):
            shutil.copyfile(clean, path)


@pytest.fixture(scope="module")
def trained(data: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    return run_training(data, [], tiny_settings, tmp_path_factory.mktemp("run") / "out")


def test_verdicts_reach_registry_and_report(trained: TrainingRun) -> None:
    out = trained.report.parent
    assert {verdict.machine: verdict.decision for verdict in trained.verdicts} == {
        "fan": "promote",
        "bearing": "refuse",
    }
    summary = json.loads(trained.summary.read_text(encoding="utf-8"))
    assert {name: values["verdict"]["passed"] for name, values in summary["machines"].items()} == {
        "fan": True,
        "bearing": False,
    }

    models = Registry.open(trained.registry)
    assert trained.registry == str(out / "registry")
    assert verify(models) == []
    for machine, event, production in (("fan", "promote", "1"), ("bearing", "refuse", None)):
        assert models.channel(machine, "candidate") == "1"
        assert models.channel(machine, "production") == production
        assert (models.fetch(machine, "1") / f"{machine}.mar").is_file()
        sentence = next(verdict.sentence for verdict in trained.verdicts if verdict.machine == machine)
        record = models.audit(machine)[-1]
        assert record["event"] == event
        assert record["reason"] == sentence and record["run"]


def test_every_machine_has_its_results_once(trained: TrainingRun) -> None:
    out = trained.report.parent
    assert sorted(path.relative_to(out) for path in out.rglob("metrics.json")) == [
        Path("bearing/metrics.json"),
        Path("fan/metrics.json"),
    ]
    assert trained.report.is_file()
    assert not (out / "steps").exists()
    for machine in ("fan", "bearing"):
        assert (out / machine / "report.html").is_file()
        for system in ("fused", "knn-feature", "knn-score", "lof-feature", "lof-score"):
            names = {path.name for path in (out / machine / system).iterdir()}
            assert names == {
                f"anomaly_score_{machine}_section_00_test.csv",
                f"decision_result_{machine}_section_00_test.csv",
            }


def _log(trained: TrainingRun, path: Path, louder_by: float) -> Path:
    """An inference log: the reference itself, as if version 1 had scored it, at another level."""
    reference = pd.read_parquet(Registry.open(trained.registry).fetch("fan", "1") / "reference.parquet")
    clips = pd.concat([reference, reference]).assign(model_version="1", time="2026-01-01T00:00:00+00:00")
    rng = np.random.default_rng(0)
    for column in (
        "score",
        "margin",
        "reconstruction_error",
        "embedding_distance",
    ):  # not known of the clips the network has seen
        known = reference[column].dropna().to_numpy()
        clips[column] = clips[column].where(clips[column].notna(), rng.choice(known, len(clips)))
    clips["level_dbfs"] += louder_by
    clips.to_json(path, orient="records", lines=True)
    return path


def test_monitoring_without_drift(trained: TrainingRun, data: Path, tiny_settings: Settings, tmp_path: Path) -> None:
    log = _log(trained, tmp_path / "fan.jsonl", louder_by=0.0)
    run = run_monitoring(data, [], log, tiny_settings, tmp_path / "out", registry=trained.registry)
    assert run.training is None
    assert [path.name for path in run.drift.iterdir()] == ["fan"]  # nothing of the bearing is in production
    assert json.loads((run.drift / "fan" / "verdict.json").read_text(encoding="utf-8"))["verdict"] == "no drift"


def test_drift_names_the_machine(trained: TrainingRun, data: Path, tiny_settings: Settings, tmp_path: Path) -> None:
    log = _log(trained, tmp_path / "fan.jsonl", louder_by=20.0)
    report = SimpleNamespace(path=str(tmp_path / "drift"))
    config = tiny_settings.to_yaml()
    found = drift.python_func(["fan", "bearing"], str(log), str(data), trained.registry, config, report)
    assert found == (True, ["fan"])
    assert (tmp_path / "drift" / "fan" / "drift.html").is_file()


def test_drift_ends_in_a_new_version_beside_the_champion(
    trained: TrainingRun, data: Path, tiny_settings: Settings, tmp_path: Path
) -> None:
    """The whole monitoring pipeline: drift, training, gate, pointer, and the record of its trigger."""
    registry = str(shutil.copytree(trained.registry, tmp_path / "registry"))
    log = _log(trained, tmp_path / "fan.jsonl", louder_by=20.0)
    job = PipelineJob(str(data), ["fan", "bearing"], tiny_settings, tmp_path / "out", registry, str(log))
    outcome = job.once(say=list[str]().append)

    models = Registry.open(registry)
    assert models.versions("fan") == ["1", "2"] and models.versions("bearing") == ["1"]
    verdict = json.loads((tmp_path / "out" / "fan" / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["champion_version"] == "1" and verdict["decision"] == "promote"  # the same recordings: an equal
    assert "version 1 in production" in verdict["sentence"]
    assert models.channel("fan", "production") == "2" and models.audit("fan")[-1]["event"] == "promote"
    page = (tmp_path / "out" / "fan" / "comparison.html").read_text(encoding="utf-8")
    assert "Side by side" in page
    assert (outcome.started, outcome.record.code) == (True, 0)
    assert verdict["sentence"] in outcome.record.outcome
    assert verify(models) == []


def test_a_refused_challenger_is_not_trained_again_until_recordings_come(
    trained: TrainingRun, data: Path, tiny_settings: Settings, tmp_path: Path
) -> None:
    """A log that grows from check to check, as a plant's does, and a test set on which no model can pass at first."""
    plant = shutil.copytree(data, tmp_path / "data")
    _make_anomalies_normal(plant / "fan" / "test")
    registry = str(shutil.copytree(trained.registry, tmp_path / "registry"))
    (tmp_path / "log").mkdir()
    log = _log(trained, tmp_path / "log" / "monday.jsonl", louder_by=20.0)
    job = PipelineJob(str(plant), [], tiny_settings, tmp_path / "out", registry, str(log.parent))
    models = Registry.open(registry)

    first = job.once(say=list[str]().append)
    assert (first.started, first.record.code) == (True, 3)
    assert "fan: the new model is refused: " in first.record.outcome
    assert models.audit("fan")[-1]["event"] == "refuse" and models.channel("fan", "production") == "1"

    shutil.copyfile(log, log.parent / "tuesday.jsonl")
    second = job.once(say=list[str]().append)
    assert (second.started, second.record.code) == (True, 3)  # what has drifted still serves
    looked, drifted, in_alarm, *_, held = second.record.outcome.splitlines()
    assert in_alarm.startswith("in alarm: ")
    assert looked.endswith("/out/drift: 1 machine checked") and drifted.startswith("fan: drift in ")
    assert held.startswith("fan has drifted, but was not trained again. Version 2 was refused on 20")
    assert held.endswith(
        f"Add recordings of the new condition to {plant}/fan/train, or change settings. To train anyway, run "
        "masd pipeline run."
    )
    assert models.versions("fan") == ["1", "2"]
    assert held in (tmp_path / "out" / "pipeline.log").read_text(encoding="utf-8")

    shutil.copytree(data / "fan" / "test", plant / "fan" / "test", dirs_exist_ok=True)
    third = job.once(say=list[str]().append)  # of the same window
    assert (third.started, third.record.code) == (True, 0)
    assert models.versions("fan") == ["1", "2", "3"] and models.channel("fan", "production") == "3"
    assert verify(models) == []


def test_fleet_has_one_network_and_lives_in_a_bucket(
    data: Path, tiny_settings: Settings, tmp_path: Path, s3_url: str
) -> None:
    """Recordings and registry both in a bucket: every task reads and writes there by itself."""
    store = open_store(f"{s3_url}/data")
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        store.upload(path, path.relative_to(data).as_posix())
    training = tiny_settings.training.model_copy(update={"scope": "fleet"})
    settings = tiny_settings.model_copy(update={"training": training})
    run = run_training(store.url, [], settings, tmp_path / "out", registry=f"{s3_url}/registry")
    assert run.registry == f"{s3_url}/registry"
    assert not (tmp_path / "out" / "registry").exists()
    models = Registry.open(run.registry)
    bundles = [models.fetch(machine, "1") for machine in ("fan", "bearing")]
    histories = [json.loads((bundle / "history.json").read_text(encoding="utf-8")) for bundle in bundles]
    assert histories[0] == histories[1]
    assert len({verdict.machine for verdict in run.verdicts}) == 2
    assert verify(models) == []
    for machine, bundle in zip(("fan", "bearing"), bundles, strict=True):
        assert (bundle / f"{machine}.mar").is_file()
