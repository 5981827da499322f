"""The chain on real recordings: 10 s clips without a target domain, and 2 s clips shorter than one window."""

import json
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from masd.config import Settings
from masd.lifecycle import steps

pytestmark = pytest.mark.slow


def evaluated(recordings: Path, machine: str, settings: Settings, out: Path) -> Path:
    steps.featurize(recordings, [machine], settings, out / "features")
    steps.train(out / "features", [machine], settings, out / "network", device="cpu")
    steps.fit_detectors(out / "features", machine, out / "network", settings, out / "bundle")
    settings_of = (machine, settings)
    steps.controls(out / "features", *settings_of, out / "controls")
    inputs = (out / "bundle", out / "features", out / "controls")
    steps.evaluate(*inputs, recordings, machine, out / "evaluation")
    return out / "evaluation"


def test_a_machine_without_target_clips_has_nulls(recordings: Path, tiny_settings: Settings, tmp_path: Path) -> None:
    folder = evaluated(recordings, "slider", tiny_settings, tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    for values in (metrics["systems"] | metrics["controls"]).values():
        assert values["auc_target"] is None
        assert values["precision_target"] is None
        rates = [values["auc_source"], values["pauc"]]
        assert values["hmean"] == pytest.approx(2 / sum(1 / rate for rate in rates), abs=1e-12)
    verdict = steps.gate(
        folder, tmp_path / "features", str(tmp_path / "registry"), tiny_settings, recordings, tmp_path / "verdict.json"
    )
    assert "slider" in verdict.sentence


def test_metrics_of_short_clips_follow_from_the_result_files(
    recordings: Path, tiny_settings: Settings, tmp_path: Path
) -> None:
    folder = evaluated(recordings, "bldcmotor", tiny_settings, tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    on_disk = {path.name for path in (recordings / "bldcmotor" / "test").iterdir()}
    for name, values in (metrics["systems"] | metrics["controls"]).items():
        file = folder / name / "anomaly_score_bldcmotor_section_00_test.csv"
        frame = pd.read_csv(file, header=None, names=["file", "score"], float_precision="round_trip")
        assert set(frame["file"]) == on_disk
        anomaly = frame["file"].str.contains("_anomaly_")
        for domain in ("source", "target"):
            used = anomaly | frame["file"].str.contains(f"_{domain}_")
            auc = roc_auc_score(anomaly[used], frame["score"][used])
            assert values[f"auc_{domain}"] == pytest.approx(auc, abs=1e-9)
        assert values["pauc"] == pytest.approx(roc_auc_score(anomaly, frame["score"], max_fpr=0.1), abs=1e-9)
        decisions = pd.read_csv(
            folder / name / "decision_result_bldcmotor_section_00_test.csv", header=None, names=["file", "flag"]
        )
        assert (decisions["flag"] == (frame["score"] > values["threshold"])).all()
