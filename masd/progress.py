"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import NoReturn, Self

from tqdm import tqdm

Progress = Callable[[int, int, str], None]
"""``(done, total, text)``."""

SECONDS_BETWEEN_LINES = 10.0

MARK = "[masd] "
"""Starts the lines of a pipeline's step that a runner passes on to people."""

_mark = ContextVar("mark", default="")


@contextmanager
def marked_lines() -> Iterator[None]:
    """Lines that :func:`print_line` prints inside the block begin with :data:`MARK`."""
    before = _mark.set(MARK)
    try:
        yield
    finally:
        _mark.reset(before)


def print_line(line: str) -> None:
    """Print a line on standard error, in one piece: several threads may print at once."""
    sys.stderr.write(f"{_mark.get()}{line}\n")
    sys.stderr.flush()


class ConsoleProgress:
    """A :data:`Progress` that writes to standard error; use as a context manager."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: tqdm[NoReturn] | None = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int, text: str) -> None:
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, desc=self._label, leave=True, dynamic_ncols=True)
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
        elif done == total or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print_line(f"{self._label}: {done}/{total} {text}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
