"""The bundle: the one artefact of training, a folder whose every byte is vouched for by its manifest."""

import json
import re
import subprocess
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

import masd
from masd.config import Settings
from masd.detection.detectors import Detectors
from masd.detection.scorer import Scorer
from masd.errors import MasdError
from masd.files import replacing_folder, sha256, write_text
from masd.learning.trained import TrainedNetwork, network_tensors, restore_network

SCHEMA_VERSION = 1
UNREGISTERED = "0"
MACHINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
FILES = ("config.yaml", "network.safetensors", "detectors.safetensors", "reference.parquet", "history.json")
LIBRARIES = ("numpy", "scikit-learn", "scipy", "torch")


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``: what the bundle is, where it came from, and the SHA-256 of every other file."""

    machine_type: str
    data_fingerprint: str
    classes: list[str]
    schema_version: int = SCHEMA_VERSION
    version: str = UNREGISTERED
    created: str = ""
    code_version: str = ""
    libraries: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to score."""

    folder: Path
    manifest: Manifest
    settings: Settings
    scorer: Scorer
    history: list[dict[str, float]]


def check_machine_name(name: str) -> str:
    """:raises MasdError: a name that could not be a folder, a URL part and a model name alike."""
    if not MACHINE_NAME.fullmatch(name):
        raise MasdError(
            f"machine type {name!r}: use letters, digits, '-', '_' and '.', at most 64, first a letter or digit"
        )
    return name


def save_bundle(
    out: Path,
    *,
    settings: Settings,
    machine_type: str,
    data_fingerprint: str,
    trained: TrainedNetwork,
    detectors: Detectors,
    reference: pd.DataFrame,
) -> Manifest:
    """Write a bundle folder, whole or not at all."""
    check_machine_name(machine_type)
    with replacing_folder(out) as staged:
        (staged / "config.yaml").write_text(settings.to_yaml(), encoding="utf-8")
        save_tensors(network_tensors(trained, [machine_type]), staged / "network.safetensors")
        arrays = {name: array.copy(order="C") for name, array in detectors.tensors().items()}
        save_arrays(arrays, staged / "detectors.safetensors")
        reference.to_parquet(staged / "reference.parquet", index=False)
        (staged / "history.json").write_text(json.dumps(trained.history), encoding="utf-8")
        manifest = Manifest(
            machine_type=machine_type,
            data_fingerprint=data_fingerprint,
            classes=trained.class_names,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            code_version=code_version(),
            libraries={name: version(name) for name in LIBRARIES},
            files={name: sha256(staged / name) for name in FILES},
        )
        _write_manifest(staged, manifest)
    return manifest


def load_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` and check every file it names.

    :raises MasdError: not a bundle, a newer schema, or a file that is missing or not what was written.
    """
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema_version"]
        if schema > SCHEMA_VERSION:
            raise MasdError(
                f"{folder}: bundle schema {schema} is newer than this masd reads ({SCHEMA_VERSION}); upgrade masd"
            )
        manifest = Manifest(**content)
        check_machine_name(manifest.machine_type)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MasdError(f"{folder}: not a bundle ({' '.join(str(error).split())[:160]})") from error
    if set(manifest.files) != set(FILES):
        raise MasdError(f"{path}: must name exactly the files {', '.join(FILES)}")
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            raise MasdError(f"{folder / name}: missing from the bundle; fetch or train it again")
        if sha256(folder / name) != digest:
            raise MasdError(
                f"{folder / name}: is not what the manifest vouches for (SHA-256 differs); fetch or train it again"
            )
    return manifest


def load_bundle(folder: Path) -> Bundle:
    """Verify and load a bundle.

    :raises MasdError: see :func:`load_manifest`; or contents that do not fit together.
    """
    manifest = load_manifest(folder)
    settings = Settings.from_yaml((folder / "config.yaml").read_text(encoding="utf-8"), str(folder / "config.yaml"))
    try:
        history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        trained = restore_network(
            load_tensors(folder / "network.safetensors"), settings.network, manifest.classes, history
        )
        detectors = Detectors.from_tensors(load_arrays(folder / "detectors.safetensors"))
        scorer = Scorer(settings, manifest.machine_type, trained, detectors, manifest.version)
    except (KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise MasdError(f"{folder}: its files do not fit together ({' '.join(str(error).split())[:160]})") from error
    return Bundle(folder, manifest, settings, scorer, history)


def stamp(folder: Path, *, version: str, metrics: dict[str, Any]) -> Manifest:
    """Give a bundle that is about to be registered its version and metrics; no other file changes."""
    manifest = replace(load_manifest(folder), version=version, metrics=metrics)
    _write_manifest(folder, manifest)
    return manifest


def code_version() -> str:
    """masd's version, with the git commit where masd runs from a checkout."""
    try:
        own = version("masd")
    except PackageNotFoundError:  # the copy inside a model archive
        own = "unknown"
    root = Path(masd.__file__).parent.parent
    if not (root / ".git").exists():
        return own
    commit = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return f"{own}+g{commit}" if commit else own


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    write_text(folder / "manifest.json", json.dumps(asdict(manifest), indent=2) + "\n")
