"""Each thread logs to the output of the worker that it is: TorchServe tells machines apart by whose output it reads."""

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SET_NAME = 15
"""Linux's PR_SET_NAME."""

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ThreadOutput(logging.Handler):
    """A log handler: all lines to the worker's standard output, warnings to its standard error too."""

    def __init__(self) -> None:
        super().__init__()
        self._of = threading.local()

    def createLock(self) -> None:  # noqa: N802  logging's name
        """None: threads share no output, and one that waits for its reader must not stop the others."""
        self.lock = None

    def bind(self, out: int, err: int, name: str) -> None:
        """This thread writes to these descriptors from now on, and is called ``name`` by the kernel."""
        self._of.out, self._of.err = out, err
        if _LIBC is not None:
            _LIBC.prctl(SET_NAME, name.encode())

    def unbind(self) -> None:
        """What this thread says from now on goes to the process's own standard error."""
        self._of.out = self._of.err = None

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What this thread logs in the block goes out at its end, in one write: each one wakes a thread of TorchServe,
        and a batch has eight lines of metrics. Warnings, and all lines before them, are written at once.
        """
        held: list[str] = []
        self._of.held = held
        try:
            yield
        finally:
            self._of.held = None
            if held:
                self.line("\n".join(held))

    def line(self, text: str) -> None:
        """One line, or several, to standard output."""
        self._write(getattr(self._of, "out", None), text)

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        held: list[str] | None = getattr(self._of, "held", None)
        if held is None:
            self.line(text)
        else:
            held.append(text)
        if record.levelno >= logging.WARNING:
            if held:
                self.line("\n".join(held))
                held.clear()
            if getattr(self._of, "err", None) is not None:
                self._write(self._of.err, text)

    @staticmethod
    def _write(file: int | None, text: str) -> None:
        with suppress(OSError):  # TorchServe has ended this worker, and reads no more
            left = f"{text}\n".encode("utf-8", "backslashreplace")
            while left:
                left = left[os.write(2 if file is None else file, left) :]
