"""Prometheus' alerts and the dashboard: they name only metrics that masd has, and promtool takes them as they are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from debian_program import debian_program
from exposed_metrics import alarm_metrics, named, server_metrics
from manifests import K8S

DASHBOARD = K8S.parent / "serving" / "grafana" / "masd.json"
TESTS = Path(__file__).with_name("alert_tests.yaml")
RULES: dict[str, Any] = yaml.safe_load((K8S / "components/prometheus/rules.yaml").read_text(encoding="utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["spec"]["groups"] for rule in group["rules"]}


def test_the_alerts_that_were_asked_for_are_there_and_each_says_what_and_how_bad() -> None:
    assert set(ALERTS) >= {
        *("MasdAlarm", "MasdNotHeard", "MasdNotReady", "MasdDrift", "MasdRecordsDropped", "MasdAgentBehind"),
    }
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert set(rule["annotations"]) == {"summary", "description"}, name


def test_alerts_name_only_metrics_that_masd_has(tmp_path: Path) -> None:
    there = server_metrics() | alarm_metrics(tmp_path) | {"up"}
    for name, rule in ALERTS.items():
        assert named(rule["expr"]), name
        assert named(rule["expr"]) <= there, name


def test_the_dashboard_names_only_metrics_that_masd_has_and_all_of_the_alarms(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    shown = {name for panel in panels for target in panel["targets"] for name in named(target["expr"])}
    alarms = alarm_metrics(tmp_path)
    assert alarms <= shown
    assert {name for name in shown if name.startswith("masd_")} <= server_metrics() | alarms
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_is_tested() -> None:
    cases = [case for one in yaml.safe_load(TESTS.read_text())["tests"] for case in one["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(ALERTS)


@pytest.fixture(scope="module")
def promtool() -> list[str]:
    return debian_program("promtool", "prometheus")


def _run(promtool: list[str], folder: Path, groups: Any, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    shutil.copy(TESTS, folder)
    return subprocess.run([*promtool, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_promtool_takes_the_rules_and_their_tests_pass(promtool: list[str], tmp_path: Path) -> None:
    groups = RULES["spec"]["groups"]
    done = _run(promtool, tmp_path, groups, "check", "rules", "rules.yaml")
    assert done.returncode == 0 and f"{len(ALERTS)} rules found" in done.stdout, done.stdout + done.stderr
    done = _run(promtool, tmp_path, groups, "test", "rules", TESTS.name)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_an_alert_that_never_begins_is_noticed(promtool: list[str], tmp_path: Path, alert: str) -> None:
    text = json.dumps(RULES["spec"]["groups"])
    never = re.sub(rf'("alert": "{alert}", "expr": ")', r"\1vector(0) > 0 unless ", text)
    assert never != text
    done = _run(promtool, tmp_path, json.loads(never), "test", "rules", TESTS.name)
    assert done.returncode != 0 and f"alertname: {alert}" in done.stdout + done.stderr
