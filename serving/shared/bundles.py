"""The bundles that a process has loaded: each once, however many of its workers use it, as long as one does."""

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from masd.bundle.bundle import Bundle, load_bundle
from serving.shared.turns import Turns

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    bundle: Bundle | None = None


class Bundles:
    """By their folders. Bundles are loaded one after the other, but one that hangs keeps the others waiting once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Path, _Entry] = {}
        self._loading = Turns()

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Bundle]:
        """The bundle, at hand during the block.

        :raises MasdError: it cannot be loaded.
        """
        with self._lock:
            entry = self._entries.setdefault(folder, _Entry())
            entry.users += 1
        try:
            with entry.lock:
                if entry.bundle is None:
                    with self._loading.turn():
                        entry.bundle = load_bundle(folder)
            yield entry.bundle
        finally:
            self._leave(folder, entry)

    def _leave(self, folder: Path, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if entry.users:
                return
            del self._entries[folder]
        entry.bundle = None


def give_back_memory() -> None:
    """What is not used any more goes back to the kernel: C's library would keep it for later."""
    gc.collect()
    if _LIBC is not None:
        with suppress(AttributeError):  # not glibc
            _LIBC.malloc_trim(0)
