"""A pipeline with all its arguments, on this computer: run it, or run it once per trigger."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from masd.config import Settings
from masd.data.data_sets import fingerprint, glance, training_bytes
from masd.data.findings import counted
from masd.errors import one_line
from masd.lifecycle.monitoring import ALARMS, windows
from masd.lifecycle.retraining import HeldBack
from masd.lifecycle.triggers import Outcome, once
from masd.progress import print_line
from masd.registry.registry import Registry
from masd.storage.opening import absolute_url, open_store
from pipelines.local.process import Runner, Say
from pipelines.local.run import MachineVerdict, TrainingRun, run_monitoring, run_training

PipelineName = Literal["training", "monitoring"]
FAILED = 1
"""Exit code if a machine was left out because no model can be trained on its recordings."""

REFUSED = 3
"""Exit code if the gate refused a machine, now or at its last training with nothing changed since: the drifted model
still serves.
"""


@dataclass(frozen=True)
class PipelineJob:
    """Training or, with an inference ``log``, monitoring. Without ``machines``: all below ``data``."""

    data: str
    machines: Sequence[str]
    settings: Settings
    out: Path
    registry: str
    log: str | None = None
    runner: Runner = "subprocess"

    @property
    def pipeline(self) -> PipelineName:
        return "training" if self.log is None else "monitoring"

    def run(self, say: Say = print_line) -> tuple[int, str]:
        """Returns an exit code (0, :data:`FAILED` or :data:`REFUSED`) and a text about the outcome.

        :raises MasdError: as :func:`~pipelines.local.run.run_training`.
        """
        where = (self.data, self.machines)
        how: dict[str, Any] = {"registry": self.registry, "runner": self.runner, "say": say}
        if self.log is None:
            return _result(run_training(*where, self.settings, self.out, **how), self.registry, [])
        ran = run_monitoring(*where, self.log, self.settings, self.out, **how)
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(ran.drift.glob("*/verdict.json"))]
        lines = [f"{ran.drift}: {counted(len(found), 'machine')} checked"] + [verdict["sentence"] for verdict in found]
        lines += _alarm_lines(json.loads((ran.alarms / ALARMS).read_text(encoding="utf-8")))
        return _result(ran.training, self.registry, lines, ran.held_back)

    def once(self, say: Say = print_line) -> Outcome:
        """:meth:`run`, unless that was done for the same recordings (monitoring: also the same window of the log and
        the same versions in production) with the same settings.
        """
        chosen = list(self.machines) or list(training_bytes(self.data))
        about: dict[str, Any] = {
            "pipeline": self.pipeline,
            "machines": sorted(chosen),
            "settings": self._settings(),
            "recordings": fingerprint(self.data, chosen),
        }
        if self.log is None:
            return self._once("recordings", about, say)
        in_production = Registry.open(self.registry).look().production  # past machines whose pointer is damaged
        production = {machine: in_production[machine] for machine in chosen if machine in in_production}
        heard = windows(production, absolute_url(self.log), self.registry)
        return self._once("window of the log", about | {"production": production, "windows": heard}, say)

    def once_for(self, timetable: str, slot: datetime, say: Say = print_line) -> Outcome:
        """:meth:`run`, unless it has been done for this time of a schedule."""
        about = {
            "pipeline": self.pipeline,
            "machines": sorted(self.machines),
            "settings": self._settings(),
            "data": absolute_url(self.data),
            "timetable": timetable,
            "slot": slot.isoformat(),
        }
        return self._once("slot", about, say)

    def glance(self) -> str:
        """A string that changes when there may be new recordings; it reads none of them."""
        return glance(self.data)

    def _once(self, kind: str, about: dict[str, Any], say: Say) -> Outcome:
        return once(open_store(self.registry), kind, about, lambda: self.run(say))

    def _settings(self) -> str:
        return hashlib.sha256(self.settings.to_yaml().encode()).hexdigest()


def describe(outcome: Outcome) -> str:
    """A text about the outcome of :meth:`PipelineJob.once`."""
    record = outcome.record
    if outcome.started:
        return record.outcome
    same, by = (
        f"a run for the same {record.kind}",
        f"{one_line(record.actor)} started it on {record.host} at {record.begun}",
    )
    if record.state == "running":
        return f"nothing was started: {same} is in progress; {by}"
    return f"nothing was started: {same} has already ended; {by}; its result:\n{record.outcome}"


def _alarm_lines(step: dict[str, Any]) -> list[str]:
    on = [f"{one['machine_type']} since {one['since']}" for one in step["machines"] if one["state"] == "alarm"]
    failed = [f"{machine}: alarms were not checked: {reason}" for machine, reason in step["failed"].items()]
    return [f"in alarm: {', '.join(on) or 'none'}", *failed]


def _result(
    training: TrainingRun | None, registry: str, lines: list[str], held_back: Sequence[HeldBack] = ()
) -> tuple[int, str]:
    machines: list[HeldBack | MachineVerdict] = [*held_back, *(training.verdicts if training else ())]
    lines += [one.sentence for one in machines]
    failed = training.failed if training else ()
    lines += [f"{one.machine}: not trained: {one.reason}" for one in failed]
    if training is not None:
        lines += [f"report: {training.report}", f"registry: {registry}"]
    refused = REFUSED if any(one.refused for one in machines) else 0
    return (FAILED if failed else refused), "\n".join(lines)
