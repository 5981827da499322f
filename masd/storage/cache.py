"""Copies of a store's objects on this computer, up to a limit, and temporary folders."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_BYTES = 50 * 2**30
"""The most bytes of one area of the cache; the least recently used entries are removed first."""
IN_USE_S = 86_400.0
"""Entries that were used in this time are kept. Older temporary folders belong to killed processes."""


def cache_folder() -> Path:
    """``MASD_CACHE``, or ``~/.cache/masd``. It may be deleted while no masd runs."""
    return Path(os.environ.get("MASD_CACHE") or Path.home() / ".cache" / "masd")


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder`` that is renamed to it when the block ends without an error.

    Several processes may fill the same folder: the first result is kept, since all have the same content.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        yield staged
        staged.chmod(0o755)
        try:
            staged.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a folder, if it exists; no reader sees a part of it under its name."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)


def used(entry: Path) -> None:
    """Set the time of the last use of an entry to now."""
    with suppress(OSError):
        os.utime(entry)


def trim(area: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove the least recently used entries of an area of the cache until it has at most ``most_bytes``.

    A file with another hard link, such as a recording in a data set, is kept.
    """
    entries = []
    for path in area.iterdir() if area.is_dir() else ():
        with suppress(OSError):  # another process was faster
            status = path.stat()
            shared = path.is_file() and status.st_nlink > 1
            entries.append((status.st_mtime, shared, path, _bytes(path)))
    total, oldest_in_use = 0, time.time() - IN_USE_S
    for modified, shared, path, size in sorted(entries, key=lambda entry: entry[0], reverse=True):
        total += size
        if (total > most_bytes or path.name.startswith(".")) and modified < oldest_in_use and not shared:
            discard(path)


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A temporary folder for the block; folders that killed processes left behind are removed."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"masd-{purpose}-*"):
        with suppress(OSError):
            if left.stat().st_uid == os.getuid() and left.stat().st_mtime < time.time() - IN_USE_S:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"masd-{purpose}-") as folder:
        yield Path(folder)


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
