"""Simulated machine recordings in the challenge's layout: seven kinds, two domains, known faults."""

from masd.data.simulation.dataset import MACHINES, simulate
from masd.data.simulation.plan import SimulationError

__all__ = ["MACHINES", "SimulationError", "simulate"]
