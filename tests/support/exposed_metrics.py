"""The names of all metrics that masd gives to Prometheus, from the code that writes them."""

import json
import re
from pathlib import Path

from masd.alarms.metrics import Gauges
from masd.alarms.step import Outcome
from masd.alarms.summary import Summary
from masd.drift.history import DriftCheck, history_key
from masd.storage.opening import open_store
from serving.front.metrics import status_metrics
from serving.front.traffic import Traffic
from serving.worker.metrics import COUNTERS, GAUGES, HISTOGRAMS

STATUS = {
    "ready": True,
    "models": {"fan": {"serving": "1", "wanted": "1"}},
    "loops": {"registry": {"last_success": 1.0}},
    "probes": {"fan": {"last_answer": 1.0}},
}


def server_metrics() -> set[str]:
    """Of ``masd serve``; TorchServe's own are not among them."""
    histograms = {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count")}
    return {*COUNTERS, *GAUGES, *histograms, *_names(status_metrics(STATUS, Traffic()))}


def alarm_metrics(folder: Path) -> set[str]:
    """Of ``masd alarms``; ``folder`` is an empty one."""
    drift = open_store(str(folder))
    check = DriftCheck("2026-01-05T02:00:00+00:00", "1", "drift", 500, (), "")
    drift.write(history_key("fan"), json.dumps([check._asdict()]).encode())
    gauges = Gauges(drift)
    time = "2026-01-05T00:00:00+00:00"
    known = Summary("fan", "1", "normal", "", False, 1.0, 1000.0, 1, time, False, {}, {}, 0)
    gauges.take(Outcome([], [known], {}))
    return _names(gauges.text)


def named(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(?:masd_|ts_|Requests)\w+|\bup\b", expression))


def _names(text: str) -> set[str]:
    return set(re.findall(r"^(\w+)\{", text, re.MULTILINE))
