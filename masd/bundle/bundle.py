"""The bundle: the one artefact of training, a folder with a manifest that has the digest of every other file."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from masd.arrays import named, owned
from masd.bundle.manifest import FILES, NETWORK, Manifest, code_version, load_manifest, write_manifest
from masd.config import Settings
from masd.data.machine_name import check_machine_name
from masd.detection.detectors import Detectors
from masd.detection.scorer import Scorer
from masd.detection.trained_on.expected_bands import ExpectedBands
from masd.detection.trained_on.warning_codes import TrainedOn
from masd.errors import MasdError, one_line
from masd.evaluation.residuals import UsualResidual
from masd.files import json_text, replacing_folder, sha256
from masd.learning.trained import TrainedNetwork, network_tensors, restore_network

CLIP_SECONDS = "clip_seconds"
USUAL = "usual_residual"
EXPECTED = "expected"
EXPECTED_FAR = "expected_far"
"""Names of other tensors in ``detectors.safetensors``."""

DCASE_CLIP_SECONDS = np.array(10.0)
"""Length of the training clips, for bundles that do not store it."""

LIBRARIES = ("numpy", "onnxruntime", "scikit-learn", "scipy", "torch")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to score; an old one, without data for explanations, has no ``usual``."""

    folder: Path
    manifest: Manifest
    settings: Settings
    scorer: Scorer
    history: list[dict[str, float]]
    usual: UsualResidual | None


def save_bundle(
    out: Path,
    *,
    settings: Settings,
    machine_type: str,
    data_fingerprint: str,
    recordings: str,
    trained: TrainedNetwork,
    detectors: Detectors,
    reference: pd.DataFrame,
    usual: UsualResidual | None,
    trained_on: TrainedOn,
    expected: ExpectedBands,
    expected_far: ExpectedBands | None = None,
) -> Manifest:
    """Write a bundle folder, complete or not at all."""
    check_machine_name(machine_type)
    with replacing_folder(out) as staged:
        (staged / "config.yaml").write_text(settings.to_yaml(), encoding="utf-8")
        weights = network_tensors(trained, [machine_type])
        files = [name for name in FILES if name != NETWORK or trained.network is not None]
        arrays = {name: array.copy(order="C") for name, array in detectors.tensors().items()}
        arrays[CLIP_SECONDS] = np.array(float(reference["duration_s"].median()))
        if usual is not None:
            arrays |= named(USUAL, {"mean": usual.mean, "spread": usual.spread})
        arrays |= named(EXPECTED, expected.tensors())
        if expected_far is not None:
            arrays |= named(EXPECTED_FAR, expected_far.tensors())
        if NETWORK in files:
            save_tensors(weights, staged / NETWORK)
        else:  # there are no weights, only the normalisation
            arrays |= {name: tensor.numpy() for name, tensor in weights.items()}
        save_arrays(arrays, staged / "detectors.safetensors")
        reference.to_parquet(staged / "reference.parquet", index=False)
        (staged / "history.json").write_text(json_text(trained.history), encoding="utf-8")
        manifest = Manifest(
            machine_type=machine_type,
            data_fingerprint=data_fingerprint,
            recordings=recordings,
            calibration=_calibration(detectors, settings),
            classes=trained.class_names,
            trained_on=asdict(trained_on),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            code_version=code_version(),
            libraries={name: version(name) for name in LIBRARIES},
            files={name: sha256(staged / name) for name in files},
        )
        write_manifest(staged, manifest)
    return manifest


def _calibration(detectors: Detectors, settings: Settings) -> dict[str, float]:
    found = detectors.calibrations.get(settings.detection.system)
    return {} if found is None else found.to_dict()


def _mapped(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file, which is mapped into memory: all processes share the pages, and the kernel drops those that
    were not used for longest where memory is short, and reads them again.
    """
    return {name: tensor.numpy() for name, tensor in load_tensors(file).items()}


def load_bundle(folder: Path) -> Bundle:
    """Verify and load a bundle. Its files must not be changed in place while it is used; removing them is fine.

    :raises MasdError: see :func:`load_manifest`; or contents that do not fit together.
    """
    manifest = load_manifest(folder)
    settings = Settings.from_yaml((folder / "config.yaml").read_text(encoding="utf-8"), str(folder / "config.yaml"))
    try:
        history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        has_network = NETWORK in manifest.files
        arrays = _mapped(folder / "detectors.safetensors")
        if has_network:
            trained = restore_network(load_tensors(folder / NETWORK), settings.network, manifest.classes, history)
        else:
            normalisation = named("normalisation", owned("normalisation", arrays))
            tensors = {name: torch.from_numpy(array) for name, array in normalisation.items()}
            trained = restore_network(tensors, None, manifest.classes, history)
        detectors = Detectors.from_tensors(arrays, has_network=has_network)
        if settings.detection.system not in detectors.systems:
            raise KeyError(settings.detection.system)
        clip_seconds = float(arrays.get(CLIP_SECONDS, DCASE_CLIP_SECONDS))
        expected, expected_far = (
            ExpectedBands.from_tensors(own) if own else None
            for own in (owned(EXPECTED, arrays), owned(EXPECTED_FAR, arrays))
        )
        trained_on = TrainedOn.from_json(manifest.trained_on)
        scorer = Scorer(
            settings,
            manifest.machine_type,
            trained,
            detectors,
            manifest.version,
            clip_seconds,
            trained_on,
            expected,
            expected_far,
        )
        known = f"{USUAL}.mean" in arrays
        usual = UsualResidual(arrays[f"{USUAL}.mean"], arrays[f"{USUAL}.spread"]) if known else None
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise MasdError(
            f"{folder}: its files do not belong together ({one_line(error, 160)}); fetch it or train it again"
        ) from error
    return Bundle(folder, manifest, settings, scorer, history, usual)
