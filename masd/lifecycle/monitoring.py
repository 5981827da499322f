"""Which machines of a fleet have drifted?"""

import logging
from collections.abc import Sequence
from pathlib import Path

from masd.lifecycle.drift import check_drift
from masd.lifecycle.drift_log import NothingLoggedError
from masd.lifecycle.registry import Registry

log = logging.getLogger(__name__)


def drifted_machines(machines: Sequence[str], inference_log: Path, registry: str, out: Path) -> list[str]:
    """Check each machine's version in production against the log; drift reports go to ``out/<machine>``.

    A machine without a version in production, or without a clip in the log, is passed over with a warning: an idle
    machine must not keep the others from being watched.

    :raises MasdError: a log that is not there or is no inference log.
    """
    out.mkdir(parents=True, exist_ok=True)
    models = Registry.open(registry)
    drifted = []
    for machine in machines:
        version = models.channel(machine, "production")
        if version is None:
            log.warning("%s has no version in production: nothing to compare with", machine)
            continue
        try:
            verdict = check_drift(models.fetch(machine, version), inference_log, out / machine)
        except NothingLoggedError as nothing:
            log.warning("%s: %s", machine, nothing)
            continue
        if verdict.verdict == "drift":
            drifted.append(machine)
    return drifted
