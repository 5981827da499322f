"""The inference log: one row a clip, and never a reason for an answer to fail."""

import json
import logging
import os
import time
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


def test_what_finds_no_room_is_kept_and_written_in_its_order_without_another_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.worker.inference_log, "RETRY_SECONDS", 0.01)
    in_the_way = tmp_path / "folder"
    in_the_way.write_text("a file", encoding="utf-8")
    log = InferenceLog(in_the_way, "fan")
    for number in range(5):
        log.write([(str(number), SCORE)])
    assert log.take_dropped() == 0
    in_the_way.unlink()
    deadline = time.monotonic() + 10.0
    while not log.path.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    log.write([("5", SCORE)])
    rows = [json.loads(line)["request_id"] for line in log.path.read_text(encoding="utf-8").splitlines()]
    assert rows == [str(number) for number in range(6)]


def test_no_more_is_kept_in_memory_than_the_limit_and_the_oldest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.worker.inference_log, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(serving.worker.inference_log, "KEPT_BYTES", 1000)
    in_the_way = tmp_path / "folder"
    in_the_way.write_text("a file", encoding="utf-8")
    log = InferenceLog(in_the_way, "fan")
    log.write((str(number), SCORE) for number in range(10))
    dropped = log.take_dropped()
    assert 0 < dropped < 10
    in_the_way.unlink()
    log.write([("later", SCORE)])
    rows = [json.loads(line)["request_id"] for line in log.path.read_text(encoding="utf-8").splitlines()]
    assert rows == [*(str(number) for number in range(10 - dropped)), "later"]


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path, "fan")
    log.path.write_text('{"time": "2026', encoding="utf-8")
    log.write([("a", SCORE)])
    torn, whole = log.path.read_text(encoding="utf-8").splitlines()
    assert torn == '{"time": "2026'
    assert json.loads(whole)["request_id"] == "a"
