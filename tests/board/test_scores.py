"""The scores of a span: all of those that it has, from no more objects than can hold them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from board_plant import Plant

from masd.storage.folder import FolderStore
from serving.board.timeline import scores as scores_module
from serving.board.timeline.charts import COLUMNS, MOST_DOTS, plot, spark
from serving.board.timeline.scores import ScoreReader
from serving.board.timeline.view import SPANS, view_of

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    plant = Plant(tmp_path_factory.mktemp("scores") / "root", NOW)
    plant.hear("fan", hours=60, every_s=60)
    plant.hear("valve", hours=1)
    return plant


def test_a_span_has_every_clip_once_and_in_order(plant: Plant) -> None:
    reader = ScoreReader(FolderStore(plant.log))
    for hours in (1, 6, 24):
        found = reader.span("fan", NOW - timedelta(hours=hours), NOW)
        assert len(found.rows) == hours * 60 - 3  # the last was heard three minutes ago
        assert found.rows["time"].is_monotonic_increasing and found.rows["request_id"].is_unique
        assert set(found.rows["machine_type"]) == {"fan"}


def test_an_hour_is_read_from_the_objects_of_that_time(plant: Plant) -> None:
    found = ScoreReader(FolderStore(plant.log)).span("fan", NOW - timedelta(hours=30), NOW - timedelta(hours=29))
    assert len(found.rows) == 60
    assert found.read == found.objects <= 2 * 12 + 1  # of 720: of that hour and the one after it


def test_months_are_read_evenly(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores_module, "MOST_OBJECTS", 50)
    found = ScoreReader(FolderStore(plant.log)).span("fan", NOW - timedelta(days=90), NOW)
    assert found.read == 50 and found.objects == 720
    gaps = np.diff(found.rows["time"].dt.floor("30min").unique().astype("int64"))
    assert gaps.max() <= 2 * np.median(gaps)


def test_what_is_damaged_or_pruned_costs_itself(tmp_path: Path) -> None:
    plant = Plant(tmp_path / "root", NOW)
    plant.hear("fan", hours=1)
    files = sorted(plant.log.rglob("*.parquet"))
    files[3].write_bytes(b"PAR1 no more")
    old = {"machine_type": "fan", "time": "2026-03-10T11:59:00+00:00", "score": 9.0}  # a server's without thresholds
    pd.DataFrame([old]).to_parquet(files[5])
    loose = plant.log / "other.jsonl"
    rows = [
        {"time": "2026-03-10T11:58:00+00:00", "machine_type": "fan", "score": 7.0, "request_id": None},
        {"time": "soon", "machine_type": "fan", "score": 1.0},
        {"time": "2026-03-10T11:58:01+00:00", "machine_type": "fan", "score": None},
        {"time": "2026-03-10T11:58:02+00:00", "machine_type": "valve", "score": 1.0},
        ["no record"],
    ]
    loose.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"time": "2026-')
    found = ScoreReader(FolderStore(plant.log)).span("fan", NOW - timedelta(hours=1), NOW)
    assert len(found.problems) == 1 and files[3].name in found.problems[0]
    assert {9.0, 7.0} <= set(found.rows["score"]) and 140 <= len(found.rows) <= 145


def test_records_that_came_late_are_found(tmp_path: Path) -> None:
    plant = Plant(tmp_path / "root", NOW)
    folder = plant.log / "fan" / "2026-03-10"
    folder.mkdir(parents=True)
    row = {"time": "2026-03-09T23:50:00+00:00", "machine_type": "fan", "score": 1.0}
    pd.DataFrame([row]).to_parquet(folder / "fan-20260310T002000-0000000a.parquet")
    end = datetime(2026, 3, 10, tzinfo=UTC)
    assert len(ScoreReader(FolderStore(plant.log)).span("fan", end - timedelta(hours=1), end).rows) == 1


def test_a_log_that_is_one_file(tmp_path: Path) -> None:
    rows = [{"time": f"2026-03-10T11:5{n}:00+00:00", "machine_type": "fan", "score": n} for n in range(5)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "more.jsonl").write_text(json.dumps(rows[0]) + "\n")
    reader = ScoreReader(FolderStore(tmp_path), "log.jsonl")
    assert reader.span("fan", NOW - timedelta(hours=1), NOW).rows["score"].tolist() == [0, 1, 2, 3, 4]
    assert reader.newest("fan", NOW, 3)["score"].tolist() == [2, 3, 4]


def test_views_of_hostile_queries() -> None:
    for span, end in (
        (None, None),
        ("x", "y"),
        ("1h", ""),
        ("90d", "9" * 40),
        ("1d", "0001-01-01"),
        ("1d", "2999-01-01"),
    ):
        view = view_of(span, end, NOW)
        assert view.live and view.end == NOW and view.length == SPANS[view.span][1]
    view = view_of("1h", "2026-03-01T10:00:00Z", NOW)
    assert not view.live and view.start == datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert view.query(end=view.end) == "?span=1h&end=2026-03-01T10:00:00Z"


def _rows(count: int, start: datetime) -> pd.DataFrame:
    times = pd.Series(pd.to_datetime([start + timedelta(hours=1) * (n / count) for n in range(count)], utc=True))
    scores = np.linspace(0.0, 1.0, count)
    return pd.DataFrame({"time": times, "score": scores, "threshold": 0.5, "anomalous": scores > 0.5})


def test_a_plot_shows_every_clip_or_their_range() -> None:
    start = NOW - timedelta(hours=1)
    few = plot(_rows(100, start), start, NOW)
    assert few is not None and few.dots.count("M") + few.above.count("M") == 100 and not few.spread
    assert sum(area.clips for area in few.areas) == 100 and few.areas[-1].highest == 1.0
    many = plot(_rows(MOST_DOTS * 4, start), start, NOW)
    assert many is not None and not many.dots and 0 < many.above.count("M") <= COLUMNS
    assert many.middle.count("L") == COLUMNS - 1 and many.spread.count("Z") == 1
    assert few.threshold.startswith("M0 130.0H1000")  # half of the scores' range is half of the height
    assert plot(_rows(0, start), start, NOW) is None


def test_a_gap_in_a_long_series_stays_one() -> None:
    start = NOW - timedelta(hours=1)
    rows = _rows(MOST_DOTS * 4, start)
    third = timedelta(minutes=20)
    kept = rows[(rows["time"] < start + third) | (rows["time"] > start + 2 * third)]
    drawn = plot(kept, start, NOW)
    assert drawn is not None and drawn.middle.count("M") == 2 and drawn.spread.count("Z") == 2


def test_a_spark_is_drawn_of_equal_scores_too() -> None:
    assert spark([1.0], None) is None
    level = spark([2.0, 2.0, 2.0], (2.0, 2.0))
    assert level is not None and level.line == "M2.0 20.0L120.0 20.0L238.0 20.0" and level.low == level.high == 20.0
