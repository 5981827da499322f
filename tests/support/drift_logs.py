"""Made-up inference logs and references for the tests of drift: correlated columns, a few clipped clips, one format."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from masd.audio.signals import Signals
from masd.bundle.manifest import FILES, Manifest
from masd.config import Settings
from masd.detection.result import ClipScore
from masd.files import sha256

BANDS, SLOPES = (-30.0, -10.0, -3.0, -4.0, -9.0, -15.0), (1.0, 0.5, 0.2, -0.2, -0.5, -1.0)


def make_clips(n: int, rng: np.random.Generator, *, machine: str = "fan", version: str = "3") -> pd.DataFrame:
    """Records of ``n`` clips of one machine, as the inference log has them: with time and request."""
    rows = []
    for i in range(n):
        level, score = float(rng.normal(-30.0, 2.0)), float(rng.gamma(20.0, 0.02))
        tilt = float(rng.normal(0.0, 1.0))
        result = ClipScore(
            machine_type=machine,
            model_version=version,
            system="knn-feature",
            score=score,
            threshold=0.5,
            domain="source",
            duration_s=10.0,
            segments=(),
            reconstruction_error=float(9.0 + 2.0 * score + rng.normal(0.0, 0.1)),
            systems={},
            signals=Signals(
                level_dbfs=level,
                clipped_share=float(rng.exponential(1e-4)) if rng.random() < 0.05 else 0.0,
                spectral_centroid_hz=float(1500.0 + 10.0 * level + rng.normal(0.0, 80.0)),
                sample_rate_in=16_000,
                octave_levels_db=tuple(base + tilt * slope for base, slope in zip(BANDS, SLOPES, strict=True)),
            ),
            embedding_distance=float(5.0 + 3.0 * score + rng.normal(0.0, 0.5)),
        )
        time = f"2026-01-{1 + i // 1440:02d}T{i // 60 % 24:02d}:{i % 60:02d}:00.000+00:00"
        rows.append({"time": time, "request_id": f"r{i}", **result.to_record()})
    return pd.DataFrame(rows)


def write_log(path: Path, clips: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in clips.to_dict("records")), encoding="utf-8")
    return path


def make_bundle(folder: Path, reference: pd.DataFrame) -> Path:
    """A bundle whose manifest, settings and reference are real; no network is needed to look for drift."""
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(b"not read here")
    (folder / "config.yaml").write_text(Settings().to_yaml())
    reference.drop(columns=["time", "request_id"]).to_parquet(folder / "reference.parquet")
    manifest = Manifest("fan", "sha256:0", [], version="3", files={name: sha256(folder / name) for name in FILES})
    (folder / "manifest.json").write_text(json.dumps(asdict(manifest)))
    return folder
