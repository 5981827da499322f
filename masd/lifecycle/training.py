"""Recordings -> bundles, on this computer and without a registry: ``masd train``."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from masd.config import Settings
from masd.errors import MasdError
from masd.files import json_text, write_text
from masd.lifecycle import steps

if TYPE_CHECKING:
    from masd.learning.device import DeviceName

log = logging.getLogger(__name__)


def train(
    data: str, out: Path, settings: Settings, *, device: "DeviceName" = "auto", resume: bool = False
) -> Iterator[Path]:
    """Train on the machine's recordings ``data`` and write the bundle ``out``; yields each bundle when it is complete.

    With ``training.scope=fleet``, ``data`` holds a folder per machine and ``out`` gets a bundle per machine.
    Intermediate results are kept beside ``out`` until all is done, so that the run can be resumed.

    :raises MasdError: ``out`` is in use, or the run to resume has other recordings or settings.
    """
    from masd.data.data_sets import local_data, local_machine, training_bytes

    fleet = settings.training.scope == "fleet"
    if fleet:
        machines = list(training_bytes(data))
        root = local_data(data, machines).resolve()
    else:
        folder = local_machine(data)
        machines, root = [folder.name], folder.parent
    bundles = {machine: out / machine if fleet else out for machine in machines}
    work = out.parent / f"{out.name}.work"
    if existing := [folder for folder in bundles.values() if (folder / "manifest.json").exists()]:
        if len(existing) == len(bundles) and resume:
            log.warning("%s is already complete", out)
            shutil.rmtree(work, ignore_errors=True)  # what a run that was killed at its very end left
            return
        if not resume:
            raise MasdError(f"{existing[0]}: already contains a bundle; choose another --out or remove it")
    elif out.exists() and any(out.iterdir()):
        raise MasdError(f"{out}: is not empty and contains no bundle; choose another --out")
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    steps.featurize(root, machines, settings, work / "features")
    _check_same_order(work, machines, settings)
    network = work / "network"
    if not network.exists():
        steps.train(work / "features", machines, settings, network, device=device, resume=resume)
    for machine, bundle in bundles.items():
        if not bundle.exists():
            steps.fit_detectors(work / "features", machine, network, settings, bundle)
        yield bundle
    shutil.rmtree(work)


def _check_same_order(work: Path, machines: list[str], settings: Settings) -> None:
    """Note what is being trained; a run that is resumed must find the same data and settings.

    :raises MasdError: it does not.
    """
    from masd.data.store import FeatureStore

    order = {"settings": settings.model_dump(mode="json")}
    order["data"] = {machine: FeatureStore.open(work / "features" / machine).fingerprint for machine in machines}
    note, text = work / "order.json", json_text(order, indent=2)
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise MasdError(f"{work}: was started with other data or settings; train without --resume to start again")
    write_text(note, text)
