"""Which machines of a fleet have drifted?"""

import logging
from collections.abc import Sequence
from pathlib import Path

from masd.bundle.manifest import OtherSchemaError
from masd.drift.check import check_drift
from masd.drift.log import NothingLoggedError
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage.protocol import StoreError

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

    A machine without a version in production, or without a clip in the log, is passed over with a warning, and so is
    one whose version is damaged or of another schema: it must not keep the others from being watched.

    :raises MasdError: a log that is not there or is no inference log.
    """
    out.mkdir(parents=True, exist_ok=True)
    models = Registry.open(registry)
    drifted = []
    for machine in machines:
        try:
            version = models.channel(machine, "production")
            if version is None:
                log.warning("%s has no version in production: nothing to compare with", machine)
                continue
            bundle = models.fetch(machine, version)
        except StoreError:
            raise
        except MasdError as error:
            log.warning("%s is not looked at: %s", machine, error)
            continue
        try:
            verdict = check_drift(bundle, inference_log, out / machine, workspace=workspace, since=since)
        except (NothingLoggedError, OtherSchemaError) as nothing:
            log.warning("%s: %s", machine, nothing)
            continue
        if verdict.verdict == "drift":
            drifted.append(machine)
    return drifted
