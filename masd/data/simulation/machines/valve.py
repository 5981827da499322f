"""A solenoid valve that opens and closes in a fixed pattern: clicks, and the hiss of the flow."""

from math import sqrt

import numpy as np

from masd.arrays import Array, Floats
from masd.data.simulation.background import WORKSHOP
from masd.data.simulation.impacts import Mode, impulses, ring
from masd.data.simulation.machine import Domain, Fault, Machine, OperatingPoint
from masd.data.simulation.signals import MS, RATE, band, noise, upsample

PATTERNS: dict[str, tuple[tuple[float, float], ...]] = {
    "00": ((0.25, 0.45),),
    "01": ((0.15, 0.15), (0.35, 0.30)),
    "02": ((0.45, 0.30),),
    "03": ((0.20, 0.25), (0.20, 0.35)),
}
"""Cycles as (open, closed) times in seconds."""

_PATTERN: dict[Domain, tuple[str, ...]] = {"source": ("00", "01", "02"), "target": ("03",)}
_BAR: dict[Domain, tuple[int, ...]] = {"source": (3, 4), "target": (4, 5)}
_OPEN_MODES = (Mode(950.0, 0.006, 0.8), Mode(2400.0, 0.005, 1.0), Mode(4600.0, 0.003, 0.6))
_CLOSE_MODES = (Mode(620.0, 0.008, 1.0), Mode(1700.0, 0.006, 0.8), Mode(3500.0, 0.003, 0.4))


def _operating_point(domain: Domain, rng: np.random.Generator) -> OperatingPoint:
    pattern, bar = str(rng.choice(_PATTERN[domain])), int(rng.choice(_BAR[domain]))
    return OperatingPoint({"bar": bar * rng.normal(1.0, 0.03)}, {"pat": pattern, "bar": str(bar)})


def _actuations(pattern: str, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The times at which the valve gets the commands to open and to close, in seconds, with a scatter of 2 ms."""
    cycle = np.asarray(PATTERNS[pattern])
    period = cycle.sum()
    opening = np.concatenate([[0.0], np.cumsum(cycle.sum(axis=1))[:-1]])
    starts = np.arange(-1, n / RATE / period + 1)[:, None] * period + rng.uniform(0, period)
    opens = (starts + opening).ravel()
    closes = (starts + opening + cycle[:, 0]).ravel()
    return opens + rng.normal(0, 0.002, len(opens)), closes + rng.normal(0, 0.002, len(closes))


def _render(point: OperatingPoint, fault: Fault, n: int, rng: np.random.Generator) -> Array:
    """Hiss brightens with pressure; a sluggish armature starts late, lands softly and opens slowly."""
    opens, closes = _actuations(point.attributes["pat"], n, rng)
    sluggish = fault.of("sluggish")
    opens = opens + sluggish * rng.normal(0.06, 0.01, len(opens))
    click = impulses(n, RATE * opens, (1.0 - 0.7 * sluggish) * rng.lognormal(0.0, 0.1, len(opens)))
    clack = impulses(n, RATE * closes, 0.8 * rng.lognormal(0.0, 0.1, len(closes)))
    sound = ring(click, _OPEN_MODES) + ring(clack, _CLOSE_MODES)
    flow = _flow(opens, closes, 0.008 + 0.12 * sluggish, n)

    bright = 1.5 * (point["bar"] - 3.0)
    shape = ((200, -25), (900, -6), (2200, 0), (4500, bright), (8000, -8 + bright))
    sound += 0.05 * sqrt(point["bar"] / 4.0) * flow * noise(n, rng, shape)

    if leak := fault.of("leak"):
        sound += 0.03 * leak * (1.0 - flow) * noise(n, rng, band(2600.0, 5200.0))
    if chatter := fault.of("chatter"):
        bounces = (opens[:, None] + np.cumsum(rng.uniform(0.01, 0.025, (len(opens), 6)), axis=1)).ravel()
        heights = chatter * np.tile(0.8 ** np.arange(1, 7), len(opens))
        sound += ring(impulses(n, RATE * bounces, heights), _OPEN_MODES)
    return sound


def _flow(opens: Floats, closes: Floats, rise_s: float, n: int) -> Array:
    """How far the valve is open, 0 to 1: linear rise after each opening, shut 10 ms after each closing."""
    shut = closes + 0.01
    risen = np.minimum(opens + rise_s, closes - 0.001)
    corners = np.stack([opens, risen, closes, shut], axis=1).ravel()
    heights = np.tile([0.0, 1.0, 1.0, 0.0], len(opens))
    return upsample(np.interp(np.arange(n // MS + 2) / 1000, corners, heights), MS, n)


VALVE = Machine(
    name="valve",
    supplement="noise",
    faults={"leak": (0.15, 0.7), "sluggish": (0.3, 0.9), "chatter": (0.2, 0.7)},
    scenes={"source": WORKSHOP, "target": WORKSHOP},
    snr_db=(-4.0, 4.0),
    operating_point=_operating_point,
    render=_render,
)
