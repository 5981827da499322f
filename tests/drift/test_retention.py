"""Old days of an inference log go, and nothing else."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from masd.cli.main import main
from masd.drift.retention import prune_log
from masd.storage.opening import open_store

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
KEYS = [
    "fan/2026-03-03/fan-1.parquet",
    "fan/2026-03-02/fan-1.parquet",
    "fan/2025-12-31/fan-1.parquet",
    "fan/2025-12-31/fan-2.parquet",
    "fan/labels/2020-01-01/fan.csv",
    "valve/2026-03-01/valve-1.parquet",
    "fan-1.jsonl",
]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_days_that_are_old_enough_are_removed(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    store = open_store(str(tmp_path / "log") if kind == "folder" else request.getfixturevalue("s3_url"))
    for key in KEYS:
        store.write(key, b"12345")
    planned = prune_log(store, 7, now=NOW, dry_run=True)
    assert {item.key for item in store.list()} == set(KEYS)
    assert prune_log(store, 7, now=NOW) == planned
    assert (planned.days, planned.objects, planned.size) == (
        ["fan/2025-12-31", "fan/2026-03-02", "valve/2026-03-01"],
        4,
        20,
    )
    assert {item.key for item in store.list()} == {KEYS[0], KEYS[4], KEYS[6]}
    assert store.children("fan/").folders == ["2026-03-03", "labels"]
    assert prune_log(store, 7, now=NOW).days == []


def test_the_command_says_what_it_has_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = ((datetime.now(UTC) - timedelta(days=days)).date().isoformat() for days in (4, 2))
    for day in (old, new):
        open_store(str(tmp_path)).write(f"fan/{day}/fan-1.parquet", b"1234")
    command = ["log", "prune", "--log", str(tmp_path), "--days", "3"]
    assert main([*command, "--dry-run"]) == 0
    assert "1 files (4 bytes) in 1 day folders would be removed" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"days": [f"fan/{old}"], "objects": 1, "size": 4}
    assert [path.name for path in (tmp_path / "fan").iterdir()] == [new]
    with pytest.raises(SystemExit, match="2"):
        main(["log", "prune", "--log", str(tmp_path), "--days", "0"])
