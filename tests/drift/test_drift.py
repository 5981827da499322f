"""A drift check: the log, the verdict, the pages, the history, and one real run of Evidently for all."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drift_logs import make_bundle, make_clips, write_log
from html_page import Page

from masd.config import DriftSettings
from masd.drift.check import check_drift, window_digest
from masd.drift.log import NothingLoggedError, read_log
from masd.drift.reference import read_reference
from masd.drift.statistics import COLUMNS, MODEL_COLUMNS
from masd.drift.verdict import DriftVerdict
from masd.errors import MasdError
from masd.files import sha256
from masd.lifecycle.monitoring import windows
from masd.registry.registry import Registry
from masd.storage.opening import open_store


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return make_clips(300, np.random.default_rng(0), version="")


@pytest.fixture
def bundle(tmp_path: Path, reference: pd.DataFrame) -> Path:
    return make_bundle(tmp_path / "bundle", reference)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Evidently out: it takes seconds to import, and few tests run it for all."""
    monkeypatch.setattr("masd.drift.check.run_report", lambda *_: None)
    monkeypatch.setattr("masd.drift.check.write_report", lambda *_: None)


def drifted(verdict: DriftVerdict) -> set[str]:
    return {name for name, column in verdict.columns.items() if column.drifted}


def test_page_report_history_and_verdict_say_the_same(bundle: Path, tmp_path: Path) -> None:
    """Two real runs of Evidently: drift in level and sample rate is named, in the same numbers everywhere."""
    window = make_clips(80, np.random.default_rng(7))
    window["level_dbfs"] += 4.0
    window.loc[:7, "sample_rate"] = 44_100
    window.loc[17, "level_dbfs"] = 0.0
    out, workspace = tmp_path / "out", tmp_path / "history"
    log = write_log(tmp_path / "log" / "fan-1.jsonl", window)
    verdict = check_drift(bundle, log, out, workspace=workspace)
    assert verdict.verdict == "drift"
    assert {"level_dbfs", "sample_rate"} <= drifted(verdict) <= {"level_dbfs", "sample_rate", "spectral_centroid_hz"}
    assert "level_dbfs (median" in verdict.sentence and "90% of clips at 16000" in verdict.sentence
    assert (verdict.clips, verdict.reference_clips, verdict.false_alarm_rate) == (80, 300, 0.05)

    loudest, fastest = verdict.unusual["level_dbfs"][0], verdict.unusual["sample_rate"]
    assert (loudest.index, loudest.request_id, loudest.time) == (17, "r17", "2026-01-01T00:17:00.000+00:00")
    assert loudest.value == 0.0
    assert [clip.index for clip in fastest] == [7, 6, 5, 4, 3]

    assert json.loads((out / "verdict.json").read_text()) == json.loads(json.dumps(asdict(verdict)))
    metrics = json.loads((out / "drift.json").read_text())["metrics"]
    p_values = {m["config"]["column"]: m["value"] for m in metrics if m["config"]["type"].endswith("ValueDrift")}
    assert p_values == pytest.approx({name: column.p_value for name, column in verdict.columns.items()})
    report = (out / "evidently.html").read_text()
    assert "level_dbfs" in report

    page = Page(out / "drift.html")
    assert verdict.sentence in page.text
    assert page.row("level_dbfs")[0] == "0" and page.row("level_dbfs")[3] == "r17"
    assert "evidently.html" in [attrs.get("href") for tag, attrs in page.tags if tag == "a"]
    assert all(source.startswith("data:") for source in page.sources())
    charts = [attrs for tag, attrs in page.tags if tag == "img"]
    ks = [name for name, column in verdict.columns.items() if column.usual is None]
    assert len(charts) == len(ks) + 1  # and the timeline

    check_drift(bundle, log, out, workspace=workspace)
    (project,) = workspace.glob("*/metadata.json")
    assert json.loads(project.read_text())["name"] == "fan"
    snapshots = list(project.parent.glob("snapshots/*.json"))
    assert len(snapshots) == 2
    assert all("level_dbfs" in snapshot.read_text() for snapshot in snapshots)


@pytest.mark.usefixtures("no_report")
def test_more_of_the_same_is_no_drift(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(100, np.random.default_rng(8)))
    verdict = check_drift(bundle, log, tmp_path / "out")
    assert (verdict.verdict, verdict.clips) == ("no drift", 100)
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["verdict"] == "no drift"


@pytest.mark.usefixtures("no_report")
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


@pytest.mark.usefixtures("no_report")
def test_settings_come_from_the_bundle_unless_given(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(10, np.random.default_rng(10)))
    assert check_drift(bundle, log, tmp_path / "out").verdict == "insufficient data"
    usual = check_drift(bundle, log, tmp_path / "out", DriftSettings(min_clips=10))
    strict = check_drift(bundle, log, tmp_path / "out", DriftSettings(min_clips=10, false_alarm_rate=0.01))
    assert strict.false_alarm_rate == 0.01
    assert strict.columns["score"].threshold < usual.columns["score"].threshold / 2


@pytest.mark.usefixtures("no_report")
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
    assert verdict.ignored == {"other_machines": 7, "other_versions": 5, "unreadable": 1, "thinned": 0}


@pytest.mark.usefixtures("no_report")
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
    assert (len(rows.rows), rows.unreadable, rows.missing) == (2, 2, ())


def test_rows_of_several_workers_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    window = make_clips(10, np.random.default_rng(20))
    write_log(tmp_path / "log" / "fan-1.jsonl", window[window.index % 2 == 1])
    window[window.index % 2 == 0].to_parquet(tmp_path / "log" / "fan-2.parquet")
    rows = read_log(tmp_path / "log", "fan", "3", COLUMNS).rows
    assert rows["request_id"].tolist() == [f"r{i}" for i in range(10)]
    assert rows["score"].tolist() == pytest.approx(window["score"].tolist())


NEW = ["embedding_distance", *(name for name in COLUMNS if name.startswith("octave_"))]


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("kept", ["absent", "null"])
def test_a_log_written_before_a_column_is_compared_without_it(bundle: Path, tmp_path: Path, kept: str) -> None:
    window = make_clips(60, np.random.default_rng(21))
    old = window.drop(columns=NEW) if kept == "absent" else window.assign(**dict.fromkeys(NEW))
    verdict = check_drift(bundle, write_log(tmp_path / "fan.jsonl", old), tmp_path / "out")
    assert (verdict.verdict, verdict.clips, verdict.not_compared) == ("no drift", 60, NEW)
    assert not set(verdict.columns) & set(NEW)
    assert NEW[0] in Page(tmp_path / "out" / "drift.html").text


@pytest.mark.usefixtures("no_report")
def test_a_bundle_of_before_is_compared_without_the_column(reference: pd.DataFrame, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "old", reference.drop(columns=NEW))
    log = write_log(tmp_path / "fan.jsonl", make_clips(60, np.random.default_rng(22)))
    assert check_drift(bundle, log, tmp_path / "out").not_compared == NEW


def test_rows_of_before_a_column_are_left_out_once_most_have_it(tmp_path: Path) -> None:
    window = make_clips(30, np.random.default_rng(23))
    write_log(tmp_path / "log" / "fan-1.jsonl", window[:10].drop(columns=NEW))
    write_log(tmp_path / "log" / "fan-2.jsonl", window[10:])
    rows = read_log(tmp_path / "log", "fan", "3", COLUMNS)
    assert (len(rows.rows), rows.unreadable, rows.missing) == (20, 10, ())


@pytest.mark.usefixtures("no_report")
def test_a_long_window_is_thinned_evenly(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masd.drift.check.MOST_CLIPS", 50)
    log = write_log(tmp_path / "fan.jsonl", make_clips(90, np.random.default_rng(24)))
    verdict = check_drift(bundle, log, tmp_path / "out")
    assert (verdict.clips, verdict.ignored["thinned"]) == (50, 40)


def test_target_clips_count_by_their_share_of_the_training_clips(reference: pd.DataFrame, tmp_path: Path) -> None:
    """Model values are known of a tenth of the source clips, and of every target clip: 3 of 30 may count."""
    clips = reference.copy()
    clips.loc[270:, "domain"] = "target"
    clips.loc[(clips.index % 10 > 0) & (clips.index < 270), list(MODEL_COLUMNS)] = np.nan
    clips.to_parquet(tmp_path / "reference.parquet")
    read = read_reference(tmp_path / "reference.parquet")
    known = read["score"].notna()
    assert (known[:270].sum(), known[270:].sum()) == (27, 3)
    assert read["level_dbfs"].notna().all()


def _ship(log: Path, clips: pd.DataFrame, day: str, name: str = "20260102T030405-0000") -> Path:
    path = log / "fan" / day / f"fan-{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    clips.to_parquet(path, index=False)
    return path


def _on(clips: pd.DataFrame, day: str) -> pd.DataFrame:
    return clips.assign(time=clips["time"].str.replace(r"^.{10}", day, regex=True))


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("good", [0, 3_000, 30_000])
def test_a_change_is_found_however_long_the_log_has_grown(bundle: Path, tmp_path: Path, good: int) -> None:
    usual = make_clips(3_000, np.random.default_rng(31))
    for number in range(good // 3_000):
        day = f"2026-01-{number + 1:02d}"
        _ship(tmp_path / "log", _on(usual, day), day)
    changed = _on(make_clips(300, np.random.default_rng(32)), "2026-02-01")
    changed["level_dbfs"] += 1.5
    write_log(tmp_path / "log" / "fan-1.jsonl", changed)
    verdict = check_drift(bundle, tmp_path / "log", tmp_path / "out")
    assert verdict.verdict == "drift" and "level_dbfs" in drifted(verdict)
    assert verdict.clips == min(1000, good + 300)
    assert verdict.until == changed["time"].max()
    alone = check_drift(bundle, tmp_path / "log", tmp_path / "out", since="2026-02-01")
    assert (alone.clips, alone.verdict, alone.since) == (300, "drift", changed["time"].min())
    wider = check_drift(bundle, tmp_path / "log", tmp_path / "out", DriftSettings(window=3_100))
    assert wider.clips == min(3_100, good + 300)


def test_only_the_machine_and_the_days_that_are_needed_are_opened(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for day in ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"):
        _ship(log, _on(make_clips(40, np.random.default_rng(26)), day), day)
    (log / "valve" / "2026-01-04").mkdir(parents=True)
    for path in (log / "valve" / "2026-01-04" / "valve-1.parquet", log / "fan" / "2026-01-01" / "fan-0.parquet"):
        path.write_bytes(b"not to be opened")
    newest = read_log(log, "fan", "3", COLUMNS, most=50).rows
    assert len(newest) == 50 and newest["time"].iloc[-1].startswith("2026-01-04")
    assert newest["time"].tolist() == sorted(newest["time"])
    assert len(read_log(log, "fan", "3", COLUMNS, since="2026-01-03T00:20").rows) == 60
    assert len(read_log(log, "fan", "3", COLUMNS, from_day="2026-01-02").rows) == 120
    assert read_log(log, "fan", "3", COLUMNS, since="2027").rows.empty
    with pytest.raises(MasdError, match=r"fan-0\.parquet cannot be read as Parquet"):
        read_log(log, "fan", "3", COLUMNS)
    with pytest.raises(NothingLoggedError, match="contains no clip of machine 'pump', only of fan, valve"):
        read_log(log, "pump", "3", COLUMNS)


@pytest.mark.usefixtures("no_report")
def test_nothing_that_is_older_than_the_version_is_opened(reference: pd.DataFrame, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "new", reference)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "created": "2026-01-03T00:00:00+00:00"}))
    _ship(tmp_path / "log", make_clips(40, np.random.default_rng(33)), "2026-01-01").write_bytes(b"not opened")
    verdict = check_drift(bundle, tmp_path / "log", tmp_path / "out")
    assert (verdict.verdict, verdict.clips, verdict.since) == ("insufficient data", 0, "")


def test_a_log_in_a_bucket_is_read_like_a_folder(s3_url: str, tmp_path: Path) -> None:
    store = open_store(s3_url)
    with pytest.raises(MasdError, match=r"without \.jsonl or \.parquet"):
        read_log(s3_url, "fan", "3", COLUMNS)
    clips = make_clips(45, np.random.default_rng(25))
    store.upload(_ship(tmp_path, clips[:40], "2026-01-01"), "fan/2026-01-01/fan-20260101T000000-0000.parquet")
    store.upload(write_log(tmp_path / "1.jsonl", clips[40:]), "fan-1.jsonl")
    store.write("notes.txt", b"passed over")
    store.write("valve/2026-01-01/valve-1.parquet", b"not opened")
    rows = read_log(s3_url, "fan", "3", COLUMNS).rows
    assert rows["request_id"].tolist() == clips["request_id"].tolist()
    assert rows["score"].tolist() == pytest.approx(clips["score"].tolist())


def _columns_missing(path: Path) -> None:
    write_log(path, make_clips(3, np.random.default_rng(15))[["time", "request_id", "machine_type", "model_version"]])


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
        (_columns_missing, "has no values in the compared columns"),
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


def test_a_reference_that_is_none_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"name": ["a"]}).to_parquet(tmp_path / "reference.parquet")
    with pytest.raises(MasdError, match="is not a drift reference: train the bundle again"):
        read_reference(tmp_path / "reference.parquet")
    (tmp_path / "reference.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(MasdError, match="cannot be read"):
        read_reference(tmp_path / "reference.parquet")


def test_without_evidently_the_extra_is_named(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path / "fan.jsonl", make_clips(40, np.random.default_rng(17)))
    monkeypatch.setitem(sys.modules, "evidently", None)
    with pytest.raises(MasdError, match=r"pip install 'masd\[monitoring\]'"):
        check_drift(bundle, log, tmp_path / "out")


def test_clips_without_a_request_id_are_named_by_their_time(bundle: Path, tmp_path: Path) -> None:
    """As servers ship them: a column of texts in which some are missing."""
    window = make_clips(60, np.random.default_rng(3))
    window["level_dbfs"] += 6.0
    window["request_id"] = pd.array([None] * len(window), dtype="string")
    day = tmp_path / "log" / "fan" / "2026-01-01"
    day.mkdir(parents=True)
    window.to_parquet(day / "fan-20260101T000000-00000000.parquet", index=False)
    verdict = check_drift(bundle, tmp_path / "log", tmp_path / "out")
    (first, *_) = verdict.unusual["level_dbfs"]
    assert first.request_id is None and str(first.time).startswith("2026-01-01T")


def test_the_digest_of_a_window_is_of_the_clips_that_are_compared_and_of_nothing_else(
    bundle: Path, tmp_path: Path
) -> None:
    clips, log = make_clips(60, np.random.default_rng(1)), tmp_path / "log"
    (bundle / "config.yaml").write_text("drift: {window: 40, min_clips: 30}\n")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["config.yaml"] = sha256(bundle / "config.yaml")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    _ship(log, clips[:30], "2026-03-02")
    waiting = write_log(log / "spool" / "fan-17.jsonl", clips[30:])
    before = window_digest(bundle, log)
    write_log(log / "spool" / "valve-18.jsonl", make_clips(5, np.random.default_rng(2), machine="valve"))
    write_log(log / "spool" / "fan-19.jsonl", make_clips(5, np.random.default_rng(2), version="4"))
    _ship(log, clips, "2026-03-01").write_bytes(b"no table: nobody opens what is older than the window")
    assert window_digest(bundle, log) == before
    waiting.unlink()
    _ship(log, clips[30:], "2026-03-03")
    assert window_digest(bundle, log) == before, "shipping changes no clip"
    _ship(log, _on(make_clips(1, np.random.default_rng(3)), "2026-03-03"), "2026-03-03", "later")
    assert window_digest(bundle, log) != before


def test_windows_of_a_fleet_pass_over_what_cannot_be_checked(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One damaged bundle, and a machine of which nothing was logged, must not stop the trigger of the others."""
    log = write_log(tmp_path / "log" / "fan-1.jsonl", make_clips(40, np.random.default_rng(1)))
    (tmp_path / "registry").mkdir()

    def fetch(self: Registry, machine: str, version: str) -> Path:
        if machine == "pump":
            raise MasdError("a file's SHA-256 differs")
        return bundle

    monkeypatch.setattr(Registry, "fetch", fetch)
    found = windows({"fan": "3", "pump": "1"}, str(log.parent), str(tmp_path / "registry"))
    assert found == {"fan": window_digest(bundle, log.parent)}
