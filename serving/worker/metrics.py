"""Prometheus metrics of the workers: what is declared to TorchServe, and how a worker counts.

TorchServe silently drops metrics that are not declared, and gives every histogram the same buckets, from 0.005 to 10.
They suit seconds, and scores as a multiple of the threshold: 1 is the border of the decision.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from masd.detection.result import ClipScore

METRICS_FILE = "metrics.yaml"

Labels = dict[str, tuple[str, ...]]

# name -> its labels, besides ModelName (the machine type), Level and Hostname
COUNTERS: Labels = {
    "masd_clips_total": ("ModelVersion", "Decision"),
    "masd_clip_seconds_total": ("ModelVersion",),
    "masd_rejects_total": ("Reason",),
    "masd_log_dropped_total": (),
}
HISTOGRAMS: Labels = {
    "masd_score_to_threshold": ("ModelVersion",),
    "masd_stage_seconds": ("Stage",),
}
GAUGES: Labels = {"masd_log_waiting_bytes": ()}

_TORCHSERVE: dict[str, Labels] = {
    "counter": {
        **dict.fromkeys(("Requests2XX", "Requests4XX", "Requests5XX"), ("Level", "Hostname")),
        **dict.fromkeys(
            ("ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds"),
            ("model_name", "model_version", "hostname"),
        ),
    },
    "gauge": {
        **dict.fromkeys(("QueueTime", "WorkerThreadTime"), ("Level", "Hostname")),
        "WorkerLoadTime": ("WorkerName", "Level", "Hostname"),
    },
}
"""TorchServe's own, as it declares them itself: the file replaces its own list."""


def declarations() -> str:
    """The content of TorchServe's ``metrics_config`` file."""
    ours = {
        "counter": COUNTERS,
        "histogram": HISTOGRAMS,
        "gauge": {**GAUGES, "HandlerTime": (), "PredictionTime": ()},
    }
    model = {
        kind: {name: (*labels, "ModelName", "Level") for name, labels in metrics.items()}
        for kind, metrics in ours.items()
    }
    return yaml.safe_dump({"ts_metrics": _listed(_TORCHSERVE), "model_metrics": _listed(model)}, sort_keys=False)


def _listed(kinds: dict[str, Labels]) -> dict[str, list[dict[str, Any]]]:
    return {
        kind: [{"name": name, "unit": "count", "dimensions": list(labels)} for name, labels in metrics.items()]
        for kind, metrics in kinds.items()
    }


class BatchMetrics:
    """The metrics of one batch: counted here, and reported to TorchServe once at the end: each line costs it work."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._observed: list[tuple[str, tuple[str, ...], float]] = []
        self._gauges: dict[str, float] = {}

    def scored(self, scores: Iterable[ClipScore]) -> None:
        """Clips that got a score."""
        for score in scores:
            version, decision = score.model_version, "anomalous" if score.anomalous else "normal"
            self._counts["masd_clips_total", version, decision] += 1
            self._counts["masd_clip_seconds_total", version] += score.duration_s  # type: ignore[assignment]
            if score.threshold > 0:  # a caller may ask for any threshold, and no score is a multiple of -1
                self._observed.append(("masd_score_to_threshold", (version,), score.score / score.threshold))

    def rejected(self, reason: str) -> None:
        """A request that got an error instead; ``reason`` is the ``error`` of its answer."""
        self._counts["masd_rejects_total", reason] += 1

    def log(self, dropped: int, waiting_bytes: int) -> None:
        """Records of the inference log that were lost at its limit, and bytes that wait to be shipped."""
        self._counts[("masd_log_dropped_total",)] += dropped
        self._gauges["masd_log_waiting_bytes"] = waiting_bytes

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a part of the work on the whole batch."""
        begin = time.perf_counter()
        yield
        self._observed.append(("masd_stage_seconds", (name,), time.perf_counter() - begin))

    def tell(self, metrics: Any) -> None:
        """Hand everything to ``context.metrics`` of the worker, which a test may not have."""
        if metrics is None:
            return
        from ts.metrics.dimension import Dimension
        from ts.metrics.metric_type_enum import MetricTypes

        def dimensions(names: tuple[str, ...], values: tuple[str, ...]) -> list[Any]:
            return [Dimension(name, value) for name, value in zip(names, values, strict=True)]

        for (name, *labels), count in self._counts.items():
            if count:
                metrics.add_counter(name, round(count, 3), 0, dimensions(COUNTERS[name], tuple(labels)))
        for name, values, number in self._observed:
            labels_of = dimensions(HISTOGRAMS[name], values)
            metrics.add_metric(name, round(number, 6), "count", 0, labels_of, MetricTypes.HISTOGRAM)
        for name, number in self._gauges.items():
            metrics.add_metric(name, number, "count", 0, [], MetricTypes.GAUGE)
