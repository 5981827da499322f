"""Warnings of an answer: reasons not to trust a score."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import pandas as pd

from masd.audio import SoundProperties
from masd.config import AudioSettings

WarningCode = Literal[
    "silence",
    "level",
    "clipped",
    "sample_rate",
    "lossy",
    "mono_for_two_channels",
    "channels_cancel",
    "dead_channel",
    "repaired",
]

WARNINGS: dict[WarningCode, str] = {
    "silence": "It has no sound, or is 20 dB quieter than every training clip: the machine or the microphone is off.",
    "level": "It is 10 dB quieter or louder than every training clip: look at the gain and place of the microphone.",
    "clipped": "More than one sample in a thousand is clipped, more than in any training clip: turn the gain down.",
    "sample_rate": "Its bandwidth differs from that of the training clips: record it at one of their sample rates.",
    "lossy": "It is in a lossy format, and no training clip was: send the format of the training clips.",
    "mono_for_two_channels": "It has one channel, and every training clip had several: send all channels. A model with "
    "a reference channel answers by the near microphone alone, with its threshold.",
    "channels_cancel": "Its channels cancel each other in the mean: correct the polarity of one, or set audio.channel.",
    "dead_channel": "One of the channels that are used contains no sound: check its microphone and cable.",
    "repaired": "Its header was wrong and was corrected: check its duration.",
}
"""Every code with its meaning, in the order of an answer."""

OFF_DB = 20.0
"""A machine is off so many dB below the quietest training clip."""

LEVEL_DB = 10.0

ALIKE = 0.9375
"""Share of half the sample rate below which resamplers agree to two decibels, most of them to a tenth of one."""
CLIPPED_SHARE = 1e-3


@dataclass(frozen=True)
class TrainedOn:
    """What is known of the training clips as they came in; nothing, in bundles made before it was noted.

    ``levels_dbfs`` are the lowest and the highest, ``clipped_share`` is the highest.
    """

    sample_rates: tuple[int, ...] = ()
    codecs: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    levels_dbfs: tuple[float, float] | None = None
    clipped_share: float = 0.0

    @classmethod
    def of_clips(cls, clips: pd.DataFrame) -> Self:
        """From some rows of a store's clip table."""
        levels = clips["level_dbfs"]
        return cls(
            sample_rates=tuple(sorted({int(rate) for rate in clips["sample_rate_in"]})),
            codecs=tuple(sorted(set(clips["codec"]))),
            channels=tuple(sorted({int(channels) for channels in clips["channels_in"]})),
            levels_dbfs=(float(levels.min()), float(levels.max())),
            clipped_share=float(clips["clipped_share"].max()),
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The reverse of ``dataclasses.asdict``, through JSON; empty in bundles made before."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**plain)

    def is_off(self, level_dbfs: float, silent: bool) -> bool:
        """Whether a stretch of that level holds no sound of a running machine."""
        return silent or (self.off_dbfs is not None and level_dbfs < self.off_dbfs)

    @property
    def off_dbfs(self) -> float | None:
        """Below which level a machine is off."""
        return None if self.levels_dbfs is None else self.levels_dbfs[0] - OFF_DB

    def reach_hz(self, sample_rate_in: int, sample_rate: int) -> float:
        """How high a clip and the training clips both reach, heard at ``sample_rate``: half the lowest rate."""
        if sample_rate_in in self.sample_rates:
            return sample_rate / 2
        return min(sample_rate_in, max(self.sample_rates, default=sample_rate), sample_rate) / 2

    def alike_below_hz(self, sample_rate_in: int, sample_rate: int) -> float | None:
        """Below what frequency a clip can be compared with the training clips; None: everywhere, or nothing is known of
        them.
        """
        if not self.sample_rates or sample_rate_in in self.sample_rates:
            return None
        return ALIKE * self.reach_hz(sample_rate_in, sample_rate)


def warnings_of(clip: SoundProperties, trained_on: TrainedOn, audio: AudioSettings) -> tuple[WarningCode, ...]:
    """The codes that hold for ``clip``, for a model with these settings."""
    levels = trained_on.levels_dbfs
    off = trained_on.is_off(clip.level_dbfs, clip.silent)
    dead = (clip.mixed and bool(clip.dead_channels)) or audio.reference_channel in clip.dead_channels
    holds: dict[WarningCode, bool] = {
        "silence": off,
        "level": not off and levels is not None and not levels[0] - LEVEL_DB <= clip.level_dbfs <= levels[1] + LEVEL_DB,
        "clipped": clip.clipped_share > max(CLIPPED_SHARE, trained_on.clipped_share),
        "sample_rate": trained_on.reach_hz(clip.sample_rate_in, audio.sample_rate) < audio.upper_edge_hz,
        "lossy": clip.lossy and clip.codec not in trained_on.codecs,
        "mono_for_two_channels": clip.channels_in == 1 and bool(trained_on.channels) and 1 not in trained_on.channels,
        "channels_cancel": clip.channels_cancel,
        "dead_channel": dead,
        "repaired": clip.repaired,
    }
    return tuple(code for code in WARNINGS if holds[code])
