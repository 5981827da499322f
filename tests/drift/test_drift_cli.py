"""``masd drift`` and the history it keeps, shown by a real server."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drift_logs import make_bundle, make_clips, write_log

from masd.cli.main import main


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masd.drift.check.run_report", lambda *_: None)
    monkeypatch.setattr("masd.drift.check.write_report", lambda *_: None)


@pytest.mark.usefixtures("quiet")
def test_drift_exits_3_and_says_what_drives_it_and_how_good_the_model_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(tmp_path / "bundle", make_clips(200, np.random.default_rng(0), version=""))
    window = make_clips(60, np.random.default_rng(1))
    window["level_dbfs"] += 6.0
    log, out = write_log(tmp_path / "fan.jsonl", window), tmp_path / "out"
    labels = tmp_path / "labels.csv"
    pd.DataFrame({"request_id": ["r3", "r4"], "label": ["anomaly", "normal"]}).to_csv(labels, index=False)
    arguments = ["drift", "--bundle", str(bundle), "--log", str(log), "--out", str(out)]
    assert main([*arguments, "--labels", str(labels)]) == 3
    said = capsys.readouterr().out
    verdict = json.loads((out / "verdict.json").read_text())
    first = verdict["unusual"]["level_dbfs"][0]
    assert f"request {first['request_id']} {first['time']} clip {first['index']}" in said
    assert verdict["live"]["clips"] == 2 and "on 2 labelled clips, 1 of them anomalous" in said

    usual = write_log(tmp_path / "usual.jsonl", make_clips(60, np.random.default_rng(2)))
    assert main(["drift", "--bundle", str(bundle), "--log", str(usual), "--out", str(out)]) == 0
    assert "no drift in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--log, --out"),
        (["--log", "l", "--out", "o"], "either --bundle or --registry and --machines"),
        (["--log", "l", "--out", "o", "--bundle", "b", "--registry", "r", "--machines", "fan"], "either --bundle or"),
        (
            ["--log", "l", "--out", "o", "--registry", "r", "--machines", "fan", "--labels", "f"],
            "--labels needs --bundle",
        ),
        (["ui"], "--workspace"),
    ],
)
def test_what_is_missing_on_the_command_line_is_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["drift", *arguments])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_checks_has_no_history_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drift", "ui", "--workspace", str(tmp_path)]) == 1
    assert "contains no drift check" in capsys.readouterr().err


@pytest.mark.slow
def test_the_history_is_served_on_loopback_and_cannot_be_changed_there(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", make_clips(200, np.random.default_rng(0), version=""))
    log = write_log(tmp_path / "fan.jsonl", make_clips(60, np.random.default_rng(1)))
    command = [sys.executable, "-m", "masd.cli.main", "drift"]
    workspace, out = str(tmp_path / "history"), str(tmp_path / "out")
    for _ in range(2):
        assert main(["drift", "--bundle", str(bundle), "--log", str(log), "--out", out, "--workspace", workspace]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([*command, "ui", "--workspace", workspace, "--port", str(port)])
    try:
        (project,) = _json(f"http://127.0.0.1:{port}/api/projects")
        assert project["name"] == "fan"
        runs = _json(f"http://127.0.0.1:{port}/api/projects/{project['id']}/snapshots")
        assert [run["tags"] for run in runs] == [["no drift"]] * 2
        removal = urllib.request.Request(f"http://127.0.0.1:{port}/api/projects/{project['id']}", method="DELETE")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(removal, timeout=60)
        assert refused.value.code in (401, 403)
        assert main(["drift", "ui", "--workspace", workspace, "--port", str(port)]) == 1  # the port is taken
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    assert (Path(workspace) / project["id"]).is_dir()


def _json(url: str) -> list[dict[str, object]]:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return list(json.load(answer))
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
