"""Drift: the tests of columns, the log, and one real run of Evidently."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from masd.config import DriftSettings, Settings
from masd.detection.result import ClipScore, Signals
from masd.errors import MasdError
from masd.files import sha256
from masd.lifecycle.drift import DriftVerdict, check_drift
from masd.lifecycle.drift_log import read_log
from masd.lifecycle.drift_statistics import COLUMNS, compare, rounded
from masd.lifecycle.manifest import FILES, Manifest

RATE = 0.05


def make_clips(n: int, rng: np.random.Generator, *, machine: str = "fan", version: str = "3") -> pd.DataFrame:
    """Records of ``n`` clips of one machine: correlated columns, a few clipped clips, one format."""
    level = rng.normal(-30.0, 2.0, n)
    score = rng.gamma(20.0, 0.02, n)
    scores = [
        ClipScore(
            machine_type=machine,
            model_version=version,
            system="knn-feature",
            score=float(score[i]),
            threshold=0.5,
            domain="source",
            duration_s=10.0,
            segments=(),
            reconstruction_error=float(9.0 + 2.0 * score[i] + rng.normal(0.0, 0.1)),
            systems={},
            signals=Signals(
                level_dbfs=float(level[i]),
                clipped_share=float(rng.exponential(1e-4)) if rng.random() < 0.05 else 0.0,
                spectral_centroid_hz=float(1500.0 + 10.0 * level[i] + rng.normal(0.0, 80.0)),
                sample_rate_in=16_000,
                octave_levels_db=(-30.0, -10.0, -3.0, -4.0, -9.0, -15.0),
            ),
        )
        for i in range(n)
    ]
    return pd.DataFrame([score.to_record() for score in scores])


def write_log(path: Path, clips: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = clips.to_dict("records")
    path.write_text("".join(json.dumps({"time": "2026-01-01T00:00:00Z"} | row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return make_clips(400, np.random.default_rng(0), version="")


@pytest.fixture
def bundle(tmp_path: Path, reference: pd.DataFrame) -> Path:
    """A bundle whose manifest, settings and reference are real; no network is needed to look for drift."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(b"not read here")
    (folder / "config.yaml").write_text(Settings().to_yaml())
    reference.to_parquet(folder / "reference.parquet")
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    manifest = Manifest("fan", "sha256:0", [], version="3", files={name: sha256(folder / name) for name in FILES})
    (folder / "manifest.json").write_text(json.dumps(asdict(manifest)))


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Evidently out: it takes seconds to import, and one test runs it for all."""
    monkeypatch.setattr("masd.lifecycle.drift.write_page", lambda *_: None)


def drifted(verdict: DriftVerdict) -> set[str]:
    return {name for name, column in verdict.columns.items() if column.drifted}


def test_false_alarms_stay_below_the_rate_over_all_columns(reference: pd.DataFrame) -> None:
    """200 windows of fresh clips against one reference: the bound plus three standard errors."""
    pool, windows = make_clips(10_000, np.random.default_rng(1)), 200
    base, fresh = rounded(reference), rounded(pool)
    alarms = sum(
        any(column.drifted for column in compare(base, fresh[50 * i : 50 * (i + 1)], RATE).values())
        for i in range(windows)
    )
    assert alarms / windows <= RATE + 3 * (RATE * (1 - RATE) / windows) ** 0.5


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("score", lambda values: values * 1.25),
        ("reconstruction_error", lambda values: values + 0.4),
        ("level_dbfs", lambda values: values + 3.0),
        ("spectral_centroid_hz", lambda values: values + 120.0),
        ("clipped_share", lambda values: values.where(values.index % 4 > 0, 0.01)),
        ("duration_s", lambda values: values.where(values.index % 5 > 0, 12.0)),
        ("sample_rate", lambda values: values.where(values.index % 10 > 0, 44_100)),
    ],
)
def test_a_change_in_one_column_is_found_there_and_only_there(
    reference: pd.DataFrame, column: str, change: Callable[[pd.Series], pd.Series]
) -> None:
    window = rounded(make_clips(60, np.random.default_rng(2)))
    window[column] = change(window[column])
    found = compare(rounded(reference), window, RATE)
    assert [name for name, result in found.items() if result.drifted] == [column]


def test_a_column_that_is_constant_and_equal_is_left_out_of_the_correction(reference: pd.DataFrame) -> None:
    window = make_clips(60, np.random.default_rng(3))
    found = compare(rounded(reference), rounded(window), RATE)
    assert set(COLUMNS) - set(found) == {"duration_s", "sample_rate"}
    assert {column.threshold for column in found.values()} == {RATE / 5}


def test_two_odd_clips_of_fifty_are_noticed_where_the_reference_has_one_value() -> None:
    """p of a rank test would be 1 here; both odd clips falling into the window has a chance of 0.002."""
    reference, window = make_clips(990, np.random.default_rng(4)), make_clips(50, np.random.default_rng(5))
    window.loc[:1, "sample_rate"] = 44_100
    column = compare(rounded(reference), rounded(window), RATE)["sample_rate"]
    assert column.test == "match share" and column.usual == 16_000
    assert column.p_value == pytest.approx(50 * 49 / (1040 * 1039))
    assert column.drifted


def test_padding_of_a_lossy_format_is_no_new_duration(reference: pd.DataFrame) -> None:
    window = make_clips(60, np.random.default_rng(6)).assign(duration_s=10.0013)
    assert "duration_s" not in compare(rounded(reference), rounded(window), RATE)


def test_evidently_page_and_files_agree_with_the_verdict(bundle: Path, tmp_path: Path) -> None:
    """The one run of Evidently: drift in level and sample rate is named, in the same numbers everywhere."""
    window = make_clips(80, np.random.default_rng(7))
    window["level_dbfs"] += 4.0
    window.loc[:7, "sample_rate"] = 44_100
    out = tmp_path / "out"
    verdict = check_drift(bundle, write_log(tmp_path / "log" / "fan-1.jsonl", window), out)
    assert verdict.verdict == "drift"
    assert {"level_dbfs", "sample_rate"} <= drifted(verdict) <= {"level_dbfs", "sample_rate", "spectral_centroid_hz"}
    assert "level_dbfs (median" in verdict.sentence and "90% of clips at 16000" in verdict.sentence

    written = json.loads((out / "verdict.json").read_text())
    assert written == asdict(verdict)
    assert (written["clips"], written["reference_clips"]) == (80, 400)
    metrics = json.loads((out / "drift.json").read_text())["metrics"]
    assert {metric["config"]["column"]: metric["value"] for metric in metrics} == pytest.approx(
        {name: column.p_value for name, column in verdict.columns.items()}
    )
    page = (out / "drift.html").read_text()
    assert "fan: drift in" in page and "level_dbfs" in page


@pytest.mark.usefixtures("no_page")
def test_more_of_the_same_is_no_drift(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(100, np.random.default_rng(8)))
    verdict = check_drift(bundle, log, tmp_path / "out")
    assert (verdict.verdict, verdict.clips) == ("no drift", 100)
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["verdict"] == "no drift"


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize(("clips", "verdict"), [(29, "insufficient data"), (30, "drift")])
def test_too_few_clips_are_said_to_be_too_few(bundle: Path, tmp_path: Path, clips: int, verdict: str) -> None:
    window = make_clips(clips, np.random.default_rng(9)).assign(level_dbfs=0.0)
    out = tmp_path / "out"
    out.mkdir()
    (out / "drift.html").write_text("of an earlier run")
    found = check_drift(bundle, write_log(tmp_path / "fan.jsonl", window), out)
    assert found.verdict == verdict
    assert (out / "drift.html").exists() == (verdict == "drift")
    assert json.loads((out / "verdict.json").read_text())["verdict"] == verdict


@pytest.mark.usefixtures("no_page")
def test_settings_come_from_the_bundle_unless_given(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(10, np.random.default_rng(10)))
    assert check_drift(bundle, log, tmp_path / "out").verdict == "insufficient data"
    few = DriftSettings(min_clips=10, false_alarm_rate=0.01)
    assert {column.threshold for column in check_drift(bundle, log, tmp_path / "out", few).columns.values()} == {
        0.01 / 5
    }


@pytest.mark.usefixtures("no_page")
def test_only_rows_of_this_model_count(bundle: Path, tmp_path: Path) -> None:
    """Other machines, other registered versions and torn lines are passed over and counted."""
    rng = np.random.default_rng(11)
    write_log(tmp_path / "log" / "fan-1.jsonl", make_clips(40, rng))
    write_log(tmp_path / "log" / "fan-2.jsonl", make_clips(5, rng, version="2").assign(score=99.0))
    write_log(tmp_path / "log" / "valve-1.jsonl", make_clips(7, rng, machine="valve"))
    make_clips(20, rng).to_parquet(tmp_path / "log" / "fan-old.parquet")
    with (tmp_path / "log" / "fan-1.jsonl").open("a") as file:
        file.write('{"machine_type": "fan", "sco')
    verdict = check_drift(bundle, tmp_path / "log", tmp_path / "out")
    assert (verdict.verdict, verdict.clips) == ("no drift", 60)
    assert verdict.ignored == {"other_machines": 7, "other_versions": 5, "unreadable": 1}


@pytest.mark.usefixtures("no_page")
def test_right_after_a_promotion_there_is_too_little_to_tell(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(40, np.random.default_rng(12), version="2"))
    verdict = check_drift(bundle, log, tmp_path / "out")
    assert (verdict.verdict, verdict.clips) == ("insufficient data", 0)


def test_an_unregistered_bundle_takes_rows_of_every_version(tmp_path: Path) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(8, np.random.default_rng(13), version="2"))
    assert len(read_log(log, "fan", "0", COLUMNS).rows) == 8


def test_a_row_without_a_finite_value_is_unreadable(tmp_path: Path) -> None:
    window = make_clips(4, np.random.default_rng(14)).astype({"score": object})
    window.loc[0, "score"] = float("nan")
    window.loc[1, "score"] = "high"
    rows = read_log(write_log(tmp_path / "fan.jsonl", window), "fan", "3", COLUMNS)
    assert (len(rows.rows), rows.unreadable) == (2, 2)


def _columns_missing(path: Path) -> None:
    write_log(path, make_clips(3, np.random.default_rng(15)).drop(columns=["level_dbfs", "clipped_share"]))


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda path: None, "there is no inference log"),
        (lambda path: path.mkdir(), "a folder without .jsonl or .parquet"),
        (lambda path: path.write_text(""), "is empty: no clip has been scored"),
        (lambda path: path.write_bytes(b"RIFF\xff\xfe\n\x00"), "no readable row: none of 2 lines"),
        (
            lambda path: write_log(path, make_clips(3, np.random.default_rng(16), machine="valve")),
            "only of valve",
        ),
        (_columns_missing, "no values in column level_dbfs, clipped_share"),
    ],
)
def test_a_log_that_cannot_be_used_is_named_in_one_line(
    bundle: Path, tmp_path: Path, prepare: Callable[[Path], Any], said: str
) -> None:
    log = tmp_path / "inference.log"
    prepare(log)
    with pytest.raises(MasdError) as raised:
        check_drift(bundle, log, tmp_path / "out")
    message = str(raised.value)
    assert said in message and str(log) in message and "\n" not in message


def test_a_broken_parquet_log_is_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(MasdError, match="cannot be read as Parquet"):
        check_drift(bundle, tmp_path / "log.parquet", tmp_path / "out")


def test_a_reference_of_an_older_bundle_is_refused(bundle: Path, reference: pd.DataFrame, tmp_path: Path) -> None:
    reference.drop(columns="level_dbfs").to_parquet(bundle / "reference.parquet")
    seal(bundle)
    with pytest.raises(MasdError, match="no column level_dbfs: train the bundle again"):
        check_drift(bundle, write_log(tmp_path / "f.jsonl", reference), tmp_path / "out")


def test_without_evidently_the_extra_is_named(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(40, np.random.default_rng(17)))
    monkeypatch.setitem(sys.modules, "evidently", None)
    with pytest.raises(MasdError, match=r"pip install 'masd\[monitoring\]'"):
        check_drift(bundle, log, tmp_path / "out")
