"""The model agent: keeps one TorchServe at the versions that the registry's production pointers name.

It asks TorchServe what is loaded, so it may start, end and start again at any time. One loop reads the pointers; each
machine has a loop of its own (:mod:`serving.agent.follower`), so what hangs or fails at one keeps no other waiting.
"""

import threading
from collections.abc import Collection
from typing import Any

from masd.errors import MasdError, one_line
from masd.progress import print_line
from serving.agent.follower import Follower, Plant
from serving.background import Loop, Loops

STEP_SECONDS = 10.0
"""Between two looks at what TorchServe has loaded for a machine: each costs 10 ms of a core, and there may be a hundred
machines. A pointer that moves is followed at once, and a worker that ends is missed by the machine's next probe.
"""


class ModelAgent:
    """Follows the registry of ``plant``, read every ``seconds``; every loop that it starts is one of ``loops``."""

    def __init__(self, plant: Plant, loops: Loops, seconds: float = 10.0, only: Collection[str] | None = None) -> None:
        """``only`` names the machines of the registry that are followed; None means all."""
        self.pointers = Loop("registry", self.look, seconds)
        """Reads the pointers, and wakes the machines whose pointer has moved."""
        self._plant = plant
        self._only = only
        self._loops = loops
        self._machines: dict[str, Follower] = {}
        self._running: dict[str, Loop] = {}
        self._unreadable: dict[str, str] = {}
        self._registry_problem = "the registry has not been read yet"
        self._begun = False
        self._starting = threading.Lock()

    @property
    def machines(self) -> dict[str, Follower]:
        """All machines that have had a production pointer since the start."""
        return dict(self._machines)

    @property
    def serving(self) -> dict[str, str]:
        """Machine -> the version that serves it, of those that are served."""
        return {name: machine.serving for name, machine in sorted(self.machines.items()) if machine.serving}

    @property
    def problems(self) -> dict[str, str]:
        """Machine -> why the version that it should have does not serve."""
        problems = {name: machine.problem for name, machine in self.machines.items() if machine.problem}
        return {**self._unreadable, **problems}

    @property
    def ready(self) -> bool:
        """Whether something serves, and every machine does that ever has, after it scored a clip.

        One bad promotion or one machine that cannot be loaded must not take a replica out of service: a machine counts
        from when a version has served it, and one that serves an older version than it should is served.
        """
        counted = [machine for machine in self.machines.values() if machine.served]
        return bool(counted) and all(machine.serving is not None for machine in counted)

    @property
    def settled(self) -> bool:
        """Whether each machine serves its version or has said why it does not."""
        return all(machine.settled for machine in self.machines.values())

    def status(self) -> dict[str, Any]:
        """For people: what serves, what should, and why not."""
        machines = {name: machine.status() for name, machine in sorted(self.machines.items())}
        for name, problem in self._unreadable.items():
            known = machines.setdefault(name, {"wanted": None, "serving": None, "problem": None})
            known["problem"] = known["problem"] or problem
        return {"ready": self.ready, "models": machines, "registry": self._registry_problem or "read"}

    def begin(self) -> None:
        """TorchServe is there: give each machine its loop, and from now on each that is new."""
        self._begun = True
        self._start([])

    def look(self) -> None:
        """Read the pointers, once.

        :raises MasdError: the registry cannot be read; the loaded versions are still served.
        """
        moved = self._read()
        if self._begun:
            self._start(moved)

    def step(self) -> None:
        """Read the pointers and bring each machine to its version, one after the other, in this thread."""
        self.pointers.take()
        for machine in self.machines.values():
            machine.step()

    def stop(self) -> None:
        """End every wait and every loop; does not wait for the steps that are being taken."""
        for machine in self.machines.values():
            machine.stop()
        for loop in list(self._running.values()):
            loop.stop(0.0)

    def _start(self, moved: list[str]) -> None:
        with self._starting:
            for name in self.machines.keys() - self._running.keys():
                self._running[name] = self._loops.start(Loop(name, self._machines[name].step, STEP_SECONDS))
        for name in moved:
            self._running[name].wake()

    def _read(self) -> list[str]:
        """Ask the registry; the machines whose pointer has moved."""
        try:
            look = self._plant.registry.look()
        except Exception as error:
            self._registry_problem = one_line(error) or type(error).__name__
            loaded = "; the loaded versions are still served" if self._machines else ""
            raise MasdError(f"{self._registry_problem}{loaded}") from error
        self._registry_problem = ""
        problems = {name: problem for name, problem in look.problems.items() if self._follows(name)}
        for name in sorted(problems.keys() - self._unreadable.keys()):
            print_line(f"masd agent: {name}: {problems[name]}")
        self._unreadable = problems
        return [
            name
            for name, version in look.production.items()
            if self._follows(name) and self._machines.setdefault(name, Follower(name, self._plant)).move(version)
        ]

    def _follows(self, name: str) -> bool:
        return self._only is None or name in self._only
