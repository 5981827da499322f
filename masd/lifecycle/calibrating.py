"""Make a new version of the model in production, calibrated with the inference log."""

from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path

from masd.alarms.bundles import calibrated_bundle
from masd.alarms.commissioning.commission import Commissioning, commission
from masd.alarms.commissioning.doubts import Doubt
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage.cache import temporary_folder

MENDS: dict[Doubt, str] = {
    "silence": "some clips are silent",
    "drift": "its first and its second half differ",
    "alarms": "the alarm rule finds alarms in it",
}


def calibrate(
    registry: str,
    machine: str,
    log: str,
    asked: float,
    *,
    since: str = "",
    until: str = "",
    leave_out: Collection[str] = (),
    despite: Collection[Doubt] = (),
    build: Callable[[Path, str], None] | None = None,
) -> tuple[str, Commissioning]:
    """Register the model in production as a new version, with a calibration from a window of ``log``; returns the
    version.

    It becomes the candidate. Nothing is trained, so it has the metrics of the version in production. The record of the
    registration names the window.

    :param asked: false alarms per clip; window and ``leave_out`` as for
        :func:`masd.alarms.commissioning.commission.commission`.
    :param despite: doubts about the window that a person has checked; silent clips and clips of an alarm are then left
        out.
    :param build: adds the archive, as for :meth:`Registry.register`.
    :raises MasdError: nothing in production, a window that cannot be used, or one in doubt.
    """
    models = Registry.open(registry)
    version = models.channel(machine, "production")
    if version is None:
        raise MasdError(f"{models.url}: {machine} has nothing in production to calibrate; promote a version first")
    bundle = models.fetch(machine, version)
    found = commission(log, machine, version, asked, since=since, until=until, leave_out=leave_out)
    if doubts := [name for name in found.doubts if name not in despite]:
        why = " and ".join(MENDS[name] for name in doubts)
        raise MasdError(
            f"{machine}: the window from {found.since} to {found.until} may not be normal: {why}; choose another "
            f"(--since, --until), or check it and add --despite {','.join(doubts)}"
        )
    about = {name: value for name, value in asdict(found).items() if name not in ("scores", "highest")}
    about |= {"from_version": version, "by_domain": {domain: len(own) for domain, own in found.scores.items()}}
    metrics = {**models.manifest(machine, version).metrics, "calibration": about}
    reason = f"version {version} calibrated with {found.clips} clips scored from {found.since} to {found.until}"
    with temporary_folder("calibrate") as folder:
        calibrated_bundle(bundle, found, folder / "bundle")
        return models.register(folder / "bundle", metrics=metrics, reason=reason, build=build), found
