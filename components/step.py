"""One line when a step starts, ends or fails: for a pod's log, and for the local runner's progress."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from masd.errors import MasdError, one_line

_LINE = re.compile(
    r"\[masd\] (?P<step>[\w-]+)(?: of (?P<machine>.+?))? (?P<state>started|done|failed)(?:: (?P<text>.*))?$"
)


@dataclass(frozen=True)
class StepLine:
    """What a line of :func:`step` says; ``text`` is the duration (``done``) or the error (``failed``)."""

    step: str
    machine: str
    state: str
    text: str

    @property
    def subject(self) -> str:
        return f"{self.step} of {self.machine}" if self.machine else self.step

    def __str__(self) -> str:
        return f"{self.subject} {self.state}{f': {self.text}' if self.text else ''}"

    @classmethod
    def find(cls, line: str) -> "StepLine | None":
        """Find such a line in a line of a log, whatever a runner put in front of it."""
        found = _LINE.search(line.rstrip())
        if found is None:
            return None
        return cls(found["step"], found["machine"] or "", found["state"], found["text"] or "")


@contextmanager
def step(name: str, machine: str = "") -> Iterator[None]:
    """Announce a component's work on standard output; an error is announced in one line and raised on."""
    start = time.monotonic()
    _say(StepLine(name, machine, "started", ""))
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, MasdError) else f"{type(error).__name__}: {error}"
        _say(StepLine(name, machine, "failed", one_line(text)))
        raise
    _say(StepLine(name, machine, "done", f"{time.monotonic() - start:.1f} s"))


def _say(line: StepLine) -> None:
    print(f"[masd] {line}", flush=True)
