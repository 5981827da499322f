"""Find the machines of a fleet that have drifted, and those that are in alarm."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from masd.alarms.recipients import recipients
from masd.alarms.step import AlarmStep
from masd.bundle.manifest import OtherSchemaError
from masd.drift.check import check_drift, window_digest
from masd.drift.history import beside, remember
from masd.drift.log import NothingLoggedError
from masd.drift.verdict import DriftVerdict
from masd.errors import MasdError
from masd.files import json_text
from masd.registry.audit import now
from masd.registry.registry import Registry
from masd.storage.opening import open_store
from masd.storage.protocol import StoreError

ALARMS = "alarms.json"

log = logging.getLogger(__name__)


def drifted_machines(
    machines: Sequence[str],
    inference_log: str,
    registry: str,
    out: Path,
    *,
    workspace: Path | None = None,
    since: str = "",
) -> list[str]:
    """Check each machine's version in production against the log; drift reports go to ``out/<machine>``.

    ``inference_log`` is a file, a folder or ``s3://bucket/prefix``; ``workspace`` and ``since`` as in
    :func:`check_drift`.

    Each verdict is added to the machine's history in ``<log>-drift`` (:mod:`masd.drift.history`).

    A machine without a version in production, or without a clip in the log, is skipped with a warning, and so is one
    whose version is damaged or of another schema: it must not prevent the check of the others.

    :raises MasdError: there is no log, or it is not an inference log.
    """
    out.mkdir(parents=True, exist_ok=True)
    models = Registry.open(registry)
    drifted = []
    for machine in machines:
        try:
            version = models.channel(machine, "production")
            if version is None:
                log.warning(
                    "%s has no version in production, so drift was not checked; promote one with masd registry promote",
                    machine,
                )
                continue
            bundle = models.fetch(machine, version)
        except StoreError:
            raise
        except MasdError as error:
            log.warning("%s is not checked: %s", machine, error)
            continue
        try:
            verdict = check_drift(bundle, inference_log, out / machine, workspace=workspace, since=since)
        except (NothingLoggedError, OtherSchemaError) as nothing:
            log.warning("%s: %s", machine, nothing)
            continue
        _remember(inference_log, verdict)
        if verdict.verdict == "drift":
            drifted.append(machine)
    return drifted


def windows(production: Mapping[str, str], inference_log: str, registry: str) -> dict[str, str]:
    """Machine -> what changes when the clips do that a check of its version in ``production`` would compare.

    A machine without one is left out, and so is one that cannot be checked: the check itself says why.

    :raises StoreError: the log or the registry cannot be used.
    """
    models = Registry.open(registry)
    found = {}
    for machine, version in production.items():
        try:
            found[machine] = window_digest(models.fetch(machine, version), inference_log)
        except StoreError:
            raise
        except MasdError as error:
            log.debug("%s: no window of the log: %s", machine, error)
    return found


def _remember(inference_log: str, verdict: DriftVerdict) -> None:
    """A history that cannot be written, as beside a log that may only be read, costs a warning and no check."""
    try:
        remember(open_store(beside(inference_log, "drift")), verdict, now())
    except MasdError as error:
        log.warning("%s: the drift check was not added to the history: %s", verdict.machine_type, error)


def machines_in_alarm(machines: Sequence[str], inference_log: str, registry: str, out: Path) -> list[str]:
    """Take one alarm step (:mod:`masd.alarms.step`) with the recipients of the environment. ``out/alarms.json`` gets
    the events, the state of each machine, and what went wrong. Returns the machines that are in alarm.

    :raises MasdError: there is no log, or the registry cannot be used.
    """
    out.mkdir(parents=True, exist_ok=True)
    outcome = AlarmStep(registry, inference_log, recipients=recipients()).run(machines)
    content = {
        "events": [event.to_dict() for event in outcome.events],
        "machines": [asdict(one) for one in outcome.machines],
        "failed": outcome.failed,
    }
    (out / ALARMS).write_text(json_text(content), encoding="utf-8")
    return outcome.in_alarm
