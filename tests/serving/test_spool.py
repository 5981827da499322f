"""A spool folder: one bad line costs itself, others' files are passed over, and what is kept of the rest is bounded."""

import io
import json
import os
from pathlib import Path

import pandas as pd
import pytest
from clip_score import SCORE

from serving.spool import UNSHIPPED, is_record, open_files, records_of, sealed_files, set_aside
from serving.worker.inference_log import InferenceLog

ROW = {"time": "2026-01-01T00:00:00.000+00:00", "request_id": "r", **SCORE.to_record()}
NAME = "my-fan-20260102T030405-0123abcd.sealed"


def _sealed(folder: Path, *lines: str) -> Path:
    path = folder / NAME
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_one_bad_line_costs_itself_and_not_its_file(tmp_path: Path) -> None:
    good = [{**ROW, "request_id": None if number == 7 else f"r{number}"} for number in range(200)]
    lines = [json.dumps(row) for row in good]
    bad = [json.dumps({**ROW, "request_id": "\ud800"}), '{"time": "20']
    found = records_of(_sealed(tmp_path, *lines[:100], bad[0], *lines[100:], bad[1]))
    assert found.parquet is not None
    frame = pd.read_parquet(io.BytesIO(found.parquet))
    assert [None if pd.isna(name) else name for name in frame["request_id"]] == [row["request_id"] for row in good]
    assert frame.iloc[0].to_dict() == good[0]
    assert found.bad == [line.encode() for line in bad]


def test_a_file_without_records_is_no_table(tmp_path: Path) -> None:
    found = records_of(_sealed(tmp_path, '{"score": 1}', "", "[" * 100_000))
    assert found.parquet is None and len(found.bad) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"score": "high"},
        {"score": None},
        {"score": True},
        {"score": 10**30},
        {"anomalous": 0.5},
        {"machine_type": 3},
        {"time": "\udfff"},
        {"level_dbfs": [1.0]},
        {"\ud800": 1.0},
    ],
)
def test_what_no_table_can_hold_is_no_record(change: dict[str, object]) -> None:
    assert is_record(ROW) and is_record({**ROW, "a_new_number": 1.5})
    assert not is_record({**ROW, **change})
    assert not is_record([ROW])


def test_names_of_others_are_passed_over(tmp_path: Path) -> None:
    _sealed(tmp_path)
    names = ["notes.sealed", "-20260102T030405-0123abcd.sealed", "fan.jsonl", "a fan-1.jsonl", "fan-x.jsonl"]
    for name in names:
        (tmp_path / name).write_bytes(b"{}\n")
    (tmp_path / "fan-2.jsonl").mkdir()
    (tmp_path / "fan-3.jsonl").symlink_to("/etc/passwd")
    (tmp_path / "my-fan-12.jsonl").write_bytes(b"")
    (found,) = sealed_files(tmp_path)
    assert (found.machine, found.key) == ("my-fan", f"my-fan/2026-01-02/{NAME.removesuffix('.sealed')}.parquet")
    assert [(file.machine, file.path.name) for file in open_files(tmp_path)] == [("my-fan", "my-fan-12.jsonl")]
    assert open_files(tmp_path / "absent") == []


def test_the_quarantine_is_bounded_and_fills_no_log(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"fan-20260102T0304{number:02d}-0123abcd.sealed"
        kept = set_aside(path, [b"x" * 99] * 3, most_bytes=1000)
        os.utime(kept, (number, number))
    names = sorted(file.name for file in tmp_path.glob(f"*{UNSHIPPED}"))
    assert names == [f"fan-20260102T0304{number}-0123abcd{UNSHIPPED}" for number in (17, 18, 19)]
    assert set_aside(tmp_path / NAME, [b"y" * 5000], most_bytes=1000).stat().st_size <= 1000
    assert InferenceLog(tmp_path, "fan", limit_bytes=10).waiting_bytes() == 0
