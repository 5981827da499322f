"""Properties of a recording before resampling, measured while it is decoded block by block."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from masd.arrays import Array, Floats, Mask
from masd.audio.clipping import Clipping

Channel = int | Literal["mean"]

FLOOR_DBFS = -120.0
"""Level of a recording without sound: all samples are equal."""

PIECE_S = 0.1
"""Seconds of the pieces of :class:`Loudness`."""

CANCEL_DB = 10.0
"""The mean of uncorrelated channels has their mean power divided by their number. If the mean is so many dB below that,
the channels cancel each other: one of them is inverted.
"""

LOSSLESS = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "DPCM_8", "DPCM_16"}
    | {f"ALAC_{bits}" for bits in (16, 20, 24, 32)}
)
"""Lossless subtypes of libsndfile; all others are lossy."""


def is_lossy(codec: str) -> bool:
    """Whether a codec, by libsndfile's name of it, drops part of the sound."""
    return codec not in LOSSLESS


@dataclass(frozen=True, kw_only=True)
class SoundProperties:
    """Properties of a recording before resampling.

    ``level_dbfs`` and ``silent`` are those of the channel or mean that is used; ``channel_levels_dbfs`` has the level
    of each channel, without its offset, :data:`FLOOR_DBFS` for a channel without sound. ``clipped_share`` is the share
    of clipped samples in the channels used. ``codec`` is libsndfile's name of the coding, such as ``PCM_16`` or
    ``MPEG_LAYER_III``. ``mixed`` says that the mean of several channels is used, ``repaired`` that a wrong header was
    corrected.
    """

    sample_rate_in: int
    channels_in: int
    duration_s: float
    level_dbfs: float
    clipped_share: float
    codec: str = "PCM_16"
    channel_levels_dbfs: tuple[float, ...] = ()
    silent: bool = False
    mixed: bool = False
    channels_cancel: bool = False
    repaired: bool = False

    @property
    def lossy(self) -> bool:
        """Whether the codec drops part of the sound."""
        return is_lossy(self.codec)

    @property
    def dead_channels(self) -> tuple[int, ...]:
        """Channels without sound, if another channel has sound."""
        dead = tuple(n for n, level in enumerate(self.channel_levels_dbfs) if level <= FLOOR_DBFS)
        return dead if len(dead) < len(self.channel_levels_dbfs) else ()


@dataclass(frozen=True)
class Loudness:
    """The loudness of a recording in pieces of ``seconds``, the last one shorter: mean power ``[n]`` of the channel
    used, and whether it has no sound ``[n]``.
    """

    seconds: float
    duration_s: float
    powers: Floats
    silent: Mask


class LoudnessMeter:
    """The :class:`Loudness` of one recording, from its blocks."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._piece = max(round(PIECE_S * sample_rate), 1)
        self._samples = 0
        self._pieces: list[Floats] = []
        self._rest = np.empty(0, np.float32)

    def add(self, mono: Array) -> None:
        """Add the next samples ``[n]`` of the channel or mean that is used."""
        self._samples += len(mono)
        self._rest = np.concatenate([self._rest, mono])
        whole = len(self._rest) // self._piece * self._piece
        self._pieces.append(_piecewise(self._rest[:whole].reshape(-1, self._piece)))
        self._rest = self._rest[whole:]

    def loudness(self) -> Loudness:
        """Of the recording, once it has ended."""
        pieces = [*self._pieces, _piecewise(self._rest[None])] if len(self._rest) else self._pieces
        powers, silent = np.concatenate(pieces, axis=1)
        return Loudness(self._piece / self._rate, self._samples / self._rate, powers, silent > 0)


class SoundMeter:
    """Sums over the blocks of one recording, from which its :class:`SoundProperties` is made at the end."""

    def __init__(self, channels: int, channel: Channel, codec: str, sample_rate: int) -> None:
        self.samples = 0
        self._codec, self._rate = codec, sample_rate
        self._mixed = channels > 1 and channel == "mean"
        self._used = list(range(channels)) if self._mixed else [0 if channels == 1 else int(channel)]
        self._clipping = [Clipping(codec) for _ in self._used]
        self._mono, self._each = np.zeros(2), np.zeros((2, channels))

    def add(self, block: Array, mono: Array) -> None:
        """Add the next samples of all channels ``[n, channels]`` and of the channel or mean that is used ``[n]``, which
        are finite.
        """
        self.samples += len(mono)
        self._mono += _sums(mono)
        if block.shape[1] > 1:
            with np.errstate(all="ignore"):  # a channel that nobody listens to may hold anything
                self._each += np.stack([_sums(column) for column in block.T], axis=1)
        for clipping, number in zip(self._clipping, self._used, strict=True):
            clipping.add(block[:, number])

    def properties(self) -> SoundProperties:
        """The properties of the whole recording, which had at least one sample."""
        channels = self._each.shape[1]
        each = self._each if channels > 1 else self._mono[:, None]
        of_mono, of_each = self._powers(self._mono[:, None]), self._powers(each)
        clipped = sum(
            clipping.count(float(each[0, number]) / self.samples, float(np.sqrt(of_each[number])))
            for clipping, number in zip(self._clipping, self._used, strict=True)
        )
        # of channels that have nothing to do with each other
        expected = float(of_each.mean()) / channels
        return SoundProperties(
            sample_rate_in=self._rate,
            channels_in=channels,
            duration_s=self.samples / self._rate,
            level_dbfs=_dbfs(float(self._mono[1]) / self.samples),
            clipped_share=clipped / (self.samples * len(self._used)),
            codec=self._codec,
            channel_levels_dbfs=tuple(map(_dbfs, of_each)),
            silent=float(of_mono[0]) <= _power(FLOOR_DBFS),
            mixed=self._mixed,
            channels_cancel=self._mixed and float(of_mono[0]) < expected * _power(-CANCEL_DB),
        )

    def _powers(self, sums: Floats) -> Floats:
        """Mean power about the mean of each column; 0 where that is no number."""
        with np.errstate(all="ignore"):
            mean, square = sums / self.samples
            power = square - mean**2
        return np.where(np.isfinite(power) & (power > 1e-12 * square), power, 0.0)  # what rounding leaves of an offset


def _piecewise(pieces: Array) -> Floats:
    """Pieces ``[n, samples]`` -> mean power and whether all samples are equal, ``[2, n]``."""
    power = np.einsum("ns,ns->n", pieces, pieces, dtype=np.float64) / pieces.shape[1]
    return np.stack([power, (pieces == pieces[:, :1]).all(axis=1)])


def _sums(samples: Array) -> Floats:
    exact = samples.astype(np.float64)
    return np.array([exact.sum(), exact @ exact])


def _dbfs(power: float) -> float:
    return 10.0 * float(np.log10(max(power, _power(FLOOR_DBFS))))


def _power(dbfs: float) -> float:
    return float(10.0 ** (dbfs / 10.0))
