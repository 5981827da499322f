"""Building blocks of steady machine sound: rotation, tones that follow it, coloured noise, slow modulation.

Everything is one-dimensional at `RATE` samples per second. Rotation is a phase in revolutions, so that a tone
which follows a wandering speed is a look-up in one turn of its waveform and costs the same for any number of
harmonics.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfftfreq

from masd.arrays import Array, Floats

RATE = 16_000
"""Samples per second of every simulated recording."""
MS = RATE // 1000
"""Samples per millisecond."""

Shape = Sequence[tuple[float, float]]
"""A spectrum as (Hz, dB) points in rising frequency, joined by straight lines over log frequency."""

_LOWEST_HZ = 20.0  # what a measurement microphone still passes
_HIGHEST_TONE_HZ = 7_600.0  # leaves room for the anti-aliasing filter of a recorder
_GAIN_KNOTS_HZ = np.geomspace(_LOWEST_HZ, RATE / 2, 160)
_TABLE = 1 << 15  # samples of one turn: 100 for each period of the highest order in use
_COSINE: Array = np.cos(2 * np.pi * np.arange(4096) / 4096).astype(np.float32)


def rms(signal: Array) -> float:
    """Root mean square, in the unit of the signal."""
    return float(np.sqrt(np.mean(np.square(signal), dtype=np.float64)))


def unit(signal: Array) -> Array:
    """The signal at an RMS of one; silence stays silence."""
    level = rms(signal)
    return signal / np.float32(level) if level > 0 else signal


def decibels(db: float) -> float:
    """The amplitude ratio of a level difference in dB."""
    return float(10.0 ** (db / 20.0))


def upsample(knots: NDArray[np.floating], spacing: int, n: int) -> Array:
    """n samples of the straight lines between knots `spacing` samples apart, the last one past the end."""
    start = knots.astype(np.float32)
    ramp = np.arange(spacing, dtype=np.float32) / np.float32(spacing)
    course: Array = (start[:-1, None] + np.diff(start)[:, None] * ramp).ravel()[:n]
    return course


def wander(n: int, rng: np.random.Generator, knots_per_s: float = 2.0) -> Array:
    """A slow random course around zero (SD about 1), straight between independent knots."""
    spacing = round(RATE / knots_per_s)
    return upsample(rng.standard_normal(n // spacing + 2), spacing, n)


def swing(phase: Floats) -> Array:
    """The cosine of a phase in revolutions: 1 at each whole turn."""
    cosine: Array = _COSINE[(phase * len(_COSINE)).astype(np.int64) & (len(_COSINE) - 1)]
    return cosine


def rotation(hz: float | Array, n: int, rng: np.random.Generator, jitter: float = 0.003) -> Floats:
    """Phase in revolutions of a shaft turning at `hz`, give or take the share `jitter` of it."""
    advance = hz / RATE * (1.0 + jitter * wander(n, rng))
    return rng.uniform() + np.cumsum(advance, dtype=np.float64)


def harmonics(phase: Floats, amplitudes: Floats, rng: np.random.Generator) -> Array:
    """Tones at the orders 1, 2, ... of a rotation: `amplitudes[k - 1]` for order k, give or take 2 dB.

    The scatter is the room's: where a tone falls among its standing waves changes with every small change of
    speed. Phases are random. Orders that would pass the upper band edge at the highest speed of the clip are
    left out.
    """
    stride = RATE // 100
    fastest = float(np.max(np.diff(phase[::stride]))) * RATE / stride
    room = rng.lognormal(0.0, 0.2, len(amplitudes)) * np.exp(2j * np.pi * rng.uniform(size=len(amplitudes)))
    kept = min(len(amplitudes), int(_HIGHEST_TONE_HZ / fastest))
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=np.complex64)
    spectrum[1 : kept + 1] = (amplitudes * room)[:kept]
    table = irfft(spectrum, _TABLE, norm="forward")
    tones: Array = table[(phase * _TABLE).astype(np.int64) & (_TABLE - 1)]
    return tones


@lru_cache(maxsize=4)
def _bins(padded: int) -> Floats:
    bins: Floats = rfftfreq(padded, 1.0 / RATE)
    return bins


@lru_cache(maxsize=4)
def _between_knots(padded: int) -> tuple[NDArray[np.intp], Floats]:
    """For each bin the gain knot below it, and how far it lies on the way to the next."""
    place = np.interp(_bins(padded), _GAIN_KNOTS_HZ, np.arange(len(_GAIN_KNOTS_HZ)))
    knot = np.minimum(place.astype(np.intp), len(_GAIN_KNOTS_HZ) - 2)
    return knot, place - knot


class Line(NamedTuple):
    """A narrow band of noise, such as a tone blurred by distance; `level` is its RMS over the shape's."""

    hz: float
    width_hz: float
    level: float


def noise(n: int, rng: np.random.Generator, shape: Shape, lines: Sequence[Line] = ()) -> Array:
    """Gaussian noise of unit RMS with the given spectrum and lines in it; nothing below 20 Hz."""
    padded = next_fast_len(n, real=True)
    hz, db = np.asarray(shape, dtype=np.float64).T
    gains = 10.0 ** (np.interp(np.log(_GAIN_KNOTS_HZ), np.log(hz), db) / 20.0)
    knot, share = _between_knots(padded)
    envelope = gains[knot] + share * np.diff(gains)[knot]
    envelope[_bins(padded) < _LOWEST_HZ] = 0.0
    whole = float(np.sqrt(np.sum(np.square(envelope))))
    for line in lines:
        at, reach = np.array([line.hz, 3 * line.width_hz]) * padded / RATE
        near = slice(int(at - reach), int(at + reach) + 2)
        bump = np.exp(-0.5 * np.square((_bins(padded)[near] - line.hz) / line.width_hz))
        envelope[near] += whole * line.level / np.sqrt(np.sum(np.square(bump))) * bump
    white = rng.standard_normal(2 * len(envelope), dtype=np.float32).view(np.complex64)
    return unit(irfft(white * envelope.astype(np.float32), padded)[:n])


def band(low_hz: float, high_hz: float) -> Shape:
    """The shape of noise confined to a band, falling by 30 dB within half an octave outside it."""
    return ((low_hz * 0.7, -30.0), (low_hz, 0.0), (high_hz, 0.0), (high_hz * 1.4, -30.0))
