"""A registry with a calibrated bundle, and inference logs as servers ship them, for the alarm step."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from fake_bundle import write_fake_bundle
from safetensors.numpy import save_file

from masd.bundle.manifest import Manifest, write_manifest
from masd.files import sha256
from masd.registry.registry import Registry

START = datetime(2026, 1, 5, tzinfo=UTC)
SECONDS = 10


def registered(registry: Path, machine: str = "fan", *, clips: float = 1000.0, size: int = 500, seed: int = 0) -> str:
    """One more version in production whose calibration is Gaussian; returns it."""
    folder = registry.parent / f"bundle-{machine}-{seed}"
    write_fake_bundle(folder, machine)
    scores = np.random.default_rng(seed).normal(size=size)
    arrays = {"calibration.source": scores, "calibration:about": np.array([1 / clips, 1.0])}
    save_file(arrays, folder / "detectors.safetensors")
    manifest = Manifest(**json.loads((folder / "manifest.json").read_text()))
    manifest.files["detectors.safetensors"] = sha256(folder / "detectors.safetensors")
    write_manifest(folder, manifest)
    models = Registry.open(registry)
    version = models.register(folder, metrics={})
    models.promote(machine, version, reason="test")
    return version


def records(scores: Sequence[float], *, start: int = 0, machine: str = "fan", version: str = "1") -> pd.DataFrame:
    """One every ten seconds; ``start`` is the number of the first."""
    return pd.DataFrame(
        {
            "time": [at(start + i) for i in range(len(scores))],
            "request_id": [f"r{start + i}" for i in range(len(scores))],
            "machine_type": machine,
            "model_version": version,
            "score": np.asarray(scores, dtype=float),
            "domain": "source",
        }
    )


def at(clip: int) -> str:
    """When a clip was heard."""
    return (START + timedelta(seconds=SECONDS * clip)).isoformat(timespec="milliseconds")


def ship(log: Path, rows: pd.DataFrame, name: str) -> None:
    """As :mod:`serving.log_shipper` writes them."""
    machine, day = str(rows["machine_type"].iloc[0]), str(rows["time"].iloc[-1])[:10]
    folder = log / machine / day
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{name}"
    rows.to_parquet(staged, index=False)
    staged.rename(folder / f"{machine}-{name}.parquet")


def events_of(state: Path) -> pd.DataFrame:
    """The events log, in order of time."""
    files = sorted((state / "events").rglob("*.parquet"))
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True) if files else pd.DataFrame()
