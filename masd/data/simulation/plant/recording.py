"""One recording by two microphones: a machine, its hall, and noise that comes and goes."""

import hashlib
from dataclasses import dataclass

import numpy as np

from masd.arrays import Array
from masd.data.simulation.background import factory_noise
from masd.data.simulation.machine import Fault, Machine, OperatingPoint
from masd.data.simulation.plan import PlannedClip
from masd.data.simulation.plant.bursts import Burst, bursts_in
from masd.data.simulation.plant.site import Site, heard
from masd.data.simulation.recording import LEVEL_DBFS, PEAK, draw_fault, generator, rounded_off
from masd.data.simulation.signals import decibels, rms


@dataclass(frozen=True)
class TwoChannelClip:
    """One clip ``[n, 2]``, near and far, with what the machine was doing and the bursts of noise in it."""

    samples: Array
    point: OperatingPoint
    fault: Fault
    bursts: tuple[Burst, ...]


def site_of(machine: Machine, seed: int) -> Site:
    """The place of a machine of a fleet; :raises ValueError: the seed is negative."""
    identity = hashlib.sha256(f"{machine.name}/site".encode()).digest()
    return Site.draw(np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(identity[:16], "big")])))


def record_two(machine: Machine, clip: PlannedClip, n: int, seed: int, site: Site) -> TwoChannelClip:
    """The n samples of one clip at both microphones. Both have the same gain, and the machine without bursts has a
    level in :data:`~masd.data.simulation.recording.LEVEL_DBFS` at the near one.
    """
    rng = generator(seed, machine.name, clip)
    point = machine.operating_point(clip.domain, rng)
    fault = draw_fault(machine, clip, rng)
    snr_db, level_dbfs = rng.uniform(*machine.snr_db), rng.uniform(*LEVEL_DBFS)
    machine_rms = decibels(snr_db)  # at the near microphone; that of the hall is 1
    sound = np.zeros((n, 2), np.float32)
    bursts: tuple[Burst, ...] = ()
    if clip.split != "supplemental" or machine.supplement == "clean":
        own = heard(machine.render(point, fault, n, rng), site.of_machine)
        sound += own * np.float32(machine_rms / rms(own[:, 0]))
    plant = np.zeros_like(sound)
    if clip.split != "supplemental" or machine.supplement == "noise":
        sound += heard(factory_noise(machine.scenes[clip.domain], n, rng), site.of_hall)
        plant, bursts = bursts_in(n, site, machine_rms, rng)
    gain = np.float32(decibels(level_dbfs) / rms(sound[:, 0]))
    return TwoChannelClip(_limited((sound + plant) * gain), point, fault, bursts)


def _limited(signal: Array) -> Array:
    """Rounded off as a limiter would where a blow or a burst is beyond `PEAK`."""
    return signal if np.max(np.abs(signal)) <= PEAK else rounded_off(signal)
