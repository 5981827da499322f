"""Every command of docs/alarms.md, in order, on a fan of its own: each must print what the page says."""

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from alarm_logs import registered
from drift_logs import make_clips
from page_commands import matches, steps

from masd.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"


def _hear(log: Path, clips: int, seed: int, version: str, *, before: timedelta, fault: bool = False) -> None:
    """One clip a second, the last ``before`` now; a fault is in all of them."""
    rows = make_clips(clips, np.random.default_rng(seed), version=version)
    end = datetime.now(UTC) - before
    rows["time"] = [(end - timedelta(seconds=clips - i)).isoformat(timespec="milliseconds") for i in range(clips)]
    rows["request_id"] = [f"r{seed}-{i}" for i in range(clips)]
    rows["score"] += 3.0 * fault
    log.mkdir(exist_ok=True)
    (log / f"{seed}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.to_dict("records")))


def test_the_page_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    registered(tmp_path / "registry")
    log = tmp_path / "log"
    _hear(log, 600, 1, "1", before=timedelta(minutes=12))
    # version 2 is heard by and by: well, faulty, repaired
    heard = iter(
        [
            lambda: _hear(log, 60, 2, "2", before=timedelta(minutes=8)),
            lambda: _hear(log, 20, 3, "2", before=timedelta(minutes=6), fault=True),
            lambda: _hear(log, 60, 4, "2", before=timedelta(minutes=4)),
        ]
    )
    found = steps(PAGE)
    assert len(found) >= 10
    for step in found:
        program, *arguments = shlex.split(step.command)
        assert program == "masd"
        if arguments[:2] == ["alarms", "--registry"]:
            next(heard)()
        code = main(arguments)
        said = capsys.readouterr()
        assert code == step.code, (step.command, said.out, said.err)
        assert matches(step, said.out), (step.command, said.out, said.err)
    assert next(heard, None) is None
