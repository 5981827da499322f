"""An axial fan: blade pass tones over turbulent noise."""

import numpy as np

from masd.arrays import Array, Floats
from masd.data.simulation.background import ASSEMBLY_LINE, WORKSHOP
from masd.data.simulation.impacts import Mode, events, impacts
from masd.data.simulation.machine import Domain, Fault, Machine, OperatingPoint
from masd.data.simulation.signals import harmonics, noise, rotation, swing, unit

BLADES = 7
BEARING_ORDER = 3.05
"""Outer race passes per revolution of the motor bearing."""

_RPM: dict[Domain, tuple[int, ...]] = {"source": (1200, 1350, 1500), "target": (1600,)}
_DAMPER = (0, 50)
_BEARING_MODES = (Mode(2700.0, 0.004, 1.0), Mode(4300.0, 0.003, 0.7))
_ORDERS = np.arange(1.0, 301.0)


def _operating_point(domain: Domain, rng: np.random.Generator) -> OperatingPoint:
    rpm, damper = int(rng.choice(_RPM[domain])), int(rng.choice(_DAMPER))
    values = {"rpm": rpm * rng.normal(1.0, 0.008), "damper": damper / 100}
    return OperatingPoint(values, {"rpm": str(rpm), "damper": str(damper)})


def _render(point: OperatingPoint, fault: Fault, n: int, rng: np.random.Generator) -> Array:
    """Blade pass frequency = blades x rpm / 60; turbulence darkens as the damper closes."""
    shaft = rotation(point["rpm"] / 60.0, n, rng)
    sound = unit(harmonics(shaft, _rotor_amplitudes(fault), rng))

    choke = point["damper"] + 1.5 * fault.of("clogging")
    low, high = ((20, 2 + 6 * choke), (250, 4 + 3 * choke)), ((1200, -3 - 4 * choke), (4000, -12 - 7 * choke))
    gusts = 1.0 + 0.25 * swing(BLADES * shaft)
    sound += 0.9 * point["rpm"] / 1500.0 * noise(n, rng, (*low, *high, (8000, -22))) * gusts

    if wear := fault.of("bearing-wear"):
        sound += 0.5 * wear * impacts(n, events(BEARING_ORDER * shaft), rng, _BEARING_MODES)
    return sound


def _rotor_amplitudes(fault: Fault) -> Floats:
    """Amplitude at every order of the shaft.

    A balanced rotor of equal blades sounds at multiples of the blade count only. Imbalance forces order 1
    and, by the play it works into the mount, the orders above; one bent blade modulates the blade pass tones
    once per turn.
    """
    amplitudes = 0.04 / _ORDERS
    blade_pass = np.arange(BLADES, len(_ORDERS), BLADES)
    amplitudes[blade_pass - 1] += (blade_pass / BLADES) ** -1.3
    imbalance, bent = fault.of("imbalance"), fault.of("bent-blade")
    amplitudes += imbalance * np.where(_ORDERS == 1, 2.0, 0.5 * _ORDERS**-0.8 * (_ORDERS < 60))
    for distance in (1, 2, 3):
        sideband = bent * 0.7 / distance
        amplitudes[blade_pass - 1 - distance] += sideband * (blade_pass / BLADES) ** -0.8
    return amplitudes


FAN = Machine(
    name="fan",
    supplement="noise",
    faults={
        "imbalance": (0.08, 0.5),
        "bent-blade": (0.4, 1.0),
        "clogging": (0.25, 0.9),
        "bearing-wear": (0.12, 0.5),
    },
    scenes={"source": WORKSHOP, "target": ASSEMBLY_LINE},
    snr_db=(-4.0, 4.0),
    operating_point=_operating_point,
    render=_render,
)
