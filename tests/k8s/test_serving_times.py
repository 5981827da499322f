"""The times in the manifests agree with those of ``masd serve``: how long it may start, and how it ends."""

from pathlib import Path
from typing import Any

import yaml

from masd.cli.main import parser
from serving.server import MOST_SECONDS, seconds_to_start

K8S = Path(__file__).parents[2] / "k8s"
END_SECONDS = 10
"""What masd serve promises, beside the time that requests may have."""


def _containers() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pod specification and container of each place where ``masd serve`` runs."""
    (deployment, *_) = yaml.safe_load_all((K8S / "base/serve.yaml").read_text(encoding="utf-8"))
    runtime = yaml.safe_load((K8S / "components/kserve/serving-runtime.yaml").read_text(encoding="utf-8"))
    pods = [deployment["spec"]["template"]["spec"], runtime["spec"]]
    return [(pod, container) for pod in pods for container in pod["containers"]]


def test_the_kubelet_waits_longer_for_a_start_than_the_server_itself() -> None:
    for _, container in _containers():
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] > MOST_SECONDS
        options = parser().parse_args(container["args"])
        assert options.startup_seconds is None


def test_more_machines_have_more_time_to_start_but_never_more_than_the_kubelet_gives() -> None:
    assert [seconds_to_start(machines) for machines in (1, 6, 1000)] == [120.0, 270.0, MOST_SECONDS]


def test_the_grace_period_has_room_for_the_wait_for_requests_and_the_end() -> None:
    for pod, container in _containers():
        drain = parser().parse_args(container["args"]).drain_seconds
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod.get("terminationGracePeriodSeconds", 30) >= pause + drain + END_SECONDS
    (deployment, _), *_ = _containers()
    assert deployment["terminationGracePeriodSeconds"] >= 60
