"""Simulate machines; the arguments are checked before anything is written."""

import math
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from masd.data.simulation.machine import Machine
from masd.data.simulation.machines.bearing import BEARING
from masd.data.simulation.machines.fan import FAN
from masd.data.simulation.machines.gearbox import GEARBOX
from masd.data.simulation.machines.slider import SLIDER
from masd.data.simulation.machines.toy_car import TOY_CAR
from masd.data.simulation.machines.toy_train import TOY_TRAIN
from masd.data.simulation.machines.valve import VALVE
from masd.data.simulation.plan import Plan, SimulationError
from masd.data.simulation.signals import RATE
from masd.data.simulation.writer import check_free, write_machine

CATALOGUE: dict[str, Machine] = {
    machine.name: machine for machine in (FAN, GEARBOX, BEARING, SLIDER, VALVE, TOY_CAR, TOY_TRAIN)
}
MACHINES: tuple[str, ...] = tuple(CATALOGUE)
"""The machine kinds of the challenge's development set."""


def simulate(
    out: Path,
    machines: Sequence[str] = MACHINES,
    *,
    train: int = 1000,
    test: int = 200,
    seconds: float = 10.0,
    seed: int = 0,
    supplemental: int | None = None,
    channels: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Path]:
    """Writes one folder per machine in the challenge's layout and returns the folders.

    `train` counts the noisy training clips (10 of 1000 are of the target domain), `test` is split evenly over source
    and target, normal and anomalous, and `supplemental` is a tenth of `train` unless given. With two `channels` the
    clips come from a near and a far microphone in a plant with noise that comes and goes. `progress` is called with
    the clips done, the clips in all and the machine. The same arguments give the same bytes, and a clip has the same
    samples however many others are made with it.

    :raises SimulationError: before anything is written: a machine is unknown or named twice, a count or the length
        is not valid, or a machine's folder exists and is not empty.
    :raises OSError: writing failed; nothing of this machine is left.
    """
    plan = Plan(train, test, train // 10 if supplemental is None else supplemental)
    kinds = _named(machines)
    if not (math.isfinite(seconds) and seconds >= 1.0):
        raise SimulationError(
            f"seconds is {seconds}, but must be at least 1 s: slow machines need a second for one cycle"
        )
    if channels not in (1, 2):
        raise SimulationError(f"channels is {channels}, but must be 1, or 2 for a near and a far microphone")
    if seed < 0:
        raise SimulationError(f"seed is {seed}, but must be 0 or more")
    for kind in kinds:
        check_free(out / kind.name)

    total, done = len(kinds) * len(plan), count(1)

    def written(kind: Machine) -> Callable[[], None]:
        return lambda: progress(next(done), total, kind.name) if progress else None

    n = round(seconds * RATE)
    return [write_machine(out, kind, plan, n=n, seed=seed, channels=channels, written=written(kind)) for kind in kinds]


def _named(machines: Sequence[str]) -> list[Machine]:
    unknown = [name for name in machines if name not in CATALOGUE]
    if unknown:
        raise SimulationError(f"unknown machine {', '.join(unknown)}; the kinds are {', '.join(MACHINES)}")
    if not machines or len(set(machines)) < len(machines):
        raise SimulationError(f"name each machine once and at least one of {', '.join(MACHINES)}")
    return [CATALOGUE[name] for name in machines]
