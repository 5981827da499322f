"""The alarm step as a process of its own, and with a real Alertmanager."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alarm_logs import records, registered, ship
from debian_program import debian_program

from masd.alarms.recipients import Alertmanager
from masd.alarms.step import AlarmStep

pytestmark = pytest.mark.slow


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    program = debian_program("prometheus-alertmanager", "prometheus-alertmanager")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    order = [f"--config.file={config}", f"--storage.path={tmp_path / 'am'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (tmp_path / "alertmanager.log").open("w") as said:
        process = subprocess.Popen([*program, *order, "--cluster.listen-address="], stderr=said)
    url = f"http://127.0.0.1:{port}"
    for attempt in range(300):
        try:
            with urllib.request.urlopen(f"{url}/-/ready"):
                break
        except OSError:
            assert process.poll() is None and attempt < 299, (tmp_path / "alertmanager.log").read_text()
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(10)


def _alerts(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v2/alerts") as answer:
        found: list[dict[str, Any]] = json.load(answer)
        return found


def _read(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return str(answer.read().decode())


def _shifted(scores: np.ndarray, start: datetime, first: int) -> Any:
    rows = records(scores.tolist(), start=first)
    rows["time"] = [(start + timedelta(seconds=first + i)).isoformat(timespec="milliseconds") for i in range(len(rows))]
    return rows


def test_a_real_alertmanager_has_the_alert_while_it_is_on(tmp_path: Path, alertmanager: str) -> None:
    registered(tmp_path / "registry", clips=1e6)
    start, rng = datetime.now(UTC) - timedelta(minutes=10), np.random.default_rng(1)
    ship(tmp_path / "log", _shifted(np.append(rng.normal(size=100), [6.0] * 30), start, 0), "20260105T010000-aa")
    step = AlarmStep(
        str(tmp_path / "registry"), str(tmp_path / "log"), clips=1e6, recipients=[Alertmanager(alertmanager)]
    )
    assert step.run().in_alarm == ["fan"]
    (alert,) = _alerts(alertmanager)
    assert alert["labels"] == {"alertname": "MasdAlarm", "machine_type": "fan"}
    assert alert["status"]["state"] == "active" and "since" in alert["annotations"]["summary"]
    assert datetime.fromisoformat(alert["startsAt"]) < datetime.now(UTC) - timedelta(minutes=5)
    ship(tmp_path / "log", _shifted(rng.normal(size=60), start, 130), "20260105T020000-aa")
    assert step.run().in_alarm == []
    assert _alerts(alertmanager) == []


def test_the_command_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    registered(tmp_path / "registry", clips=1e6)
    (tmp_path / "log").mkdir()
    order = ["alarms", "--registry", "registry", "--log", "log", "--every", "0.2", "--json", "--metrics-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "masd.cli.main", *order],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None and process.stderr is not None
    url = process.stderr.readline().removeprefix("metrics: ").strip()
    ship(tmp_path / "log", records([*np.random.default_rng(1).normal(size=100), *[6.0] * 30]), "20260105T010000-aa")
    kinds = [json.loads(process.stdout.readline())["kind"]]
    while kinds[-1] != "silent":  # the records are old
        kinds.append(json.loads(process.stdout.readline())["kind"])
    assert kinds.count("alarm") == 1
    deadline = time.monotonic() + 30
    while 'masd_not_heard{ModelName="fan"} 1' not in (text := _read(url)):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    assert 'masd_alarm_state{ModelName="fan",ModelVersion="1"} 2' in text
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
