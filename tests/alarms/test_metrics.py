"""The gauges of the alarm process, as Prometheus reads them."""

import json
import re
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from alarm_logs import at, records, registered, ship

from masd.alarms.exposition import metric
from masd.alarms.metrics import Gauges, exposed
from masd.alarms.step import AlarmStep, Outcome
from masd.cli.main import main
from masd.drift.history import DriftCheck, history_key
from masd.errors import MasdError
from masd.storage.opening import open_store

CHECK = DriftCheck("2026-01-05T02:00:00+00:00", "1", "drift", 500, ("score",), "fan has drifted")
WELL = CHECK._replace(verdict="no drift")


def _remember(place: Path, machine: str, *checks: DriftCheck) -> None:
    content = json.dumps([one._asdict() for one in checks]).encode()
    open_store(str(place / "log-drift")).write(history_key(machine), content)


def _values(text: str) -> dict[str, float]:
    """Sample -> value."""
    return {name: float(value) for name, value in re.findall(r"^(\w+\{.*\}) (\S+)$", text, re.MULTILINE)}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A fan in alarm; a pump that was not heard for a while; both have a drift history."""
    registered(tmp_path / "registry")
    registered(tmp_path / "registry", "pump", seed=3)
    rng = np.random.default_rng(1)
    ship(tmp_path / "log", records([*rng.normal(size=170), *[6.0] * 30]), "20260105T010000-aa")
    ship(tmp_path / "log", records(rng.normal(size=50), machine="pump"), "20260105T010000-aa")
    _remember(tmp_path, "fan", WELL, CHECK)
    _remember(tmp_path, "pump", CHECK, WELL)
    return tmp_path


def _step(place: Path) -> Outcome:
    return AlarmStep(str(place / "registry"), str(place / "log")).run(now=datetime.fromisoformat(at(200)))


def test_each_gauge_says_what_the_step_has_found(place: Path) -> None:
    gauges = Gauges(open_store(str(place / "log-drift")))
    gauges.take(_step(place))
    found = _values(gauges.text)
    one, two = 'ModelName="fan",ModelVersion="1"', 'ModelName="pump",ModelVersion="1"'
    assert found[f"masd_alarm_state{{{one}}}"] == 2 and found[f"masd_alarm_state{{{two}}}"] == 0
    assert found[f"masd_alarm_evidence{{{one}}}"] > found[f"masd_alarm_asked{{{one}}}"] == 1000
    assert found['masd_last_heard_seconds{ModelName="fan"}'] == datetime.fromisoformat(at(199)).timestamp()
    assert found['masd_not_heard{ModelName="fan"}'] == 0 and found['masd_not_heard{ModelName="pump"}'] == 1
    assert found['masd_drift{ModelName="fan"}'] == 1 and found['masd_drift{ModelName="pump"}'] == 0
    assert found['masd_alarm_failed{ModelName="fan"}'] == 0
    assert found['masd_loop_last_success_seconds{Loop="alarms"}'] > 0


def test_a_machine_whose_step_fails_keeps_its_alarm_and_says_so(place: Path) -> None:
    assert _step(place).in_alarm == ["fan"]
    registered(place / "registry", seed=5)
    (place / "registry" / "models" / "fan" / "2" / "detectors.safetensors").write_bytes(b"damaged")
    gauges = Gauges(open_store(str(place / "log-drift")))
    gauges.take(_step(place))
    found = _values(gauges.text)
    assert found['masd_alarm_failed{ModelName="fan"}'] == 1 and found['masd_alarm_failed{ModelName="pump"}'] == 0
    assert found['masd_alarm_state{ModelName="fan",ModelVersion="1"}'] == 2


def test_a_new_drift_check_is_seen_and_a_damaged_history_is_left_out(place: Path) -> None:
    gauges = Gauges(open_store(str(place / "log-drift")))
    outcome = _step(place)
    gauges.take(outcome)
    _remember(place, "fan", CHECK, CHECK, WELL)
    open_store(str(place / "log-drift")).write(history_key("pump"), b"{")
    gauges.take(outcome)
    found = _values(gauges.text)
    assert found['masd_drift{ModelName="fan"}'] == 0
    assert 'masd_drift{ModelName="pump"}' not in found


def test_the_address_answers_metrics_alone(place: Path) -> None:
    gauges = Gauges(open_store(str(place / "log-drift")))
    gauges.take(_step(place))
    with exposed(gauges, "127.0.0.1", 0) as url:
        with urllib.request.urlopen(url) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert answer.read().decode() == gauges.text
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(url.replace("/metrics", "/other"))
        port = int(url.split(":")[2].split("/")[0])
        taken = pytest.raises(MasdError, match=f"--metrics-port {port} on 127.0.0.1 cannot be used")
        with taken, exposed(gauges, "127.0.0.1", port):
            pass


def test_a_port_without_repetition_is_a_usage_error(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["alarms", "--registry", str(place / "registry"), "--log", str(place / "log"), "--metrics-port", "0"])
    assert "--metrics-port needs --every" in capsys.readouterr().err


def test_labels_are_escaped_and_a_metric_without_samples_is_left_out() -> None:
    assert metric("a", "gauge", "help", []) == ""
    assert metric("a", "gauge", "help", [({"x": 'a"b\\c\nd'}, 1)]).splitlines()[-1] == 'a{x="a\\"b\\\\c\\nd"} 1'
