"""What the server itself knows, beside TorchServe's metrics, in Prometheus' text format."""

from typing import Any

from masd.alarms.exposition import metric
from serving.front.traffic import Traffic


def status_metrics(status: dict[str, Any], traffic: Traffic) -> str:
    """Of the server's :meth:`status` and the front's own traffic; a metric without a sample is left out."""
    models: dict[str, Any] = status.get("models", {})
    behind = [
        ({"ModelName": name, "ModelVersion": model["serving"] or ""}, int(model["serving"] != model["wanted"]))
        for name, model in models.items()
        if model["wanted"] is not None
    ]
    loops: dict[str, Any] = status.get("loops", {})
    succeeded = [
        ({"Loop": name}, loop["last_success"]) for name, loop in loops.items() if loop["last_success"] is not None
    ]
    probed = [
        ({"ModelName": name}, probe["last_answer"])
        for name, probe in status.get("probes", {}).items()
        if probe["last_answer"] is not None
    ]
    refused = [({"Reason": error}, count) for error, count in sorted(traffic.refused.items())]
    return (
        metric("masd_ready", "gauge", "1 while every served model answers", [({}, int(status["ready"]))])
        + metric("masd_model_behind", "gauge", "1 while the served version is not the one in production", behind)
        + metric(
            "masd_loop_last_success_seconds",
            "gauge",
            "Time of the last success of a loop, in seconds since 1970",
            succeeded,
        )
        + metric(
            "masd_probe_last_answer_seconds",
            "gauge",
            "Time of the last answer of a model to a probe, in seconds since 1970",
            probed,
        )
        + metric("masd_refused_total", "counter", "Requests that were refused before they reached TorchServe", refused)
    )
