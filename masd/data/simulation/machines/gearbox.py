"""A two-stage spur gearbox on a direct-current motor: gear mesh tones that follow voltage and load."""

import numpy as np

from masd.arrays import Array, Floats
from masd.data.simulation.background import WORKSHOP
from masd.data.simulation.impacts import Mode, events, impacts, resonance
from masd.data.simulation.machine import Domain, Fault, Machine, OperatingPoint
from masd.data.simulation.signals import RATE, harmonics, noise, rotation, swing, unit

PINION_TEETH, WHEEL_TEETH = 19, 47
SECOND_PINION_TEETH = 23
RPM_PER_VOLT = 700.0

_VOLT: dict[Domain, tuple[float, ...]] = {"source": (1.5, 2.0, 2.5), "target": (2.8,)}
_WEIGHT: dict[Domain, tuple[int, ...]] = {"source": (0, 50, 100), "target": (100,)}
_HOUSING = (Mode(820.0, 0.004, 1.5), Mode(1650.0, 0.003, 1.2), Mode(3100.0, 0.002, 0.8))


def _operating_point(domain: Domain, rng: np.random.Generator) -> OperatingPoint:
    volt, weight = float(rng.choice(_VOLT[domain])), int(rng.choice(_WEIGHT[domain]))
    rpm = RPM_PER_VOLT * volt * (1.0 - 0.0008 * weight) * rng.normal(1.0, 0.008)
    return OperatingPoint({"rpm": rpm, "load": weight / 100.0}, {"volt": str(volt), "wt": str(weight)})


def _render(point: OperatingPoint, fault: Fault, n: int, rng: np.random.Generator) -> Array:
    """Gear mesh frequency = teeth x rpm / 60 of the shaft that carries them."""
    pinion = rotation(point["rpm"] / 60.0, n, rng)
    middle = pinion * (PINION_TEETH / WHEEL_TEETH)
    sound = _mesh(pinion, PINION_TEETH, point, fault, rng)
    sound += 0.6 * _mesh(middle, SECOND_PINION_TEETH, point, fault, rng)

    churn = noise(n, rng, ((20, -4), (400, 0), (1500, -4), (4000, -10), (8000, -18)))
    sound += 0.6 * churn
    if dry := fault.of("lubrication-loss"):
        rub = 1.0 + 0.8 * swing(PINION_TEETH * pinion)
        sound += 0.6 * dry * rub * noise(n, rng, ((500, -25), (1800, -6), (3500, 0), (5500, 0), (8000, -12)))
    if broken := fault.of("broken-tooth"):
        sound += 0.9 * broken * impacts(n, events(pinion), rng, _HOUSING)
    return sound


def _mesh(shaft: Floats, teeth: int, point: OperatingPoint, fault: Fault, rng: np.random.Generator) -> Array:
    """Tones of one pair of gears, with the sidebands a shaft's own turn puts beside each.

    Load raises the first harmonic; wear spoils the profile of the teeth, which raises the upper ones.
    Eccentricity modulates the mesh once per turn of the shaft.
    """
    speed_hz = float(shaft[-1] - shaft[0]) * RATE / len(shaft)
    highest = teeth * 12
    amplitudes: Floats = np.full(highest, 0.003)
    harmonic = np.arange(1, 12)
    level = np.power(harmonic, 0.2 * point["load"] + 0.9 * fault.of("wear") - 1.4)
    level[0] *= 1.0 + 0.5 * point["load"]
    mesh = teeth * harmonic - 1
    amplitudes[mesh] += level
    for distance in (1, 2, 3):
        share = (0.08 + 0.7 * fault.of("eccentricity")) / distance
        amplitudes[mesh - distance] += share * level
        amplitudes[mesh + distance] += share * level
    radiated = resonance(speed_hz * np.arange(1.0, highest + 1.0), _HOUSING)
    return unit(harmonics(shaft, amplitudes * radiated, rng))


GEARBOX = Machine(
    name="gearbox",
    supplement="noise",
    faults={
        "broken-tooth": (0.3, 1.0),
        "eccentricity": (0.3, 1.0),
        "wear": (0.15, 0.6),
        "lubrication-loss": (0.2, 0.7),
    },
    scenes={"source": WORKSHOP, "target": WORKSHOP},
    snr_db=(-4.0, 4.0),
    operating_point=_operating_point,
    render=_render,
)
