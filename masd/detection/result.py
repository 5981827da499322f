"""What scoring one clip answers."""

from dataclasses import dataclass
from typing import Any

from masd.audio.log_mel import OCTAVES_HZ
from masd.config import SystemName

OCTAVE_COLUMNS = tuple(f"octave_{low}_{high}_db" for low, high in zip(OCTAVES_HZ, (*OCTAVES_HZ[1:], "up"), strict=True))
"""Columns of :attr:`Signals.octave_levels_db` in the inference log: ``octave_0_250_db`` ... ``octave_4000_up_db``."""


@dataclass(frozen=True)
class Segment:
    """One analysis window of a clip; ``score`` comes from the window-level bank of the same kind of detector."""

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Signals:
    """Properties of the clip itself, for the inference log and drift: they need no label and no model."""

    level_dbfs: float
    clipped_share: float
    spectral_centroid_hz: float
    sample_rate_in: int
    octave_levels_db: tuple[float, ...]


@dataclass(frozen=True)
class ClipScore:
    """The score of one clip, its decision and the reason (the fields of ``masd score --json`` and of the endpoint).

    ``embedding_distance`` goes to the inference log only; None where the bundle is too old to measure it.
    """

    machine_type: str
    model_version: str
    system: SystemName
    score: float
    threshold: float
    domain: str
    duration_s: float
    segments: tuple[Segment, ...]
    reconstruction_error: float
    systems: dict[SystemName, float]
    signals: Signals
    embedding_distance: float | None = None

    @property
    def anomalous(self) -> bool:
        return self.score > self.threshold

    def to_dict(self) -> dict[str, Any]:
        """The public answer, JSON-ready, in the order of the contract."""
        return {
            "machine_type": self.machine_type,
            "model_version": self.model_version,
            "system": self.system,
            "score": self.score,
            "threshold": self.threshold,
            "anomalous": self.anomalous,
            "domain": self.domain,
            "duration_s": self.duration_s,
            "segments": [
                {"start_s": segment.start_s, "end_s": segment.end_s, "score": segment.score}
                for segment in self.segments
            ],
            "reconstruction_error": self.reconstruction_error,
        }

    def to_record(self) -> dict[str, Any]:
        """One flat row for the inference log and for ``reference.parquet``: scalars only."""
        return {
            "machine_type": self.machine_type,
            "model_version": self.model_version,
            "system": self.system,
            "score": self.score,
            "threshold": self.threshold,
            "margin": self.score - self.threshold,
            "anomalous": self.anomalous,
            "domain": self.domain,
            "reconstruction_error": self.reconstruction_error,
            "embedding_distance": self.embedding_distance,
            "duration_s": self.duration_s,
            "sample_rate": self.signals.sample_rate_in,
            "level_dbfs": self.signals.level_dbfs,
            "clipped_share": self.signals.clipped_share,
            "spectral_centroid_hz": self.signals.spectral_centroid_hz,
            **dict(zip(OCTAVE_COLUMNS, self.signals.octave_levels_db, strict=True)),
        }
