"""The factory hall around a machine: ventilation and traffic, distant machines, an occasional clank."""

from dataclasses import dataclass

import numpy as np

from masd.arrays import Array
from masd.data.simulation.signals import RATE, Line, Shape, decibels, noise, unit, wander

_CLANK_S = 0.25
_KNOTS_HZ = np.geomspace(30.0, 7500.0, 14)
_HARMONIC = np.arange(1, 25)


@dataclass(frozen=True)
class Scene:
    """What a hall sounds like on average; every clip varies around it."""

    shape: Shape
    """Spectrum of the diffuse noise."""
    distant: tuple[tuple[float, float], ...]
    """Distant machines: fundamental in Hz, and level over the diffuse noise in dB."""
    clanks_per_s: float


WORKSHOP = Scene(
    shape=((20, 0), (80, 4), (300, -2), (1000, -10), (3000, -17), (8000, -26)),
    distant=((49.0, -9.0), (116.0, -12.0)),
    clanks_per_s=0.15,
)
"""Fans and a mains hum far away, now and then metal on metal."""

ASSEMBLY_LINE = Scene(
    shape=((20, -1), (80, 4), (300, -1), (1000, -8.5), (3000, -15), (8000, -24)),
    distant=((73.0, -7.0), (208.0, -11.0)),
    clanks_per_s=0.22,
)
"""Busier and brighter: compressed air, conveyors, more handling."""


def factory_noise(scene: Scene, n: int, rng: np.random.Generator) -> Array:
    """n samples of the hall at unit RMS."""
    hz, db = np.asarray(scene.shape, dtype=np.float64).T
    mean_db = np.interp(np.log(_KNOTS_HZ), np.log(hz), db)
    shape = list(zip(_KNOTS_HZ, mean_db + rng.normal(0.0, 1.5, len(_KNOTS_HZ)), strict=True))
    lines = [line for machine in scene.distant for line in _distant_machine(*machine, rng)]
    hall = noise(n, rng, shape, lines) * (1.0 + 0.12 * wander(n, rng))
    for start in rng.integers(0, n, rng.poisson(scene.clanks_per_s * n / RATE)):
        clank = _clank(rng)[: n - start]
        hall[start : start + len(clank)] += clank
    return unit(hall)


def _distant_machine(hz: float, level_db: float, rng: np.random.Generator) -> list[Line]:
    """The harmonics of one machine; its wandering speed and the hall's echoes widen the upper ones most."""
    level = decibels(level_db + rng.normal(0.0, 3.0))
    heights = _HARMONIC**-1.2 * rng.lognormal(0.0, 0.3, len(_HARMONIC))
    heights *= level / np.sqrt(np.sum(np.square(heights)))
    pitches = hz * rng.normal(1.0, 0.05) * _HARMONIC
    return [Line(pitch, 0.4 + 0.003 * pitch, height) for pitch, height in zip(pitches, heights, strict=True)]


def _clank(rng: np.random.Generator) -> Array:
    """One blow on some piece of metal: five modes of random pitch, dying out in about 50 ms."""
    time = np.arange(int(_CLANK_S * RATE)) / RATE
    pitches = rng.uniform(400.0, 4500.0, (5, 1))
    modes = np.sin(2 * np.pi * pitches * time) * np.exp(-time / rng.uniform(0.02, 0.06, (5, 1)))
    blow: Array = (rng.lognormal(0.0, 0.4) * modes.sum(axis=0)).astype(np.float32)
    return blow
