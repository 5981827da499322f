"""The inference log: one row a clip, and never a reason for an answer to fail."""

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clip_score import SCORE

import serving.worker.inference_log
from serving.worker.inference_log import InferenceLog


def test_a_row_a_clip_in_a_file_of_machine_and_process(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path / "new" / "folder", "fan")
    log.write([("a", SCORE), (None, SCORE)])
    log.write([("line\nbreak", SCORE)])
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.name == f"fan-{os.getpid()}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [row.pop("request_id") for row in rows] == ["a", None, "line\nbreak"]
    written = datetime.fromisoformat(rows[0].pop("time"))
    assert written.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert rows[0] == SCORE.to_record()


def test_goes_on_in_a_new_file_when_the_old_one_was_moved_away(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, "fan")
    log.write([("a", SCORE)])
    log.path.rename(tmp_path / "rotated")
    log.write([("b", SCORE)])
    assert json.loads(log.path.read_text(encoding="utf-8"))["request_id"] == "b"


def test_an_unwritable_log_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    log = InferenceLog(tmp_path / "file", "fan")
    with caplog.at_level(logging.WARNING):
        log.write([("a", SCORE)])
        log.write([("b", SCORE)])
    (record,) = caplog.records
    assert str(log.path) in record.getMessage()


def test_a_full_folder_costs_new_records_and_they_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.worker.inference_log, "MEASURE_SECONDS", 0.0)
    log = InferenceLog(tmp_path, "fan", limit_bytes=1000)
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            log.write([(str(number), SCORE)])
    kept = len(log.path.read_text(encoding="utf-8").splitlines())
    assert 0 < kept < 10
    assert log.waiting_bytes() == log.path.stat().st_size
    assert (log.take_dropped(), log.take_dropped()) == (10 - kept, 0)
    assert len(caplog.records) == 1
    log.path.unlink()
    log.write([("again", SCORE)])
    assert json.loads(log.path.read_text(encoding="utf-8"))["request_id"] == "again"


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, "fan")
    log.path.write_text('{"time": "2026', encoding="utf-8")
    log.write([("a", SCORE)])
    torn, whole = log.path.read_text(encoding="utf-8").splitlines()
    assert torn == '{"time": "2026'
    assert json.loads(whole)["request_id"] == "a"
