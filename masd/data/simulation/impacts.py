"""Building blocks for impulsive machine sound: the times of impacts, and the modes of the struck part."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from masd.arrays import Array, Floats
from masd.data.simulation.signals import MS, RATE, unit


class Mode(NamedTuple):
    """One damped resonance: `gain * exp(-t / decay_s) * sin(2 pi hz t)` after a unit impact."""

    hz: float
    decay_s: float
    gain: float


def events(phase: Floats) -> Floats:
    """Where (in samples, fractional) a phase passes whole numbers: once per revolution of what it counts."""
    knots = phase[::MS]  # no machine changes its speed within a millisecond
    turns = np.arange(np.ceil(knots[0]), np.floor(knots[-1]) + 1)
    return np.interp(turns, knots, MS * np.arange(len(knots)))


def impulses(n: int, at: Floats, heights: float | Floats = 1.0) -> Array:
    """A train of impulses at fractional sample positions; those outside the clip are left out."""
    at, heights = np.broadcast_arrays(at, heights)
    inside = (at >= 0) & (at < n - 1)
    where, height = at[inside], heights[inside]
    first = where.astype(np.int64)
    share = where - first
    train = np.bincount(first, height * (1 - share), n) + np.bincount(first + 1, height * share, n)
    return train.astype(np.float32)


@lru_cache(maxsize=32)
def _response(modes: tuple[Mode, ...], padded: int) -> NDArray[np.complex64]:
    time = np.arange(min(padded, RATE // 2)) / RATE
    impact = sum(m.gain * np.exp(-time / m.decay_s) * np.sin(2 * np.pi * m.hz * time) for m in modes)
    response: NDArray[np.complex64] = rfft(np.asarray(impact, dtype=np.float32), padded)
    return response


def ring(excitation: Array, modes: tuple[Mode, ...]) -> Array:
    """What a structure with these modes sounds like under an excitation (circular at the clip's ends)."""
    n = len(excitation)
    padded = next_fast_len(n, real=True)
    sound: Array = irfft(rfft(excitation, padded) * _response(modes, padded), padded)[:n]
    return sound


def impacts(n: int, at: Floats, rng: np.random.Generator, modes: tuple[Mode, ...], *, spread: float = 0.3) -> Array:
    """Blows at sample positions on a structure, uneven by a log-normal `spread`; RMS of one over the clip."""
    return unit(ring(impulses(n, at, rng.lognormal(0.0, spread, len(at))), modes))


def resonance(hz: Floats, modes: Sequence[Mode]) -> Floats:
    """How much the modes amplify a steady tone: 1 far from every mode, `1 + gain` at its peak.

    The curve of a mode is that of a damped oscillator with the half-width 1 / (2 pi decay).
    """
    response = np.ones_like(hz)
    for mode in modes:
        half_width = 1.0 / (2 * np.pi * mode.decay_s)
        response += mode.gain / np.sqrt(1 + np.square((hz - mode.hz) / half_width))
    return response
