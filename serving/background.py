"""What runs beside a server and ends with it: loops that survive what they meet, and signals that ask for the end."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from masd.errors import described
from masd.progress import print_line

LONGEST_PROBLEM = 300


class Loop:
    """One piece of work, done again and again in a thread of its own until the end, whatever it raises.

    What a step raises is said once in one line on standard error, and so is the step that goes well again.
    """

    def __init__(
        self, name: str, step: Callable[[], None], seconds: float, last: Callable[[], None] | None = None
    ) -> None:
        """``step`` is taken at once, then each time ``seconds`` after the one before has ended; ``last`` at the end."""
        self.name = name
        self.problem = ""
        """What the last step raised, in one line; empty after one that went well."""
        self.last_success: float | None = None
        """Seconds since 1970 of the last success of a step."""
        self._step = step
        self._last = last
        self._seconds = seconds
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread is there. Only what ends a thread from inside, past every ``except``, makes it false."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, in a thread that ends with the process."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Take the next step at once, or directly after the one that is being taken."""
        self._woken.set()

    def stop(self, seconds: float) -> None:
        """Take no further step; wait so long for the one that is being taken."""
        self._ended.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def take(self) -> None:
        """One step, in this thread."""
        self._take(self._step)

    def _take(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # a parser's, a library's, our own: the next step may go well
            self._note(described(error, LONGEST_PROBLEM))
        else:
            self.last_success = time.time()
            self._note("")

    def _run(self) -> None:
        while not self._ended.is_set():
            self._woken.clear()
            self.take()
            self._woken.wait(self._seconds)
        if self._last is not None:
            self._take(self._last)

    def _note(self, problem: str) -> None:
        before, self.problem = self.problem, problem
        if problem == before or self._ended.is_set():
            return
        said = f"{self.name}: {problem}" if problem else f"{self.name}: works again"
        print_line(f"masd: {said}")


@dataclass
class Loops:
    """All loops of one process."""

    _loops: dict[str, Loop] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether every one of them is."""
        return all(loop.alive for loop in list(self._loops.values()))

    def start(self, loop: Loop) -> Loop:
        """Start a loop and keep it among them."""
        loop.start()
        self._loops[loop.name] = loop
        return loop

    def status(self) -> dict[str, dict[str, Any]]:
        """Name -> whether it is ``alive``, its ``last_success`` in seconds since 1970, and its ``problem``."""
        return {
            name: {"alive": loop.alive, "last_success": loop.last_success, "problem": loop.problem}
            for name, loop in sorted(self._loops.items())
        }


@contextmanager
def in_background(loop: Loop, loops: Loops, seconds: float) -> Iterator[Loop]:
    """Run ``loop`` during the block; at its end wait so long for the step that is being taken."""
    loops.start(loop)
    try:
        yield loop
    finally:
        loop.stop(seconds)


@contextmanager
def set_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``stop`` inside the block; outside the main thread signals cannot be caught.

    After one of them the process ends with the block: nothing is left to do by then, and what Python does at its end,
    taking libraries apart, takes seconds on a busy machine.
    """
    signalled = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        signalled = True
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with ExitStack() as handlers:
        for number in (signal.SIGTERM, signal.SIGINT):
            handlers.callback(signal.signal, number, signal.signal(number, handle))
        yield
    if signalled:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
