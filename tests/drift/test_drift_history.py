"""The history of drift checks, beside the log."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from masd.drift import history
from masd.drift.history import DriftCheck, beside, history_key, load_history, remember
from masd.drift.statistics import ColumnDrift
from masd.drift.verdict import DriftVerdict
from masd.errors import MasdError
from masd.lifecycle import monitoring
from masd.storage.folder import FolderStore


def _verdict(machine: str = "fan", *, drifted: bool = True) -> DriftVerdict:
    column = ColumnDrift(0.0, 0.01, drifted, "ks", 1.0, 2.0)
    word = "drift" if drifted else "no drift"
    when = ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
    columns = {"score": column}
    return DriftVerdict(machine, "3", word, 40, *when, 200, 0.05, columns, {}, [], {}, None, f"{machine}: {word}")


def test_checks_are_kept_in_order_and_the_oldest_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST", 3)
    store = FolderStore(tmp_path)
    assert load_history(store, "fan") == []
    for day in range(1, 6):
        remember(store, _verdict(drifted=day % 2 == 1), f"2026-01-0{day}T00:00:00+00:00")
    kept = load_history(store, "fan")
    assert [check.time[8:10] for check in kept] == ["03", "04", "05"]
    assert kept[-1] == DriftCheck("2026-01-05T00:00:00+00:00", "3", "drift", 40, ("score",), "fan: drift")
    assert kept[-2].drifted == ()
    assert load_history(store, "valve") == []


@pytest.mark.parametrize("content", ["{", "[1]", '[{"time": ""}]', '{"a": 1}'])
def test_a_damaged_history_is_named(tmp_path: Path, content: str) -> None:
    store = FolderStore(tmp_path)
    store.write(history_key("fan"), content.encode())
    with pytest.raises(MasdError, match=r"machines/fan.json: is damaged .* move it away"):
        load_history(store, "fan")


def test_a_history_that_cannot_be_written_costs_no_check(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "log"
    monitoring._remember(str(log), _verdict())
    assert datetime.fromisoformat(load_history(FolderStore(tmp_path / "log-drift"), "fan")[0].time).tzinfo == UTC
    FolderStore(tmp_path / "log-drift").write(history_key("fan"), b"{")
    monitoring._remember(str(log), _verdict())
    assert "the drift check was not added to the history" in caplog.text


def test_where_it_lies() -> None:
    assert beside("log/", "drift") == "log-drift"
    assert beside("s3://bucket/log", "alarms") == "s3://bucket/log-alarms"
    assert beside("logs/heard.jsonl", "drift") == "logs/heard-drift"
