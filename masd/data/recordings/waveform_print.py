"""A print of a clip's waveform that identifies its recording, whatever its gain, rate, codec or first sample."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal.windows import tukey

from masd.arrays import Array, Integers, Mask

Complex = npt.NDArray[np.complex64]

LOWEST_HZ, HIGHEST_HZ = 1000.0, 3000.0
"""The compared band in Hz: every codec keeps its waveform, and all usual sample rates contain it."""

HIGHEST_SHARE = 0.375
"""The end of the band at rates below 8 kHz, as a share of the rate; it begins at a third of that."""

SMOOTHING_HZ = 20.0
FLOOR = 1e-4
"""Share of the band's mean power: weaker frequencies are more often a codec's noise than the machine's sound."""

LEVEL_S = 0.016
HIGHEST_PEAK = 10.0
"""The most power of a frequency, as a multiple of that around it, so that single tones do not dominate."""

EDGES = 0.1
"""Share of the band over which it fades in and out."""

QUIET = 1e-2
"""Share of the clip's level: quieter moments are not amplified to the level of the others."""

SILENT = 1e-3
"""Share of the clip's level: quieter moments are not compared."""

HIGHEST = 2.0
"""Magnitudes are limited to so many times the level: single clicks look alike on all clips of a machine."""

REACH_S = 0.1
"""An anchor is the loudest moment within so many samples on either side."""

GAP, HALF = 8, 40
"""Samples beside an anchor that are left out (anchors look alike there), and those then compared on either side."""

STEPS = 63.0
"""The 8-bit number that stands for a magnitude of 1."""


@dataclass(frozen=True)
class WaveformPrint:
    """``samples`` ``[n, 2]`` are the complex amplitude of the whitened, levelled band at ``rate`` a second, as 8-bit
    numbers; ``anchors`` ``[k]`` are positions that a copy of the clip has too, and ``vectors`` ``[k, 4 HALF]``, of
    unit length, their surroundings.

    A clip without any sound (all samples equal) has no samples.
    """

    samples: npt.NDArray[np.int8]
    anchors: Integers
    vectors: Array
    rate: float

    @classmethod
    def of(cls, samples: Array, sample_rate: int) -> Self:
        """Make a print of mono samples ``[n]``; only prints with the same ``sample_rate`` can be compared."""
        highest = min(HIGHEST_HZ, HIGHEST_SHARE * sample_rate)
        lowest = highest * LOWEST_HZ / HIGHEST_HZ
        rate = 2 * (highest - lowest)
        if np.ptp(samples) == 0:
            return cls(np.empty((0, 2), np.int8), np.empty(0, np.int64), np.empty((0, 4 * HALF), np.float32), rate)
        levelled = _levelled(_whitened_band(samples, sample_rate, lowest, highest, rate), rate)
        levelled[_is_silent(samples, sample_rate, len(levelled), rate)] = 0  # filled with what rings from the sound
        anchors = _anchors(np.abs(levelled), rate)
        limited = levelled * np.minimum(1.0, HIGHEST / np.maximum(np.abs(levelled), 1e-9)).astype(np.float32)
        parts = np.rint(np.stack([limited.real, limited.imag], axis=1) * STEPS).astype(np.int8)
        return cls(parts, anchors, _vectors(levelled, limited, anchors), rate)


def _whitened_band(samples: Array, sample_rate: int, lowest: float, highest: float, rate: float) -> Complex:
    """Complex amplitude of the band, with about the same power at all its frequencies."""
    count = max(int(len(samples) * rate / sample_rate), 1)
    length = scipy.fft.next_fast_len(count)
    padded = round(length * sample_rate / rate)
    spectrum = scipy.fft.rfft(samples - samples.mean(dtype=np.float64).astype(np.float32), padded)
    first, last = int(lowest * padded / sample_rate), int(highest * padded / sample_rate)
    band = spectrum[first:last]
    if len(band) == 0:  # of a few samples
        return np.zeros(count, np.complex64)
    power = np.square(band.real) + np.square(band.imag)
    smooth = uniform_filter1d(power, max(1, int(SMOOTHING_HZ * padded / sample_rate)))
    strength = np.maximum(np.maximum(smooth, power / HIGHEST_PEAK), max(FLOOR * float(power.mean()), 1e-30))
    edges = tukey(len(band), EDGES).astype(np.float32)  # without them silence beside a sound is filled with ringing
    whitened = scipy.fft.ifft(edges * band / np.sqrt(strength), length)[:count]
    # the band begins at a frequency of the transform, which differs with the clip's length: turned to begin at lowest
    offset = first * sample_rate / padded - lowest
    if offset:
        whitened = whitened * np.exp(2j * np.pi * offset / rate * np.arange(count))
    return np.asarray(whitened, np.complex64)


def _levelled(band: Complex, rate: float) -> Complex:
    power = np.square(band.real) + np.square(band.imag)
    local = np.sqrt(np.maximum(uniform_filter1d(power, int(LEVEL_S * rate) + 1), 0))
    levelled: Complex = (band / np.maximum(local, max(QUIET * float(np.sqrt(power.mean())), 1e-30))).astype(
        np.complex64
    )
    return levelled


def _is_silent(samples: Array, sample_rate: int, count: int, rate: float) -> Mask:
    """Positions at which the clip is nearly silent, ``[count]``."""
    power = np.square(np.diff(samples, append=samples[-1:]))  # of steps: a constant offset is no sound
    starts = np.minimum(np.arange(count) * (sample_rate / rate), len(samples) - 1).astype(np.int64)
    local = uniform_filter1d(np.add.reduceat(power, starts), int(LEVEL_S * rate) + 1)
    silent: Mask = local < SILENT**2 * power.mean() * (sample_rate / rate)
    return silent


def _anchors(magnitude: Array, rate: float) -> Integers:
    highest = maximum_filter1d(magnitude, 2 * int(REACH_S * rate) + 1)
    places = np.flatnonzero((magnitude == highest) & (magnitude > 1.0))
    return places[(places >= GAP + HALF) & (places < len(magnitude) - GAP - HALF)]


def _vectors(levelled: Complex, limited: Complex, anchors: Integers) -> Array:
    """The surroundings of each anchor, rotated so that the anchor has phase 0: an inverted polarity rotates all samples
    alike, and so does, nearly, a shift by a part of a sample.
    """
    offsets = np.concatenate([np.arange(-HALF - GAP, -GAP), np.arange(GAP + 1, GAP + HALF + 1)])
    turn = (levelled[anchors].conj() / np.abs(levelled[anchors]))[:, None]
    around = limited[anchors[:, None] + offsets] * turn
    vectors = np.concatenate([around.real, around.imag], axis=1)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32)
