"""A toy car on a roller stand: a brushed motor, one pair of plastic gears, four wheels."""

import numpy as np

from masd.arrays import Array
from masd.data.simulation.background import WORKSHOP
from masd.data.simulation.impacts import Mode, events, impacts, resonance
from masd.data.simulation.machine import Domain, Fault, Machine, OperatingPoint
from masd.data.simulation.signals import harmonics, noise, rotation, swing, unit

PINION_TEETH, GEAR_TEETH = 9, 42
POLES = 3
"""Armature poles: the commutator switches twice as often per turn."""
RPM_PER_VOLT = 2_800.0

_DECIVOLT: dict[Domain, tuple[int, ...]] = {"source": (28, 31, 37), "target": (34,)}
_CAR: dict[Domain, tuple[str, ...]] = {"source": ("A1", "A2"), "target": ("A2",)}
_BODIES: dict[str, tuple[Mode, ...]] = {
    "A1": (Mode(700.0, 0.003, 1.2), Mode(1900.0, 0.002, 1.6), Mode(3600.0, 0.002, 0.8)),
    "A2": (Mode(860.0, 0.003, 1.2), Mode(2300.0, 0.002, 1.4), Mode(3300.0, 0.002, 1.0)),
}
"""Plastic bodies of the two cars."""

_WHEEL_MODES = (Mode(320.0, 0.012, 1.0), Mode(1250.0, 0.006, 0.8))


def _operating_point(domain: Domain, rng: np.random.Generator) -> OperatingPoint:
    car, decivolt = str(rng.choice(_CAR[domain])), int(rng.choice(_DECIVOLT[domain]))
    rpm = RPM_PER_VOLT * decivolt / 10 * rng.normal(1.0, 0.035)
    return OperatingPoint({"rpm": rpm}, {"car": car, "spd": f"{decivolt}V"})


def _render(point: OperatingPoint, fault: Fault, n: int, rng: np.random.Generator) -> Array:
    """Commutation whine and mesh tones of the motor, rolling noise of the wheels on the axle.

    The axle turns at rpm x pinion / gear teeth; a bent shaft presses the gears together once per axle turn,
    which makes the mesh louder and sways everything.
    """
    body = _BODIES[point.attributes["car"]]
    motor = rotation(point["rpm"] / 60.0, n, rng, jitter=0.006)
    axle = motor * (PINION_TEETH / GEAR_TEETH)
    order = np.arange(1.0, 61.0)
    bent = fault.of("bent-shaft")
    mesh = 1.2 + 1.5 * bent
    amplitudes = np.full_like(order, 0.02)
    amplitudes += (order % (2 * POLES) == 0) / order**0.5 + mesh * (order % PINION_TEETH == 0) / order**0.6
    tones = unit(harmonics(motor, amplitudes * resonance(order * point["rpm"] / 60.0, body), rng))
    sway = 1.0 + (0.1 + 0.9 * bent) * swing(axle)
    sound = tones * sway
    rolling = noise(n, rng, ((20, -6), (200, 0), (900, 2), (2500, -3), (5000, -9), (8000, -16)))
    sound += 0.8 * rolling * (1.0 + 0.15 * swing(2 * axle) + 0.7 * bent * swing(axle))

    if deformed := fault.of("deformed-gear"):
        sound += 0.8 * deformed * impacts(n, events(axle), rng, body)
    if slack := fault.of("slack-wheel"):
        flaps = events(2 * axle)
        scatter = rng.normal(0.0, 0.12 * n / max(len(flaps), 1), len(flaps))
        sound += 0.8 * slack * impacts(n, flaps + scatter, rng, _WHEEL_MODES, spread=0.8)
    return sound


TOY_CAR = Machine(
    name="ToyCar",
    supplement="clean",
    faults={"bent-shaft": (0.4, 1.0), "deformed-gear": (0.25, 0.9), "slack-wheel": (0.25, 0.9)},
    scenes={"source": WORKSHOP, "target": WORKSHOP},
    snr_db=(-4.0, 4.0),
    operating_point=_operating_point,
    render=_render,
)
