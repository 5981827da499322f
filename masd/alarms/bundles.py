"""Store a calibration inside a bundle, as arrays beside the detectors', so that it is versioned with the model."""

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from masd.alarms.calibration import ALL
from masd.alarms.commissioning.commission import Commissioning
from masd.bundle.manifest import load_manifest, write_manifest
from masd.config import Settings
from masd.errors import MasdError, one_line
from masd.files import replacing_folder, sha256

DETECTORS, PREFIX, ABOUT = "detectors.safetensors", "calibration.", "calibration:about"


@dataclass(frozen=True)
class Calibrated:
    """Normal scores by domain; ``asked`` (None if no rate was set) and ``block`` as in :class:`Commissioning`."""

    scores: dict[str, list[float]]
    asked: float | None
    block: int


def calibrated_bundle(bundle: Path, found: Commissioning, out: Path) -> None:
    """Write ``bundle`` to ``out`` with the scores and the threshold of ``found``; network and detectors stay the same.

    :raises MasdError: a broken bundle, or one of another machine.
    """
    manifest = load_manifest(bundle)
    if manifest.machine_type != found.machine_type:
        raise MasdError(
            f"{bundle}: is a model of {manifest.machine_type}, the window of {found.machine_type}; give its own bundle"
        )
    config = bundle / "config.yaml"
    system = Settings.from_yaml(config.read_text(encoding="utf-8"), str(config)).detection.system
    with replacing_folder(out) as staged:
        for name in manifest.files:
            shutil.copyfile(bundle / name, staged / name)
        arrays = {name: array for name, array in load_file(bundle / DETECTORS).items() if not _is_calibration(name)}
        arrays[f"{system}.threshold"] = np.array(found.threshold)
        arrays.pop(f"{system}.calibration", None)  # of the threshold that training gave
        for domain, scores in found.scores.items():
            arrays[f"{PREFIX}{domain or ALL}"] = np.array(scores)
        arrays[ABOUT] = np.array([found.asked, float(found.block)])
        save_file(arrays, staged / DETECTORS)
        files = {**manifest.files, DETECTORS: sha256(staged / DETECTORS)}
        created = datetime.now(UTC).isoformat(timespec="seconds")
        write_manifest(staged, replace(manifest, created=created, files=files, calibration={}))


def calibration_of(bundle: Path) -> Calibrated:
    """The calibration of a bundle or, if it has none, the held-out scores of the training clips. These are of both
    domains together, because only the clips in the log have a domain.

    :raises MasdError: neither is there.
    """
    try:
        with safe_open(bundle / DETECTORS, framework="numpy") as arrays:
            names = list(arrays.keys())
            if ABOUT in names:
                asked, block = arrays.get_tensor(ABOUT).tolist()
                scores = {n.removeprefix(PREFIX): arrays.get_tensor(n).tolist() for n in names if n.startswith(PREFIX)}
                return Calibrated(scores, asked, int(block))
        held_out = pd.read_parquet(bundle / "reference.parquet", columns=["score"])["score"].dropna()
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise MasdError(
            f"{bundle}: has no normal scores that alarms can compare with ({one_line(error, 160)}); calibrate it with "
            "masd registry calibrate, or train it again"
        ) from error
    return Calibrated({ALL: held_out.tolist()}, None, 1)


def _is_calibration(name: str) -> bool:
    return name.startswith(PREFIX) or name == ABOUT
