"""A ball bearing on a test shaft: rolling noise, and the impacts of a defect each time a ball passes it."""

from math import cos, radians

import numpy as np

from masd.arrays import Array, Floats
from masd.data.simulation.background import ASSEMBLY_LINE, WORKSHOP
from masd.data.simulation.impacts import Mode, events, impulses, ring
from masd.data.simulation.machine import Domain, Fault, Machine, OperatingPoint
from masd.data.simulation.signals import harmonics, noise, rotation, swing, unit, wander

BALLS, BALL_MM, PITCH_MM, CONTACT_DEG = 9, 7.94, 39.04, 0.0
"""Geometry of a 6205 deep groove bearing."""

_RATIO = BALL_MM / PITCH_MM * cos(radians(CONTACT_DEG))
CAGE = 0.5 * (1.0 - _RATIO)
"""Fundamental train frequency per shaft revolution: 1/2 (1 - d/D cos a)."""
BPFO = BALLS * CAGE
"""Ball pass frequency of the outer race per shaft revolution: n/2 (1 - d/D cos a)."""
BPFI = BALLS * (1.0 - CAGE)
"""Ball pass frequency of the inner race per shaft revolution: n/2 (1 + d/D cos a)."""
BSF = PITCH_MM / (2 * BALL_MM) * (1.0 - _RATIO**2)
"""Ball spin frequency per shaft revolution: D/2d (1 - (d/D cos a)^2)."""

_RPM: dict[Domain, tuple[float, float]] = {"source": (1000.0, 1500.0), "target": (1550.0, 1700.0)}
_RACE_MODES = (Mode(1900.0, 0.003, 0.8), Mode(3300.0, 0.0025, 1.0), Mode(5200.0, 0.0015, 0.5))


def _operating_point(domain: Domain, rng: np.random.Generator) -> OperatingPoint:
    return OperatingPoint({"rpm": rng.uniform(*_RPM[domain]), "load": rng.uniform(0.2, 1.0)}, {})


def _render(point: OperatingPoint, fault: Fault, n: int, rng: np.random.Generator) -> Array:
    """Shaft orders and rolling noise; a defect rings the races at its ball pass frequency."""
    shaft = rotation(point["rpm"] / 60.0, n, rng)
    shaft_orders = np.arange(1.0, 41.0) ** -1.0
    shaft_orders[27] += 0.35  # the slots of the drive motor
    sound = 0.7 * unit(harmonics(shaft, shaft_orders, rng))

    bright = 4.0 * point["load"]
    races = ((1900, 2 + bright), (2500, -5), (3300, -1 + bright), (5200, -9))
    shape = ((20, -8), (300, -2), (900, 0), *races, (8000, -20))
    rolling = 1.0 + 0.15 * swing(CAGE * shaft)
    sound += noise(n, rng, shape) * rolling

    if dry := fault.of("lubrication-loss"):
        squeal = 1.0 + 0.6 * wander(n, rng, knots_per_s=25.0)
        sound += 0.5 * dry * squeal * noise(n, rng, ((1500, -30), (4000, 0), (6500, 2), (8000, -6)))
    if fault.severity and not dry:
        sound += fault.severity * _impacts(fault.kind, shaft, n, rng)
    return sound


def _impacts(kind: str, shaft: Floats, n: int, rng: np.random.Generator) -> Array:
    """Impacts of a race or ball defect at unit RMS.

    An inner race defect is carried through the load zone once per shaft turn and a ball defect once per cage
    turn, so their impacts come and go; a defect of the fixed outer race stays in the zone. A ball defect
    meets both races in each spin, hence 2 BSF. Balls slip by about a percent.
    """
    order, carrier = {"outer-race": (BPFO, 0.0), "inner-race": (BPFI, 1.0), "ball": (2 * BSF, CAGE)}[kind]
    at = events(order * shaft)
    zone = 0.5 + 0.5 * np.cos(2 * np.pi * carrier * shaft[at.astype(np.int64)]) if carrier else 1.0
    spacing = n / max(len(at), 1)
    slipped = at + rng.normal(0.0, 0.012 * spacing, len(at))
    strengths = zone * rng.lognormal(0.0, 0.2, len(at))
    return unit(ring(impulses(n, slipped, strengths), _RACE_MODES))


BEARING = Machine(
    name="bearing",
    supplement="clean",
    faults={
        "outer-race": (0.15, 0.5),
        "inner-race": (0.15, 0.5),
        "ball": (0.15, 0.5),
        "lubrication-loss": (0.1, 0.5),
    },
    scenes={"source": WORKSHOP, "target": ASSEMBLY_LINE},
    snr_db=(-4.0, 4.0),
    operating_point=_operating_point,
    render=_render,
)
