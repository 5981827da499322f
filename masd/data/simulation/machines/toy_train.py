"""A toy train on an oval track: motor whine, wheels on rails, the double beat of a bogie at each joint."""

import numpy as np

from masd.arrays import Array
from masd.data.simulation.background import WORKSHOP
from masd.data.simulation.impacts import Mode, events, impacts, resonance
from masd.data.simulation.machine import Domain, Fault, Machine, OperatingPoint
from masd.data.simulation.signals import band, harmonics, noise, rotation, swing, unit, wander

TRACK_M, JOINTS = 0.9, 6
WHEEL_M = 0.038
"""Circumference of a wheel."""
BOGIE_M = 0.03
"""Distance of the two axles of a bogie."""
WORM_TEETH = 16
"""Motor turns per turn of an axle."""

_SPEED_M_S: dict[Domain, tuple[float, float]] = {"source": (0.35, 0.5), "target": (0.51, 0.55)}
_RAIL_MODES = (Mode(780.0, 0.007, 1.0), Mode(1850.0, 0.005, 0.8), Mode(3900.0, 0.003, 0.4))
_WHEEL_MODES = (Mode(2400.0, 0.004, 1.0), Mode(5100.0, 0.003, 0.6))


def _operating_point(domain: Domain, rng: np.random.Generator) -> OperatingPoint:
    return OperatingPoint({"speed_m_s": rng.uniform(*_SPEED_M_S[domain])}, {})


def _render(point: OperatingPoint, fault: Fault, n: int, rng: np.random.Generator) -> Array:
    """Everything follows the way travelled; the train is nearest to the microphone once per lap."""
    lap = rotation(point["speed_m_s"] / TRACK_M, n, rng, jitter=0.03)
    wheel = lap * (TRACK_M / WHEEL_M)
    motor = wheel * WORM_TEETH
    order = np.arange(1.0, 25.0)
    motor_hz = WORM_TEETH * point["speed_m_s"] / WHEEL_M
    amplitudes = order**-0.9 * resonance(order * motor_hz, _RAIL_MODES)
    sound = unit(harmonics(motor, amplitudes, rng))
    sound += 0.8 * noise(n, rng, ((20, -12), (300, -3), (1000, 0), (2500, -1), (4500, -8), (8000, -16)))

    joints = [events(JOINTS * (lap - axle * BOGIE_M / TRACK_M)) for axle in (0, 1)]
    sound += 0.7 * impacts(n, np.concatenate(joints), rng, _RAIL_MODES, spread=0.2)

    if chipped := fault.of("chipped-wheel"):
        sound += 0.6 * chipped * impacts(n, events(wheel), rng, _WHEEL_MODES)
    if gap := fault.of("rail-gap"):
        # Every second joint has opened, so that a wheel strikes both of its ends.
        drops = [events(JOINTS / 2 * (lap - axle * BOGIE_M / TRACK_M)) for axle in (0.0, 0.5, 1.0, 1.5)]
        sound += 0.9 * gap * impacts(n, np.concatenate(drops), rng, _RAIL_MODES)
    if rub := fault.of("axle-friction"):
        drag = np.maximum(0.0, swing(wheel) + 0.4 * wander(n, rng, 6.0))
        sound += 0.6 * rub * unit(drag * noise(n, rng, band(1500.0, 4500.0)))
    return sound * (1.0 + 0.35 * swing(lap))


TOY_TRAIN = Machine(
    name="ToyTrain",
    supplement="noise",
    faults={"chipped-wheel": (0.12, 0.5), "rail-gap": (0.4, 1.0), "axle-friction": (0.3, 1.0)},
    scenes={"source": WORKSHOP, "target": WORKSHOP},
    snr_db=(-4.0, 4.0),
    operating_point=_operating_point,
    render=_render,
)
