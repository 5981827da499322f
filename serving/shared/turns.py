"""One batch at a time in a process: more would share its core, and each hold its own memory for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LONGEST_SECONDS = 5.0
"""Who has had the turn for so long may hang: the others go on without it."""


@dataclass
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    since: float = 0.0


class Turns:
    """Taken one after the other, as long as each comes to an end."""

    def __init__(self, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._longest_seconds = longest_seconds
        self._guard = threading.Lock()
        self._now = _Turn()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, and have it during the block."""
        while not (mine := self._now).lock.acquire(timeout=self._longest_seconds):
            with self._guard:
                if self._now is mine and time.monotonic() - mine.since >= self._longest_seconds:
                    self._now = _Turn()
        mine.since = time.monotonic()
        try:
            yield
        finally:
            mine.lock.release()
