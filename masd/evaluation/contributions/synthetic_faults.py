"""Synthetic faults: what a fault could do to the log-mel frames of a normal clip, for when no fault was ever recorded.

They are drawn in the frames and not in the waveform, so that a log-mel store is enough. They say which of two detectors
hears more, not how many real faults either of them would find.
"""

from collections.abc import Callable, Iterator

import numpy as np

from masd.arrays import Array

STRENGTHS = (1.0, 2.0)
"""Weak and strong; one strength alone would be heard always on some machines, and never on others."""

Draw = np.random.Generator


def faulty(log_mel: Array, rng: Draw) -> Iterator[Array]:
    """``[T, F]`` dB -> the same with each fault of :data:`FAULTS` in each of :data:`STRENGTHS`, ``[T, F]`` each."""
    for fault in FAULTS.values():
        for strength in STRENGTHS:
            yield fault(log_mel, rng, strength).astype(np.float32)


def tone(log_mel: Array, rng: Draw, strength: float) -> Array:
    """A steady tone in one band, 3 dB above what the band has for each unit of strength."""
    return _with_power(log_mel, _bump(log_mel.shape[1], rng, width=0.6), 3.0 * strength)


def band_noise(log_mel: Array, rng: Draw, strength: float) -> Array:
    """Steady noise in about an eighth of the bands, at first as loud as half of what they have."""
    return _with_power(log_mel, _bump(log_mel.shape[1], rng, width=log_mel.shape[1] / 16), 6.0 * (strength - 1.5))


def clicks(log_mel: Array, rng: Draw, strength: float) -> Array:
    """Short broadband bursts, one every 4 to 12 frames."""
    changed = log_mel.copy()
    every = int(rng.integers(4, 13))
    changed[int(rng.integers(every)) :: every] += 3.0 * strength
    return changed


def equaliser(log_mel: Array, rng: Draw, strength: float) -> Array:
    """Three broad rises or falls of the spectrum."""
    bands = log_mel.shape[1]
    curve = sum(rng.choice([-1.0, 1.0]) * _bump(bands, rng, width=bands / 16) for _ in range(3))
    changed: Array = log_mel + np.float32(1.5 * strength) * curve
    return changed


def amplitude_modulation(log_mel: Array, rng: Draw, strength: float) -> Array:
    """All bands swell and fade together, once in 4 to 16 frames."""
    phase = 2 * np.pi * (np.arange(len(log_mel)) / rng.uniform(4.0, 16.0) + rng.uniform())
    changed: Array = log_mel + np.float32(1.5 * strength) * np.sin(phase)[:, None].astype(np.float32)
    return changed


def speed(log_mel: Array, rng: Draw, strength: float) -> Array:
    """Rhythm and spectrum of a machine that runs faster or slower; bands are taken to lie evenly in log frequency."""
    faster = 1.0 + rng.choice([-1.0, 1.0]) * 0.03 * strength
    frames, bands = log_mel.shape
    rows = (np.arange(frames) * faster).astype(np.int64) % frames
    places = np.arange(bands) - bands * np.log2(faster) / 5.0  # mel bands span about five octaves
    return np.stack([np.interp(places, np.arange(bands), frame) for frame in log_mel[rows]])


FAULTS: dict[str, Callable[[Array, Draw, float], Array]] = {
    "tone": tone,
    "band noise": band_noise,
    "clicks": clicks,
    "equaliser": equaliser,
    "amplitude modulation": amplitude_modulation,
    "speed": speed,
}


def _bump(bands: int, rng: Draw, width: float) -> Array:
    """``[F]``: 1 at a random band, falling off over ``width`` bands."""
    bump: Array = np.exp(-0.5 * np.square((np.arange(bands) - rng.uniform(0, bands)) / width))
    return bump


def _with_power(log_mel: Array, shape: Array, level_db: float) -> Array:
    """A steady sound added to each band, ``level_db`` above its mean level where ``shape`` is 1."""
    steady = 10 ** ((log_mel.mean(axis=0) + level_db) / 10) * shape
    total: Array = 10 * np.log10(10 ** (log_mel / 10) + steady)
    return total
