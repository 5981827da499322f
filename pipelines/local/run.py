"""Run the pipelines on this computer, without a cluster."""

import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masd.config import Settings
from masd.data.check.machines import unfit_machines
from masd.data.data_sets import training_bytes
from masd.errors import MasdError
from masd.lifecycle.retraining import HELD_BACK, HeldBack
from masd.progress import print_line
from masd.storage.opening import absolute_url
from pipelines.local.containers import check_engine
from pipelines.local.process import (
    LOG,
    STEPS,
    Runner,
    Say,
    StepsFailedError,
    run_pipeline,
    working_folder,
)

RESERVED = frozenset({"alarms", "drift", "registry", STEPS})


@dataclass(frozen=True)
class MachineVerdict:
    """The gate's decision on one machine's new version; ``folder`` holds its evaluation.

    ``decision`` is "promote", "ask" (the version waits for a person's approval) or "refuse".
    """

    machine: str
    decision: str
    sentence: str
    folder: Path

    @property
    def refused(self) -> bool:
        return self.decision == "refuse"


@dataclass(frozen=True)
class MachineFailure:
    """A machine that was not trained, and why."""

    machine: str
    reason: str


@dataclass(frozen=True)
class TrainingRun:
    """The result of a training pipeline, with any decisions of the gates. ``failed`` are the machines that were left
    out, because their recordings cannot be trained on.
    """

    verdicts: tuple[MachineVerdict, ...]
    failed: tuple[MachineFailure, ...]
    report: Path
    summary: Path
    registry: str
    log: Path
    seconds: float


@dataclass(frozen=True)
class MonitoringRun:
    """The result of a monitoring pipeline; ``training`` is set if a machine was trained again. ``held_back`` are the
    machines that have drifted but were not trained. ``alarms`` has the file of
    :func:`masd.lifecycle.monitoring.machines_in_alarm`.
    """

    alarms: Path
    drift: Path
    held_back: tuple[HeldBack, ...]
    training: TrainingRun | None
    log: Path
    seconds: float


def run_training(
    data: str | Path,
    machines: Sequence[str],
    settings: Settings,
    out: Path,
    *,
    registry: str | None = None,
    runner: Runner = "subprocess",
    say: Say = print_line,
) -> TrainingRun:
    """Train, gate and ship every machine below ``data``, and write one report.

    ``out`` gets ``report.html``, ``summary.json``, ``pipeline.log``, a folder per machine (``metrics.json``,
    ``verdict.json``, ``report.html``, ``comparison.html``, result files) and, unless ``registry`` names another, the
    model registry ``out/registry``. A second run into the same ``out`` adds versions to the registry and takes the
    place of the first run's results; until it has ended well those stay as they were. The outputs of single
    steps are kept, in ``out/steps``, only when a step has failed. Two machines are worked on at a time.

    Names and folders of all machines are checked before the first step. A machine whose recordings cannot be used is
    left out, and named in the report and in the answer. A failed step of one machine does not stop the others: their
    versions are registered and the report is written, with the failure in it, before the error is raised.

    :param data: a folder or ``s3://bucket/prefix`` with one folder per machine.
    :param machines: machine types; none: all below ``data``.
    :param registry: a path, ``file://`` or ``s3://bucket/prefix``.
    :param runner: steps as processes of this environment, or as containers of ``MASD_IMAGE`` on a Docker engine.
    :param say: is given one line of progress at a time.
    :raises MasdError: no machine that can be trained, ``out`` in use, no Docker engine or image, or a failed step
        (named, with its error).
    """
    start = time.monotonic()
    root = _registry(registry, out)
    fit, failed = _fit(data, machines, settings, out)
    for machine, reason in failed.items():
        say(f"{machine} is left out: {reason}")
    arguments = {
        "data": absolute_url(str(data)),
        "machines": fit,
        "registry": root,
        "config": settings.to_yaml(),
    }
    order = _order("training", runner, arguments)
    with working_folder(out.resolve()) as steps:
        try:
            run_pipeline(order, steps, say)
        except StepsFailedError as error:
            if not error.machines or not (finished := _finished(steps, error.machines)):
                raise
            failed |= {machine: str(error) for machine in error.machines}
            run = _publish(steps, _gather(steps, finished, failed), root, start, failed)
            raise MasdError(f"{error}; the report of the other machines is {run.report}") from error
        report = _gather(steps, _finished(steps), failed) if failed else _output(steps, "report")
        return _publish(steps, report, root, start, failed)


def run_monitoring(
    data: str | Path,
    machines: Sequence[str],
    log: str | Path,
    settings: Settings,
    out: Path,
    *,
    registry: str,
    runner: Runner = "subprocess",
    say: Say = print_line,
) -> MonitoringRun:
    """Take an alarm step over an inference log and check the log for drift; train the drifted machines as
    :func:`run_training` does, unless the result would be the same as last time (:mod:`masd.lifecycle.retraining`).

    ``log`` is a file, a folder or ``s3://bucket/prefix``.

    ``out/alarms`` gets ``alarms.json``, ``out/drift/<machine>`` the drift reports, and ``held_back.json`` where nothing
    was trained.

    :raises MasdError: as :func:`run_training`, and for a log that cannot be used.
    """
    start = time.monotonic()
    root = _registry(registry, out)
    arguments = {
        "data": absolute_url(str(data)),
        "machines": _chosen(data, machines, out),
        "log": absolute_url(str(log)),
        "registry": root,
        "config": settings.to_yaml(),
    }
    order = _order("monitoring", runner, arguments)
    out = out.resolve()
    with working_folder(out) as steps:
        run_pipeline(order, steps, say)
        for name in ("alarms", "drift"):
            shutil.rmtree(out / name, ignore_errors=True)
            _output(steps, name).replace(out / name)
        retrained = any(steps.glob("masd-*/report"))
        training = _publish(steps, _output(steps, "report"), root, start, {}) if retrained else None
    held_back = tuple(map(HeldBack.read, sorted((out / "drift").glob(f"*/{HELD_BACK}"))))
    return MonitoringRun(out / "alarms", out / "drift", held_back, training, out / LOG, time.monotonic() - start)


def _order(pipeline: str, runner: Runner, arguments: dict[str, Any]) -> dict[str, Any]:
    if runner == "docker":
        from components.base import IMAGE

        check_engine(IMAGE)
        if (registry := Path(arguments["registry"])).is_absolute():
            registry.mkdir(parents=True, exist_ok=True)  # only what is there can be mounted
    return {"pipeline": pipeline, "runner": runner, "arguments": arguments}


def _chosen(data: str | Path, machines: Sequence[str], out: Path) -> list[str]:
    known = training_bytes(data)
    if unknown := sorted(set(machines) - set(known)):
        raise MasdError(f"{data}: has no machine {', '.join(unknown)}; it has {', '.join(known)}")
    chosen = list(dict.fromkeys(machines)) or list(known)
    for machine in chosen:
        if machine in RESERVED:
            raise MasdError(
                f"{data}: no machine can be named {machine}, because a folder of the results has this name; rename it"
            )
        if (out / machine).exists() and not _is_result(out / machine):
            raise MasdError(f"{out / machine}: exists, but is not the result of a run; choose another --out")
    # Most recordings first: the longest training then does not start when all others have ended.
    return sorted(chosen, key=lambda machine: -known[machine])


def _fit(data: str | Path, machines: Sequence[str], settings: Settings, out: Path) -> tuple[list[str], dict[str, str]]:
    """The machines to train, those with most recordings first, and the machines that cannot be trained, with the
    reason.

    :raises MasdError: none can be.
    """
    known = training_bytes(data)
    chosen = list(dict.fromkeys(machines)) or list(known)
    bad: dict[str, str] = {}
    for machine in chosen:
        try:
            _chosen(data, [machine], out)
        except MasdError as error:
            bad[machine] = str(error)
    bad |= unfit_machines(data, [machine for machine in chosen if machine not in bad], settings)
    if len(bad) == len(chosen):
        raise MasdError("; ".join(bad.values()))
    return sorted((machine for machine in chosen if machine not in bad), key=lambda machine: -known[machine]), bad


def _finished(steps: Path, failed: Collection[str] = ()) -> list[tuple[Path, Path, Path]]:
    """Evaluation, verdict and comparison of every machine that completed all steps."""
    # kfp.local lays them out as <pipeline>-<time>/<iteration of the loop>/<task>/<output>
    found = []
    for evaluation in sorted(steps.glob("masd-*/for-loop-*/evaluate/evaluation")):
        judged = evaluation.parent.parent / "gate"
        about = (evaluation, judged / "verdict", judged / "comparison")
        if all(path.exists() for path in about) and _machine_of(evaluation) not in failed:
            found.append(about)
    return found


def _machine_of(evaluation: Path) -> str:
    metrics: dict[str, Any] = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    return str(metrics["machine_type"])


def _gather(steps: Path, finished: Sequence[tuple[Path, Path, Path]], failed: Mapping[str, str]) -> Path:
    """Write the report again, including the machines that the report step does not know."""
    from masd.evaluation.pages.summary import write_summary

    evaluations, verdicts, comparisons = zip(*finished, strict=True)
    out = steps / "gathered"
    write_summary(evaluations, verdicts, out, comparisons, failed)
    return out


def _is_result(folder: Path) -> bool:
    return (folder / "metrics.json").is_file() and (folder / "verdict.json").is_file()


def _registry(url: str | None, out: Path) -> str:
    """The URL in absolute form, because the tasks run in another folder."""
    return absolute_url(url or str(out / "registry"))


def _publish(steps: Path, report: Path, registry: str, start: float, failed: Mapping[str, str]) -> TrainingRun:
    """Move the report and the machines' folders from ``report`` to ``out``."""
    out = steps.parent
    # The machines' folders first, then the pages that link to them.
    gathered = sorted(report.iterdir(), key=Path.is_file)
    for folder in out.iterdir():  # the results of a run before this one
        if _is_result(folder):
            shutil.rmtree(folder)
    verdicts = []
    for item in gathered:
        target = item.replace(out / item.name)
        if target.is_dir():
            verdict = json.loads((target / "verdict.json").read_text(encoding="utf-8"))
            verdicts.append(MachineVerdict(target.name, verdict["decision"], verdict["sentence"], target))
    verdicts.sort(key=lambda verdict: verdict.machine)
    return TrainingRun(
        verdicts=tuple(verdicts),
        failed=tuple(MachineFailure(machine, reason) for machine, reason in sorted(failed.items())),
        report=out / "report.html",
        summary=out / "summary.json",
        registry=registry,
        log=out / LOG,
        seconds=time.monotonic() - start,
    )


def _output(steps: Path, name: str) -> Path:
    """The output of a task that has the name of the task."""
    # kfp.local lays them out as <pipeline>-<time>/<task>/<output>
    (found,) = steps.glob(f"masd-*/{name}/{name}")
    return found
