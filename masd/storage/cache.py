"""The folder on this computer with copies of a store's objects."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
