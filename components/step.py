"""One line when a step starts, ends or fails: for a pod's log, and for the local runner's progress."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from masd.errors import MasdError, one_line
from masd.progress import MARK, marked_lines


@dataclass(frozen=True)
class StepLine:
    """A line of :func:`step`: a JSON object behind :data:`masd.progress.MARK`.

    :param machine: empty for a step of no single machine.
    :param state: ``started``, ``done`` or ``failed``.
    :param seconds: how long the step took, once it is done.
    :param error: why it failed, in one line.
    """

    step: str
    machine: str
    state: str
    seconds: float | None = None
    error: str = ""

    @property
    def subject(self) -> str:
        return f"{self.step} of {self.machine}" if self.machine else self.step

    def __str__(self) -> str:
        """The same as a sentence."""
        more = self.error if self.seconds is None else f"{self.seconds:.1f} s"
        return f"{self.subject} {self.state}{f': {more}' if more else ''}"

    @classmethod
    def read(cls, text: str) -> "StepLine | None":
        """Read what follows the mark in a line of a log; None if it is another message."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None


@contextmanager
def step(name: str, machine: str = "") -> Iterator[None]:
    """Announce a component's work on standard output; an error is announced in one line and raised on."""
    start = time.monotonic()
    _print(StepLine(name, machine, "started"))
    try:
        with marked_lines():
            yield
    except Exception as error:
        text = str(error) if isinstance(error, MasdError) else f"{type(error).__name__}: {error}"
        _print(StepLine(name, machine, "failed", error=one_line(text)))
        raise
    _print(StepLine(name, machine, "done", round(time.monotonic() - start, 1)))


def _print(line: StepLine) -> None:
    fields = {name: value for name, value in asdict(line).items() if name in ("step", "machine", "state") or value}
    print(f"{MARK}{json.dumps(fields, ensure_ascii=False)}", flush=True)
