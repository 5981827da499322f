"""Where a machine, its two microphones and a source of noise are, and the path of sound between them."""

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from scipy.signal import oaconvolve

from masd.arrays import Array, Floats
from masd.data.simulation.signals import RATE

SOUND_M_S = 343.0
RESPONSE_S = 0.3
"""Length of an impulse response; a reverberation of 0.7 s has fallen by 26 dB then."""

REFLECTIONS = 6
"""The number of single early reflections; what comes later is the tail."""


@dataclass(frozen=True)
class Site:
    """One machine's place: its distance from the two microphones in m, and the room.

    ``critical_m`` is the distance at which a source's direct sound is as loud as all of its reflections.
    """

    near_m: float
    far_m: float
    reverberation_s: float
    critical_m: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Site":
        """The near microphone stands at the machine, the far one some steps away."""
        return cls(
            near_m=rng.uniform(0.5, 1.0),
            far_m=rng.uniform(4.0, 7.0),
            reverberation_s=rng.uniform(0.4, 0.8),
            critical_m=rng.uniform(1.5, 3.0),
            seed=int(rng.integers(2**32)),
        )

    def to_dict(self) -> dict[str, float]:
        """For ``simulation.json``."""
        return {name: round(value, 3) for name, value in asdict(self).items() if name != "seed"}

    @cached_property
    def of_machine(self) -> Array:
        """The machine's impulse responses ``[samples, 2]``; machine and microphones stay where they are."""
        return self.responses((self.near_m, self.far_m), np.random.default_rng(self.seed))

    @cached_property
    def of_hall(self) -> Array:
        """The hall's impulse responses ``[samples, 2]``, with a power of one each: its noise comes from all sides."""
        rng = np.random.default_rng(self.seed + 1)
        tails = np.stack([self._tail(rng), self._tail(rng)], axis=1)
        return np.asarray(tails / np.sqrt(np.square(tails).sum(axis=0)), np.float32)

    def responses(self, distances_m: tuple[float, float], rng: np.random.Generator) -> Array:
        """Impulse responses ``[samples, 2]`` of a source to the near and the far microphone.

        Direct sound falls with the distance, reflections are as loud everywhere in the room.
        """
        return np.stack([self._response(distance, rng) for distance in distances_m], axis=1)

    def _response(self, distance_m: float, rng: np.random.Generator) -> Array:
        direct = round(distance_m / SOUND_M_S * RATE)
        tail = self._tail(rng)
        places = rng.integers(RATE // 500, RATE // 50, REFLECTIONS)  # 2 to 20 ms after the direct sound
        tail[places] += rng.normal(0.0, 0.3, REFLECTIONS) * np.sqrt(np.square(tail).sum())
        tail *= 1.0 / (self.critical_m * np.sqrt(np.square(tail).sum()))
        response = np.zeros(len(tail) + direct)
        response[direct] = 1.0 / distance_m
        response[direct:] += tail
        return np.asarray(response[: len(tail)], np.float32)

    def _tail(self, rng: np.random.Generator) -> Floats:
        time = np.arange(round(RESPONSE_S * RATE)) / RATE
        tail = rng.standard_normal(len(time)) * 10.0 ** (-3.0 * time / self.reverberation_s)
        tail[: RATE // 500] = 0.0  # no reflection is earlier than 2 ms
        return tail


def heard(source: Array, responses: Array) -> Array:
    """A source ``[n]``, or one ``[n, 2]`` for each microphone, behind its impulse responses ``[m, 2]``: ``[n, 2]``."""
    both = source[:, None] if source.ndim == 1 else source
    whole: Array = oaconvolve(both, responses, axes=0)[: len(source)].astype(np.float32)
    return whole
