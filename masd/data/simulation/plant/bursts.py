"""Noise that comes and goes: vehicles that pass, other machines that start, speech, air blasts."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from masd.arrays import Array
from masd.data.simulation.plant.site import Site, heard
from masd.data.simulation.signals import RATE, decibels, harmonics, noise, rms, rotation, unit, upsample

PER_MINUTE = 3.0
"""Mean number of bursts in a minute of recording, of all kinds together."""

SNR_DB = (-5.0, 15.0)
"""Range of the level of the machine over a burst at the near microphone, while the burst lasts."""

_ORDERS = np.arange(1.0, 60.0)


@dataclass(frozen=True)
class Burst:
    """One burst of noise in a clip; times in s, ``snr_db`` as in :data:`SNR_DB`."""

    kind: str
    start_s: float
    end_s: float
    snr_db: float

    def to_dict(self) -> dict[str, Any]:
        """For ``simulation.json``."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class _Kind:
    """``render(n, rng)``: n samples of the source; ``seconds`` and ``distance_m`` from the machine are ranges."""

    render: Callable[[int, np.random.Generator], Array]
    seconds: tuple[float, float]
    distance_m: tuple[float, float]
    moves: bool = False


def bursts_in(n: int, site: Site, machine_rms: float, rng: np.random.Generator) -> tuple[Array, tuple[Burst, ...]]:
    """What both microphones hear of the bursts in a clip of n samples, ``[n, 2]``, and where they are.

    :param machine_rms: of the machine at the near microphone.
    """
    total = np.zeros((n, 2), np.float32)
    found = []
    for _ in range(rng.poisson(PER_MINUTE / 60.0 * n / RATE)):
        name = str(rng.choice(list(KINDS)))
        sound, snr_db = _burst(KINDS[name], site, rng), rng.uniform(*SNR_DB)
        sound *= np.float32(machine_rms / decibels(snr_db) / rms(sound[:, 0]))
        start = int(rng.integers(-len(sound) // 2, n - min(len(sound), n) // 2))
        first, last = max(start, 0), min(start + len(sound), n)
        total[first:last] += sound[first - start : last - start]
        found.append(Burst(name, first / RATE, last / RATE, snr_db))
    return total, tuple(sorted(found, key=lambda burst: burst.start_s))


def _burst(kind: _Kind, site: Site, rng: np.random.Generator) -> Array:
    """``[n, 2]`` at any level: a source somewhere in the hall, behind its path to each microphone."""
    n = round(rng.uniform(*kind.seconds) * RATE)
    source = kind.render(n, rng)
    distance, angle = rng.uniform(*kind.distance_m), rng.uniform(0.0, 2 * np.pi)
    place = distance * np.array([np.cos(angle), np.sin(angle)])
    microphones = np.array([[0.0, 0.0], [site.far_m, 0.0]])
    distances = np.maximum(np.linalg.norm(place - microphones, axis=1), 1.0)
    responses = site.responses((float(distances[0]), float(distances[1])), rng)
    if not kind.moves:
        return heard(source, responses)
    # it drives past on a straight line; its level follows the distance from each microphone
    way = np.linspace(-0.5, 0.5, n // 400 + 2)[:, None, None] * rng.uniform(2.0, 4.0) * n / RATE
    direction = np.array([-np.sin(angle), np.cos(angle)])
    apart = np.maximum(np.linalg.norm(place + way * direction - microphones, axis=2), 1.0)
    power = 1.0 / np.square(apart) + 1.0 / site.critical_m**2
    gains = np.sqrt(power / power.max(axis=0))
    courses = np.stack([upsample(gains[:, side], 400, n) for side in (0, 1)], axis=1)
    return heard(source[:, None] * courses * _fade(n, 0.15)[:, None], responses)


def _vehicle(n: int, rng: np.random.Generator) -> Array:
    """A lift truck: the motor's tones, and wheels on the floor."""
    motor = harmonics(rotation(rng.uniform(25.0, 60.0), n, rng, 0.01), 1.0 / _ORDERS**0.8, rng)
    wheels = noise(n, rng, ((20, 0), (120, 3), (500, -2), (2000, -10), (8000, -25)))
    return unit(unit(motor) + rng.uniform(0.5, 1.5) * wheels)


def _start(n: int, rng: np.random.Generator) -> Array:
    """Another machine runs up to its speed in some seconds, and stops after a while."""
    up = np.minimum(np.arange(n) / (rng.uniform(1.0, 3.0) * RATE), 1.0).astype(np.float32)
    speed: Array = (np.float32(rng.uniform(20.0, 60.0)) * (0.25 + 0.75 * np.sqrt(up))).astype(np.float32)
    tones = harmonics(rotation(speed, n, rng), 1.0 / _ORDERS**0.5 * rng.lognormal(0.0, 0.5, len(_ORDERS)), rng)
    air = noise(n, rng, ((20, -4), (300, 0), (1500, -3), (8000, -15)))
    sound: Array = (unit(tones) + rng.uniform(0.3, 1.0) * air) * (0.2 + 0.8 * up) * _fade(n, 0.1)
    return sound


def _speech(n: int, rng: np.random.Generator) -> Array:
    """Noise with the long-term spectrum of speech, in syllables."""
    voice = noise(n, rng, ((20, -30), (100, -6), (250, 0), (500, 0), (1000, -7), (4000, -17), (8000, -25)))
    spacing = round(RATE / rng.uniform(6.0, 10.0))
    loudness = rng.uniform(0.0, 1.0, n // spacing + 2) ** 2 * (rng.uniform(size=n // spacing + 2) > 0.15)
    return voice * upsample(loudness, spacing, n) * _fade(n, 0.05)


def _air_blast(n: int, rng: np.random.Generator) -> Array:
    """Compressed air: a bright hiss that begins at once."""
    edge = rng.uniform(1500.0, 4000.0)
    hiss = noise(n, rng, ((20, -40), (edge / 4, -20), (edge, 0), (8000, rng.uniform(-8.0, 0.0))))
    decay = np.exp(-np.arange(n) / RATE / rng.uniform(0.3, 2.0)).astype(np.float32)
    return hiss * decay * _fade(n, 0.01)


def _fade(n: int, seconds: float) -> Array:
    """From nothing to one in some seconds, and back at the end."""
    ramp = np.minimum(np.arange(n), np.arange(n)[::-1]) / (seconds * RATE)
    return np.minimum(ramp, 1.0).astype(np.float32)


KINDS: dict[str, _Kind] = {
    "vehicle": _Kind(_vehicle, (3.0, 8.0), (3.0, 8.0), moves=True),
    "machine-start": _Kind(_start, (4.0, 20.0), (4.0, 12.0)),
    "speech": _Kind(_speech, (1.0, 4.0), (2.0, 6.0)),
    "air-blast": _Kind(_air_blast, (0.4, 1.5), (3.0, 10.0)),
}
"""Every kind of burst; all are equally frequent."""
