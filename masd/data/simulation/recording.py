"""One recording: a machine in its hall, at a level that does not depend on its condition."""

import hashlib
from dataclasses import dataclass
from typing import cast

import numpy as np

from masd.arrays import Array
from masd.data.simulation.background import factory_noise
from masd.data.simulation.machine import HEALTHY, Fault, Machine, OperatingPoint
from masd.data.simulation.plan import PlannedClip
from masd.data.simulation.signals import decibels, rms, unit

LEVEL_DBFS = (-28.0, -24.0)
"""Range of the RMS level of every clip, whatever its split, domain or condition; 0 dBFS is an RMS of 1."""
PEAK = 0.97
"""No sample is larger; a rare blow above is rounded off as a limiter would."""


@dataclass(frozen=True)
class SimulatedClip:
    """One clip at its final level, with what the machine was doing in it."""

    samples: Array
    point: OperatingPoint
    fault: Fault


def generator(seed: int, machine: str, clip: PlannedClip) -> np.random.Generator:
    """The random numbers of one clip, independent of other clips and machines.

    :raises ValueError: the seed is negative.
    """
    identity = hashlib.sha256(f"{machine}/{clip.identity}".encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(identity[:16], "big")]))


def record(machine: Machine, clip: PlannedClip, n: int, seed: int) -> SimulatedClip:
    """The n samples of one clip. Anomalies go through the machine's fault kinds in turn."""
    rng = generator(seed, machine.name, clip)
    point = machine.operating_point(clip.domain, rng)
    fault = draw_fault(machine, clip, rng)
    snr_db, level_dbfs = rng.uniform(*machine.snr_db), rng.uniform(*LEVEL_DBFS)
    parts = []
    if clip.split != "supplemental" or machine.supplement == "clean":
        parts.append(unit(machine.render(point, fault, n, rng)) * np.float32(decibels(snr_db)))
    if clip.split != "supplemental" or machine.supplement == "noise":
        parts.append(factory_noise(machine.scenes[clip.domain], n, rng))
    return SimulatedClip(set_level(cast(Array, sum(parts)), level_dbfs), point, fault)


def draw_fault(machine: Machine, clip: PlannedClip, rng: np.random.Generator) -> Fault:
    if clip.condition == "normal":
        return HEALTHY
    kind = list(machine.faults)[clip.index % len(machine.faults)]
    return Fault(kind, rng.uniform(*machine.faults[kind]))


def set_level(signal: Array, dbfs: float) -> Array:
    """The signal at an RMS level in dBFS, its peaks within `PEAK`.

    Limiting takes a little off the RMS, so the gain is set again and the limiter repeated.
    """
    goal = decibels(dbfs)
    for _ in range(4):
        signal = signal * np.float32(goal / rms(signal))
        if np.max(np.abs(signal)) <= PEAK:
            break
        signal = rounded_off(signal)
    return signal


def rounded_off(signal: Array) -> Array:
    """The signal within `PEAK`, as a limiter would round it off."""
    limited: Array = np.float32(PEAK) * np.tanh(signal / np.float32(PEAK))
    return limited
