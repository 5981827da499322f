"""Find the machines of a fleet that have drifted."""

import logging
from collections.abc import Sequence
from pathlib import Path

from masd.drift.check import check_drift
from masd.drift.log import NothingLoggedError, fetched
from masd.registry.registry import Registry

log = logging.getLogger(__name__)


def drifted_machines(
    machines: Sequence[str], inference_log: str, registry: str, out: Path, *, workspace: Path | None = None
) -> list[str]:
    """Check each machine's version in production against the log; drift reports go to ``out/<machine>``.

    ``inference_log`` is a file, a folder or ``s3://bucket/prefix``; ``workspace`` as in :func:`check_drift`.

    A machine without a version in production, or without a clip in the log, is skipped with a warning, so that an idle
    machine does not prevent the check of the others.

    :raises MasdError: there is no log, or it is not an inference log.
    """
    out.mkdir(parents=True, exist_ok=True)
    models = Registry.open(registry)
    drifted = []
    with fetched(inference_log) as heard:
        for machine in machines:
            version = models.channel(machine, "production")
            if version is None:
                log.warning("%s has no version in production: nothing to compare with", machine)
                continue
            try:
                bundle = models.fetch(machine, version)
                verdict = check_drift(bundle, heard, out / machine, workspace=workspace)
            except NothingLoggedError as nothing:
                log.warning("%s: %s", machine, nothing)
                continue
            if verdict.verdict == "drift":
                drifted.append(machine)
    return drifted
