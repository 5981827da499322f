"""Whether requests can be answered, and everything that is known about why not."""

from dataclasses import dataclass
from typing import Any, Protocol

from serving.background import Loop, Loops
from serving.health.watch import Watch


class Source(Protocol):
    """What decides which versions are served: the model agent."""

    def stop(self) -> None:
        """Stop following pointers."""

    def status(self) -> dict[str, Any]:
        """The state as a dictionary; it always contains ``ready``."""


class Process(Protocol):
    """The process of TorchServe."""

    @property
    def running(self) -> bool:
        """Whether the process runs."""


@dataclass
class Health:
    """Built while a server starts, then read by requests and probes, so nothing here waits."""

    loops: Loops
    torchserve: Process | None = None
    """None if somebody else started it."""
    agent: Source | None = None
    watch: Watch | None = None
    shipping: Loop | None = None
    started: bool = False
    """Whether every model that can be loaded has scored a clip."""
    stopping: bool = False

    def status(self) -> dict[str, Any]:
        """``{"ready": ...}``, with the model agent's own words where one follows a registry; ``log_problem`` where an
        inference log is kept: why records only wait, or ""; ``probes`` and ``loops``: when each last succeeded.
        """
        status: dict[str, Any] = self.agent.status() if self.agent else {"ready": True}
        if self.shipping is not None:
            status["log_problem"] = self.shipping.problem
        if self.watch is not None:
            status["probes"] = self.watch.status()
        return {**status, "loops": self.loops.status(), "ready": bool(status["ready"]) and self._well}

    def stop(self) -> None:
        """Stop: the server is not ready any more, and nothing is loaded or probed."""
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
