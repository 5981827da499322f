"""The properties of a clip that need no model and no label, and the names of their columns: listed only here.

The log-mel store, the reference of drift, the inference log and the drift check all take them from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from masd.arrays import Array
from masd.audio.log_mel import OCTAVES_HZ, LogMel, mel_power, octave_levels_db, spectral_centroid_hz
from masd.audio.sound_properties import SoundProperties

OCTAVE_COLUMNS = tuple(f"octave_{low}_{high}_db" for low, high in zip(OCTAVES_HZ, (*OCTAVES_HZ[1:], "up"), strict=True))
"""Columns of :attr:`Signals.octave_levels_db` in the inference log: ``octave_0_250_db`` ... ``octave_4000_up_db``."""

SIGNAL_COLUMNS = (
    "duration_s",
    "sample_rate",
    "level_dbfs",
    "clipped_share",
    "spectral_centroid_hz",
    *OCTAVE_COLUMNS,
)
"""Columns of the inference log and of ``reference.parquet`` that need no model."""


@dataclass(frozen=True)
class Signals:
    """Properties of the clip itself. The fields are the columns of a log-mel store's clip table."""

    level_dbfs: float
    clipped_share: float
    spectral_centroid_hz: float
    sample_rate_in: int
    octave_levels_db: tuple[float, ...]

    @classmethod
    def measure(cls, recording: SoundProperties, frames: Array, log_mel: LogMel) -> Self:
        """Of a decoded recording and its log-mel ``frames`` ``[T, n_mels]``, made by ``log_mel``."""
        power = mel_power(frames)
        return cls(
            recording.level_dbfs,
            recording.clipped_share,
            spectral_centroid_hz(power, log_mel.centres_hz),
            recording.sample_rate_in,
            octave_levels_db(power, log_mel.centres_hz),
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of a log-mel store's clip table."""
        return cls(
            float(row["level_dbfs"]),
            float(row["clipped_share"]),
            float(row["spectral_centroid_hz"]),
            int(row["sample_rate_in"]),
            tuple(map(float, row["octave_levels_db"])),
        )

    def columns(self, duration_s: float) -> dict[str, float]:
        """The values of :data:`SIGNAL_COLUMNS`, scalars only."""
        values = (duration_s, self.sample_rate_in, self.level_dbfs, self.clipped_share, self.spectral_centroid_hz)
        return dict(zip(SIGNAL_COLUMNS, (*values, *self.octave_levels_db), strict=True))
