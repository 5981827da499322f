"""Whether requests can be answered, and everything that is known about why not."""

from dataclasses import dataclass
from typing import Any, Protocol

from serving.background import Loop, Loops
from serving.health.watch import Watch


class Source(Protocol):
    """Who says what serves: the model agent."""

    def stop(self) -> None:
        """Follow no pointer any more."""

    def status(self) -> dict[str, Any]:
        """With ``ready``, and what else there is to say."""


class Process(Protocol):
    """TorchServe's."""

    @property
    def running(self) -> bool:
        """Whether it is there."""


@dataclass
class Health:
    """Put together while a server starts; asked from then on, by probes too, so nothing here waits for anything."""

    loops: Loops
    torchserve: Process | None = None
    """None where somebody else started it."""
    agent: Source | None = None
    watch: Watch | None = None
    shipping: Loop | None = None
    started: bool = False
    """Whether every model that can be loaded has scored a clip."""
    stopping: bool = False

    def status(self) -> dict[str, Any]:
        """``{"ready": ...}``, with the model agent's own words where one follows a registry; ``log_problem`` where an
        inference log is kept: why records only wait, or ""; ``probes`` and ``loops``: when each last went well.
        """
        status: dict[str, Any] = self.agent.status() if self.agent else {"ready": True}
        if self.shipping is not None:
            status["log_problem"] = self.shipping.problem
        if self.watch is not None:
            status["probes"] = self.watch.status()
        return {**status, "loops": self.loops.status(), "ready": bool(status["ready"]) and self._well}

    def stop(self) -> None:
        """The end has begun: not ready any more, and nothing is loaded or probed."""
        self.stopping = True
        if self.agent is not None:
            self.agent.stop()
        if self.watch is not None:
            self.watch.stop()

    @property
    def _well(self) -> bool:
        running = self.torchserve is None or self.torchserve.running
        answers = self.watch is None or self.watch.ready
        return self.started and not self.stopping and running and answers and self.loops.alive
