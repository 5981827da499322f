"""A linear slide on a ball screw, shuttling between two ends: whine and rail noise that follow the stroke."""

import numpy as np

from masd.arrays import Array, Floats
from masd.data.simulation.background import WORKSHOP
from masd.data.simulation.impacts import Mode, events, impacts, impulses, ring
from masd.data.simulation.machine import Domain, Fault, Machine, OperatingPoint
from masd.data.simulation.signals import (
    MS,
    RATE,
    band,
    harmonics,
    noise,
    rotation,
    unit,
    upsample,
    wander,
)

STROKE_MM = 200.0
LEAD_MM = 12.0
"""Travel per turn of the screw."""
DWELL_S = 0.08
"""Rest at each end."""

_SPEED_MM_S: dict[Domain, tuple[float, float]] = {"source": (320.0, 560.0), "target": (570.0, 620.0)}
_ACCELERATION_MM_S2 = (4000.0, 8000.0)
_END_MODES = (Mode(240.0, 0.02, 1.0), Mode(690.0, 0.012, 0.7), Mode(1500.0, 0.006, 0.4))
_RAIL_MODES = (Mode(1300.0, 0.005, 0.6), Mode(2600.0, 0.004, 1.0), Mode(4400.0, 0.003, 0.7))
_BELT_MODES = (Mode(420.0, 0.01, 1.0), Mode(980.0, 0.006, 0.8))


def _operating_point(domain: Domain, rng: np.random.Generator) -> OperatingPoint:
    speed, acceleration = rng.uniform(*_SPEED_MM_S[domain]), rng.uniform(*_ACCELERATION_MM_S2)
    return OperatingPoint({"speed_mm_s": speed, "acceleration_mm_s2": acceleration}, {})


def _travel_speed(point: OperatingPoint, n: int, rng: np.random.Generator) -> Array:
    """Speed of the carriage in mm/s, whatever its direction: one trapezoid per stroke."""
    speed = point["speed_mm_s"]
    ramp_s = speed / point["acceleration_mm_s2"]
    cruise_s = STROKE_MM / speed - ramp_s
    period_s = 2 * ramp_s + cruise_s + DWELL_S
    corners = np.array([0.0, ramp_s, ramp_s + cruise_s, 2 * ramp_s + cruise_s, period_s])
    time = (np.arange(n // MS + 2) / 1000 + rng.uniform(0, period_s)) % period_s
    return upsample(np.interp(time, corners, [0.0, speed, speed, 0.0, 0.0]), MS, n)


def _render(point: OperatingPoint, fault: Fault, n: int, rng: np.random.Generator) -> Array:
    """Screw orders = speed / lead; rail noise grows with speed; a thump at each end stop."""
    speed = _travel_speed(point, n, rng)
    share = speed / np.float32(point["speed_mm_s"])
    screw = rotation(speed / LEAD_MM, n, rng)
    whine = np.arange(1.0, 61.0) ** -1.1
    whine[[5, 11, 23, 35]] += (0.8, 0.6, 0.5, 0.3)  # ball returns and motor poles
    sound = unit(harmonics(screw, whine, rng) * share)
    sound += 0.9 * unit(share * noise(n, rng, ((20, -10), (300, 0), (1200, 0), (3000, -6), (8000, -18))))
    stops = np.flatnonzero(np.diff(speed > 0)).astype(np.float64)
    sound += 0.7 * impacts(n, stops, rng, _END_MODES, spread=0.15)

    if pits := fault.of("rail-damage"):
        sound += 0.8 * pits * impacts(n, _over_the_pits(speed, stops, rng), rng, _RAIL_MODES)
    if dry := fault.of("friction"):
        pitch = rng.uniform(1500.0, 2300.0) * (0.8 + 0.2 * share)
        squeal = harmonics(rotation(pitch, n, rng, jitter=0.02), np.array([1.0, 0.5, 0.25]), rng)
        stick_slip = np.maximum(0.0, 0.3 + wander(n, rng, knots_per_s=12.0))
        sound += 0.35 * dry * unit(share * stick_slip * squeal)
        sound += 0.35 * dry * unit(share * noise(n, rng, band(2000.0, 6000.0)))
    if slack := fault.of("loose-belt"):
        slaps = (stops[:, None] + RATE * np.cumsum(rng.uniform(0.018, 0.05, (len(stops), 5)), axis=1)).ravel()
        blows = impulses(n, slaps, np.tile(0.75 ** np.arange(5), len(stops)))
        sound += 0.9 * slack * unit(ring(blows, _BELT_MODES))
    return sound


def _over_the_pits(speed: Array, stops: Floats, rng: np.random.Generator) -> Floats:
    """When the balls of the carriage pass a damaged spot of the rail, which a there-and-back meets twice."""
    strokes = np.cumsum(speed, dtype=np.float64) / (RATE * STROKE_MM)
    strokes -= strokes[int(stops[0])]  # whole at every end of the rail
    spots = rng.uniform(0.2, 0.7) + 0.012 * np.arange(6)
    return np.concatenate([events((strokes + way * spot) / 2) for spot in spots for way in (-1, 1)])


SLIDER = Machine(
    name="slider",
    supplement="clean",
    faults={"rail-damage": (0.15, 0.5), "friction": (0.2, 0.8), "loose-belt": (0.3, 1.0)},
    scenes={"source": WORKSHOP, "target": WORKSHOP},
    snr_db=(-4.0, 4.0),
    operating_point=_operating_point,
    render=_render,
)
