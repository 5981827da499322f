"""Copies of a store's objects on this computer, up to a limit, and temporary folders."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_BYTES = 50 * 2**30
"""Of one area of the cache; what was used longest ago goes first."""
IN_USE_S = 86_400.0
"""What was used in this time stays, however full it is; a temporary folder that is older is of a killed process."""


def cache_folder() -> Path:
    """``MASD_CACHE``, or ``~/.cache/masd``. Everything in it can be deleted while no masd runs."""
    return Path(os.environ.get("MASD_CACHE") or Path.home() / ".cache" / "masd")


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder`` that gets its name when the block ends well.

    Several processes may fill the same folder at once: the first one's stays, since all have the same content.
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
    """Remove a folder, if it is there, so that no reader ever finds half of it under its name."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)


def used(entry: Path) -> None:
    """Note that an entry of the cache is used just now."""
    with suppress(OSError):
        os.utime(entry)


def trim(area: Path, most_bytes: int = MOST_BYTES) -> None:
    """Keep the entries of an area of the cache that were used last, up to ``most_bytes`` in all.

    A file that has another name, as a recording in a data set, stays as long as it has.
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
    """A folder for the block, named after the purpose; those that killed processes have left are removed."""
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
