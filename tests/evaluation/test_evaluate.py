"""A whole evaluation: the files it writes, and the metrics once more from those files and the names in them alone."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from areas_by_hand import mcclish, pairs_won

from masd.bundle.bundle import load_bundle
from masd.config import ALL_SYSTEMS, Settings
from masd.data.folders.machine import read_machine
from masd.data.store import FeatureStore
from masd.detection.controls import CONTROLS
from masd.errors import MasdError
from masd.evaluation import evaluate
from masd.evaluation.controls import ControlScores
from masd.evaluation.evaluate import evaluate_scorer
from masd.evaluation.results import write_results
from masd.lifecycle import steps

EVERYTHING = (*ALL_SYSTEMS, *CONTROLS)
NAME = re.compile(r"section_(\d\d)_(source|target)_test_(normal|anomaly)_\d+(_.*)?\.wav")


@pytest.fixture(scope="module")
def evaluation(tiny_bundle: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("evaluation") / "fan"
    steps.evaluate_recordings(tiny_bundle, tiny_data, "fan", out)
    return out


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def metrics(evaluation: Path) -> dict[str, Any]:
    content: dict[str, Any] = strict_json((evaluation / "metrics.json").read_text())
    return content


def of(metrics: dict[str, Any], name: str) -> dict[str, float]:
    values: dict[str, float] = (metrics["systems"] | metrics["controls"])[name]
    return values


def read_csv(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert all(len(row) == 2 for row in rows)
    return {name: float(value) for name, value in rows}


@pytest.mark.parametrize("name", EVERYTHING)
def test_metrics_follow_from_the_result_files(evaluation: Path, metrics: dict[str, Any], name: str) -> None:
    """Nothing but ``file.wav,score`` and ``file.wav,0|1``: truth is what the file names say."""
    scores = read_csv(evaluation / name / "anomaly_score_fan_section_00_test.csv")
    decisions = read_csv(evaluation / name / "decision_result_fan_section_00_test.csv")
    truth = {}
    for file in scores:
        match = NAME.fullmatch(file)
        assert match is not None
        truth[file] = (match[2], match[3])

    def pick(column: dict[str, float], domains: tuple[str, ...], condition: str) -> list[float]:
        return [column[file] for file, (domain, kind) in truth.items() if domain in domains and kind == condition]

    both = ("source", "target")
    anomalies = pick(scores, both, "anomaly")
    expected = {
        "auc_source": pairs_won(pick(scores, ("source",), "normal"), anomalies),
        "auc_target": pairs_won(pick(scores, ("target",), "normal"), anomalies),
        "pauc": mcclish(pick(scores, both, "normal"), anomalies),
    }
    floored = [max(value, np.finfo(float).eps) for value in expected.values()]
    expected["hmean"] = 3 / sum(1 / value for value in floored)
    for domain in both:
        hits = sum(pick(decisions, (domain,), "anomaly"))
        alarms = hits + sum(pick(decisions, (domain,), "normal"))
        precision, recall = hits / alarms if alarms else 0.0, hits / len(pick(scores, (domain,), "anomaly"))
        expected[f"precision_{domain}"], expected[f"recall_{domain}"] = precision, recall
        expected[f"f1_{domain}"] = 2 * precision * recall / (precision + recall) if hits else 0.0
    written = of(metrics, name)
    assert written.keys() == expected.keys() | {"threshold"}
    for key, value in expected.items():
        assert written[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize("name", EVERYTHING)
def test_result_files_hold_every_test_clip_and_decisions_follow_from_scores(
    evaluation: Path, metrics: dict[str, Any], tiny_data: Path, name: str
) -> None:
    scores = read_csv(evaluation / name / "anomaly_score_fan_section_00_test.csv")
    decisions = read_csv(evaluation / name / "decision_result_fan_section_00_test.csv")
    assert set(scores) == set(decisions) == {path.name for path in (tiny_data / "fan" / "test").iterdir()}
    threshold = of(metrics, name)["threshold"]
    assert decisions == {file: float(score > threshold) for file, score in scores.items()}
    text = (evaluation / name / "decision_result_fan_section_00_test.csv").read_text()
    assert set(re.findall(r",(.*)\n", text)) <= {"0", "1"}


def test_the_scores_are_those_of_the_scorer(evaluation: Path, tiny_bundle: Path, tiny_data: Path) -> None:
    """Offline as online: each clip on its own gives the score that the evaluation wrote."""
    scorer = load_bundle(tiny_bundle).scorer
    table = pd.read_parquet(evaluation / "scores.parquet").set_index("name")
    assert list(table.columns) == ["section", "domain", "condition", *EVERYTHING]
    for file in sorted((tiny_data / "fan" / "test").iterdir())[::5]:
        (result,) = scorer.score([scorer.decode(file)], all_systems=True)
        for name in ALL_SYSTEMS:
            assert table.at[file.name, name] == pytest.approx(result.systems[name], rel=1e-5, abs=1e-5)
            assert of(strict_json((evaluation / "metrics.json").read_text()), name)["threshold"] == pytest.approx(
                scorer.detectors.thresholds[name]
            )


@pytest.mark.parametrize("name", EVERYTHING)
def test_result_files_keep_every_digit_of_a_score(evaluation: Path, name: str) -> None:
    table = pd.read_parquet(evaluation / "scores.parquet")
    written = read_csv(evaluation / name / "anomaly_score_fan_section_00_test.csv")
    assert written == dict(zip(table["name"], table[name], strict=True))


def test_what_lies_in_the_folder(evaluation: Path, metrics: dict[str, Any]) -> None:
    assert {path.name for path in evaluation.iterdir()} == {
        "metrics.json",
        "scores.parquet",
        "report.html",
        *EVERYTHING,
    }
    assert (metrics["machine_type"], metrics["section"], metrics["seed"]) == ("fan", "00", 0)
    assert tuple(metrics["systems"]) == ALL_SYSTEMS and tuple(metrics["controls"]) == CONTROLS


def test_a_model_of_another_machine_is_refused(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(MasdError, match="is a model of fan, not of bearing"):
        steps.evaluate_recordings(tiny_bundle, tiny_data, "bearing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


Rename = Callable[[str], str | None]


@pytest.fixture
def variant(tiny_data: Path, tmp_path: Path) -> Callable[[Rename], Path]:
    """A copy of the fan's folder whose test clips have other names, or are left out."""

    def make(rename: Rename) -> Path:
        shutil.copytree(tiny_data / "fan", tmp_path / "data" / "fan")
        for path in sorted((tmp_path / "data" / "fan" / "test").iterdir()):
            name = rename(path.name)
            if name is None:
                path.unlink()
            else:
                path.rename(path.with_name(name))
        return tmp_path / "data"

    return make


def run(bundle: Path, data: Path, out: Path) -> dict[str, Any]:
    """A whole run but for the pictures of single clips, which take the longest; returns the metrics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "choose_examples", lambda *_: [])
        steps.evaluate_recordings(bundle, data, "fan", out)
    content: dict[str, Any] = strict_json((out / "metrics.json").read_text())
    return content


def test_a_machine_without_target_clips_has_no_target_values(
    tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path
) -> None:
    data = variant(lambda name: name if "_source_" in name else None)
    metrics = run(tiny_bundle, data, tmp_path / "out")
    for name in EVERYTHING:
        values = of(metrics, name)
        target = {key for key, value in values.items() if value is None}
        assert target == {"auc_target", "precision_target", "recall_target", "f1_target"}
        assert values["hmean"] == pytest.approx(2 / sum(1 / max(values[a], 2.3e-16) for a in ("auc_source", "pauc")))
    report = (tmp_path / "out" / "report.html").read_text()
    assert "The test set has no target clips" in report


def test_a_blind_test_set_is_scored_but_not_judged(
    tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path
) -> None:
    numbers = iter(range(100))
    data = variant(lambda name: f"section_00_{next(numbers):04d}.wav")
    metrics = run(tiny_bundle, data, tmp_path / "out")
    for name in EVERYTHING:
        assert {key for key, value in of(metrics, name).items() if value is not None} == {"threshold"}
        scores = read_csv(tmp_path / "out" / name / "anomaly_score_fan_section_00_test.csv")
        assert sorted(scores) == [f"section_00_{n:04d}.wav" for n in range(16)]
        assert np.isfinite(list(scores.values())).all()


def test_each_section_has_its_own_files(tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path) -> None:
    data = variant(lambda name: name.replace("section_00", "section_01") if "_0000_" in name else name)
    metrics = run(tiny_bundle, data, tmp_path / "out")
    assert metrics["section"] == "00,01"
    first, second = (
        read_csv(tmp_path / "out" / "knn-feature" / f"anomaly_score_fan_section_{s}_test.csv") for s in ("00", "01")
    )
    assert (len(first), len(second)) == (12, 4)
    assert all(name.startswith("section_01") for name in second)


def test_no_test_clips(tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path) -> None:
    data = variant(lambda name: None)
    with pytest.raises(MasdError, match="no test clips") as refused:
        steps.evaluate_recordings(tiny_bundle, data, "fan", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


class TestUnreadableClips:
    def data(self, variant: Callable[[Rename], Path], broken: int) -> Path:
        data = variant(lambda name: name)
        for path in sorted((data / "fan" / "test").iterdir())[:broken]:
            path.write_bytes(b"RIFF but nothing else")
        return data

    def tolerant(self, bundle: Path, share: float, data: Path, out: Path) -> None:
        """As if the model had been trained with another ``data.max_unreadable_share``."""
        loaded = load_bundle(bundle)
        changed = loaded.settings.data.model_copy(update={"max_unreadable_share": share})
        settings = loaded.settings.model_copy(update={"data": changed})
        steps.featurize(data, ["fan"], settings, out.parent / "features")
        store = FeatureStore.open(out.parent / "features" / "fan")
        controls = ControlScores.fit(store, settings)
        clips = read_machine(data / "fan", changed).split("test")
        evaluate_scorer(loaded.scorer, store, controls, clips, out, history=[], data_fingerprint="", usual=None)

    def test_more_than_allowed_stop_the_evaluation(
        self, tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path
    ) -> None:
        with pytest.raises(MasdError, match=r"cannot be read.*data\.max_unreadable_share") as refused:
            steps.evaluate_recordings(tiny_bundle, self.data(variant, 1), "fan", tmp_path / "out")
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "out").exists()

    def test_as_many_as_allowed_are_left_out_and_named(
        self, tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path
    ) -> None:
        data = self.data(variant, 2)
        self.tolerant(tiny_bundle, 0.2, data, tmp_path / "out")
        broken = [path.name for path in sorted((data / "fan" / "test").iterdir())[:2]]
        scores = read_csv(tmp_path / "out" / "mel-statistics" / "anomaly_score_fan_section_00_test.csv")
        assert len(scores) == 14 and not set(broken) & set(scores)
        report = (tmp_path / "out" / "report.html").read_text()
        assert all(name in report for name in broken)

    def test_none_readable_at_all(self, tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path) -> None:
        with pytest.raises(MasdError) as refused:
            self.tolerant(tiny_bundle, 1.0, self.data(variant, 16), tmp_path / "out")
        assert "readable" in str(refused.value) and "\n" not in str(refused.value)


def test_an_interrupted_evaluation_leaves_the_old_one(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("the old one")

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluate, "write_report", fail)
    with pytest.raises(OSError, match="No space"):
        steps.evaluate_recordings(tiny_bundle, tiny_data, "fan", out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "metrics.json").read_text() == "the old one"


def test_names_with_commas_and_quotes_survive_the_result_files(tmp_path: Path) -> None:
    clips = pd.DataFrame({"name": ["a,b.wav", 'say "hi".wav', "plain.wav"], "section": "00"})
    scores = [0.1 + 0.2, 1e-300, -1.0]
    write_results(tmp_path, "fan", clips, scores, threshold=0.0)
    assert read_csv(tmp_path / "anomaly_score_fan_section_00_test.csv") == dict(zip(clips["name"], scores, strict=True))
    decisions = read_csv(tmp_path / "decision_result_fan_section_00_test.csv")
    assert list(decisions.values()) == [1.0, 1.0, 0.0]


def test_plain_folders_are_evaluated_without_domains(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    """``train/*.wav``, ``test/normal`` and ``test/anomaly``: what a user has who never heard of the challenge."""
    folder = tmp_path / "data" / "fan"
    for number, path in enumerate(sorted((tiny_data / "fan" / "train").iterdir())):
        (folder / "train").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "train" / f"day {number}.wav")
    for path in sorted((tiny_data / "fan" / "test").iterdir()):
        condition = "anomaly" if "_anomaly_" in path.name else "normal"
        (folder / "test" / condition).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "test" / condition / f"{len(list((folder / 'test' / condition).iterdir()))}.wav")
    metrics = run(tiny_bundle, tmp_path / "data", tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert set(table["domain"]) == {"none"} and set(table["name"]) >= {"normal/0.wav", "anomaly/0.wav"}
    assert of(metrics, "knn-feature")["auc_source"] is not None
    assert of(metrics, "knn-feature")["auc_target"] is None
    assert read_machine(folder, tiny_settings.data).machine_type == "fan"


def test_clips_of_another_rate_are_scored_as_the_endpoint_scores_them(
    tiny_bundle: Path, variant: Callable[[Rename], Path], tmp_path: Path
) -> None:
    """Their upper bands are not what the log-mel store holds."""
    data = variant(lambda name: name)
    clip = sorted((data / "fan" / "test").iterdir())[3]
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(clip, soxr.resample(samples, rate, 3 * rate), 3 * rate)
    run(tiny_bundle, data, tmp_path / "out")
    scorer = load_bundle(tiny_bundle).scorer
    bands = scorer.settings.audio.n_mels
    assert scorer.known_bands(3 * rate) < bands == scorer.known_bands(rate)
    expected = scorer.score([scorer.decode(clip)], all_systems=True)[0].systems
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet").set_index("name").loc[clip.name]
    assert {name: scores[name] for name in ALL_SYSTEMS} == pytest.approx(expected, rel=1e-5)
