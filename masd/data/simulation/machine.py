"""A machine kind of the simulator: its operating points, its faults and two functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from masd.arrays import Array
from masd.data.simulation.background import Scene

Domain = Literal["source", "target"]
Supplement = Literal["noise", "clean"]


@dataclass(frozen=True)
class OperatingPoint:
    """How a machine runs during one clip."""

    values: Mapping[str, float]
    """Physical quantities under the names that the machine's `render` uses, with their unit."""
    attributes: Mapping[str, str]
    """What the file name tells of them; empty for the kinds without attributes."""

    def __getitem__(self, quantity: str) -> float:
        return self.values[quantity]


@dataclass(frozen=True)
class Fault:
    """A defect of a stated kind; severity 0 is a healthy machine, 1 the worst that is simulated."""

    kind: str
    severity: float

    def of(self, kind: str) -> float:
        """The severity if the fault is of this kind, else 0."""
        return self.severity if self.kind == kind else 0.0


HEALTHY = Fault("none", 0.0)


@dataclass(frozen=True)
class Machine:
    """One machine kind."""

    name: str
    supplement: Supplement
    """Whether its supplemental clips are of the hall alone or of the machine alone."""
    faults: Mapping[str, tuple[float, float]]
    """Fault kinds with the range their severity is drawn from."""
    scenes: Mapping[Domain, Scene]
    """The hall around the machine in each domain."""
    snr_db: tuple[float, float]
    """Range of the level of the machine over the hall, in dB; the same whatever the condition."""
    operating_point: Callable[[Domain, np.random.Generator], OperatingPoint]
    render: Callable[[OperatingPoint, Fault, int, np.random.Generator], Array]
    """`render(point, fault, n, rng)`: n samples of the machine alone, at any level."""
