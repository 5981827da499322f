"""A calibration from a window of the inference log."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drift_logs import make_clips, write_log

from masd.alarms.bundles import calibration_of
from masd.alarms.commissioning.commission import Commissioning, commission
from masd.alarms.commissioning.tolerance import clips_needed, guaranteed_rate
from masd.bundle.bundle import load_bundle
from masd.cli.main import main
from masd.errors import MasdError
from masd.lifecycle.calibrating import calibrate
from masd.registry.registry import Registry
from masd.registry.verify import verify


def heard(tmp_path: Path, clips: pd.DataFrame, asked: float = 1e-4, **window: str) -> Commissioning:
    return commission(write_log(tmp_path / "log.jsonl", clips), "fan", "3", asked, **window)


def normal(clips: int = 600, seed: int = 0) -> pd.DataFrame:
    return make_clips(clips, np.random.default_rng(seed))


def test_a_window_without_doubt_gives_scores_threshold_and_what_they_promise(tmp_path: Path) -> None:
    clips = normal()
    clips.loc[::3, "domain"] = "target"
    found = heard(tmp_path, clips)
    assert found.doubts == ()
    assert {domain: len(scores) for domain, scores in found.scores.items()} == {"source": 400, "target": 200}
    assert found.threshold == clips["score"].max()  # 600 clips cannot promise 1/10,000
    assert found.promised == pytest.approx(guaranteed_rate(600)) and found.needed == clips_needed(1e-4)
    assert found.highest[0] == clips.loc[clips["score"].idxmax(), "request_id"]
    assert (found.since, found.until) == (clips["time"].iloc[0], clips["time"].iloc[-1])
    plenty = heard(tmp_path, clips, asked=0.01)
    assert plenty.promised <= 0.01 and plenty.threshold < found.threshold


def test_the_window_is_what_is_asked_for_without_what_is_left_out(tmp_path: Path) -> None:
    clips = normal()
    found = heard(tmp_path, clips, since=clips["time"][100], until=clips["time"][399])
    assert found.clips == 300
    log = write_log(tmp_path / "log.jsonl", clips)
    loudest = str(clips.loc[clips["score"].idxmax(), "request_id"])
    assert loudest not in commission(log, "fan", "3", 1e-4, leave_out=[loudest]).highest


def test_silence_drift_and_alarms_are_doubts_and_alarms_are_left_out(tmp_path: Path) -> None:
    clips = normal()
    clips.loc[10:14, "level_dbfs"] = -120.0
    silent = heard(tmp_path, clips)
    assert "silence" in silent.doubts and silent.left_out == 5
    clips = normal()
    clips.loc[20:22, "warnings"] = "silence"
    assert heard(tmp_path, clips).left_out == 3
    clips = normal()
    clips.loc[300:, "level_dbfs"] += 6.0
    assert heard(tmp_path, clips).doubts == ("drift",)
    clips = normal()
    clips.loc[200:229, "score"] += 3.0  # every twentieth clip is of one fault
    faulty = heard(tmp_path, clips)
    assert "alarms" in faulty.doubts
    assert 30 <= faulty.left_out <= 80
    assert faulty.threshold < 2.0


def test_too_few_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MasdError, match=r"99 scored clips in the window, and a calibration needs at least 100"):
        heard(tmp_path, normal(99))


@pytest.fixture
def registry(tiny_bundle: Path, tmp_path: Path) -> Registry:
    models = Registry.open(tmp_path / "registry")
    models.register(tiny_bundle, metrics={"hmean": 0.9})
    models.promote("fan", "1", reason="first")
    return models


def test_a_calibrated_version_has_the_same_detectors_and_another_threshold(registry: Registry, tmp_path: Path) -> None:
    clips = make_clips(300, np.random.default_rng(1), version="1")
    log = write_log(tmp_path / "log.jsonl", clips)
    version, found = calibrate(registry.url, "fan", str(log), 1e-4)
    assert (
        version == "2" and registry.channel("fan", "candidate") == "2" and registry.channel("fan", "production") == "1"
    )
    before, after = (load_bundle(registry.fetch("fan", number)) for number in ("1", "2"))
    system = before.scorer.system
    assert after.scorer.detectors.thresholds[system] == found.threshold == clips["score"].max()
    old, new = before.scorer.detectors.tensors(), after.scorer.detectors.tensors()
    assert old.keys() - new.keys() == {f"{system}.calibration"} and new.keys() <= old.keys()
    assert [name for name in new if not np.array_equal(old[name], new[name])] == [f"{system}.threshold"]
    assert after.manifest.calibration == {}
    kept = calibration_of(after.folder)
    assert (kept.asked, kept.block) == (1e-4, found.block) and kept.scores == {"source": clips["score"].tolist()}
    record = registry.audit("fan", "register")[-1]
    window = record["metrics"]["calibration"]
    assert (window["since"], window["until"], window["from_version"]) == (found.since, found.until, "1")
    assert record["metrics"]["hmean"] == 0.9
    registry.promote("fan", version, reason="calibrated")
    assert registry.rollback("fan", reason="back") == "1"
    assert verify(registry) == []


def test_an_uncalibrated_bundle_compares_with_its_held_out_training_clips(tiny_bundle: Path) -> None:
    own = calibration_of(tiny_bundle)
    expected = pd.read_parquet(tiny_bundle / "reference.parquet")["score"].dropna()
    assert (own.asked, own.block, own.scores) == (None, 1, {"all": expected.tolist()})


def test_a_window_in_doubt_is_refused_unless_told(registry: Registry, tmp_path: Path) -> None:
    clips = make_clips(300, np.random.default_rng(2), version="1")
    clips.loc[100:114, "score"] += 3.0
    log = str(write_log(tmp_path / "log.jsonl", clips))
    with pytest.raises(MasdError, match=r"may not be normal: the alarm rule finds alarms in it.*--despite alarms"):
        calibrate(registry.url, "fan", log, 1e-3)
    assert registry.versions("fan") == ["1"]
    _, found = calibrate(registry.url, "fan", log, 1e-3, despite=["alarms", "drift"])
    assert found.left_out >= 15 and found.threshold < 2.0


def test_the_command_says_what_the_clips_can_promise(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(write_log(tmp_path / "log.jsonl", make_clips(300, np.random.default_rng(1), version="1")))
    order = ["registry", "calibrate", "fan", "--log", log, "--registry", registry.url, "--false-alarms", "1/10000"]
    assert main(order) == 0
    said = capsys.readouterr().out
    assert "version 2 is the candidate, calibrated with 300 clips (300 source)" in said
    assert "at most 1 in 101 normal clips is above it (95 % confidence)" in said
    assert "a threshold for 1 in 10,000 needs 29,956 clips" in said
    assert (registry.fetch("fan", "2") / "fan.mar").is_file()
    assert main([*order, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "3"
    with pytest.raises(SystemExit, match="2"):
        main([*order[:-1], "1/10"])
