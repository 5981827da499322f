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
        + metric("masd_model_behind", "gauge", "1 while another version serves than production names", behind)
        + metric("masd_loop_last_success_seconds", "gauge", "When a loop last went well, since 1970", succeeded)
        + metric("masd_probe_last_answer_seconds", "gauge", "When a model last answered a probe, since 1970", probed)
        + metric("masd_refused_total", "counter", "Requests that were refused before TorchServe saw them", refused)
    )
