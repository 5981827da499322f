"""Fetch a data set by name: download, verify and unpack the archives that are missing."""

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from masd.data.download.catalogue import record_of, replaced, year_of
from masd.data.download.transfer import download, size_on_disk
from masd.data.download.unpack import unpack
from masd.data.download.zenodo import Archive, Server
from masd.errors import MasdError
from masd.files import write_text
from masd.progress import Progress

WORK_FOLDER = ".downloads"
UNPACKED_PER_ARCHIVE = 2  # bytes on disk per byte of archive, at most: 16-bit recordings zip to 4/5, quiet ones to less
MEGABYTE = 1_000_000

log = logging.getLogger(__name__)


def fetch(name: str, out: Path, machines: Sequence[str] = (), *, progress: Progress) -> list[Path]:
    """Download a data set, or some machines of it, into ``out``; returns the machine folders.

    Archives are in ``out/.downloads/<name>/`` until they are unpacked; then a small ``.done`` file remains, so that a
    second run fetches only what is missing.

    :param machines: machine types as in the archives' names; all if empty.
    :param progress: called with the megabytes of the archives that are not complete yet.
    :raises MasdError: a download or an archive failed; a later run continues where this one stopped.
    """
    record = record_of(name)
    work = out / WORK_FOLDER / name
    _refuse_other_years(name, out)
    server = Server()
    archives = _of_machines(server.archives(record), machines, name)
    folders = {archive: _unpacked(archive, work, out) for archive in archives}
    missing = [archive for archive in archives if not folders[archive]]
    log.info("%s: %d of %d archives to fetch", name, len(missing), len(archives))
    _check_space(missing, work, out)

    done, total = 0, math.ceil(sum(archive.size for archive in missing) / MEGABYTE)
    for archive in missing:

        def report(size: int, archive: Archive = archive, before: int = done) -> None:
            progress((before + size) // MEGABYTE, total, f"MB {archive.name}")

        path = work / archive.name
        download(server, archive, path, report)
        done += archive.size
        progress(done // MEGABYTE, total, f"MB unpacking {archive.name}")
        folders[archive] = unpack(path, out, _fetched(out))
        write_text(_marker(archive, work), "\n".join([archive.md5, *folders[archive]]) + "\n")
        path.unlink()
    if missing:
        progress(total, total, "MB unpacked")
    return [out / folder for folder in sorted({folder for found in folders.values() for folder in found})]


def _refuse_other_years(name: str, out: Path) -> None:
    """Refuse another data set in the same folder: machine types and sections repeat over the years, and would mix."""
    for other in sorted(set(_fetched(out).values())):
        if year_of(other) != year_of(name):
            raise MasdError(f"{out}: already contains {other}; give {name} a folder of its own with --out")


def _of_machines(archives: Sequence[Archive], machines: Sequence[str], name: str) -> list[Archive]:
    old = replaced([archive.name for archive in archives])
    archives = [archive for archive in archives if archive.name not in old]
    there = sorted({archive.machine for archive in archives})
    unknown = [machine for machine in machines if machine not in there]
    if unknown:
        raise MasdError(f"{name}: has no machine {', '.join(unknown)}; it has {', '.join(there)}")
    return [archive for archive in archives if not machines or archive.machine in machines]


def _fetched(out: Path) -> dict[str, str]:
    """Machine folders that were unpacked before, with the name of their data set."""
    markers = sorted((out / WORK_FOLDER).glob("*/*.done"))
    found = {folder: marker.parent.name for marker in markers for folder in _lines(marker)[1:]}
    return {folder: name for folder, name in found.items() if (out / folder).is_dir()}


def _marker(archive: Archive, work: Path) -> Path:
    return work / f"{archive.name}.done"


def _unpacked(archive: Archive, work: Path, out: Path) -> list[str]:
    """Machine folders that this archive was unpacked to; empty if it was not, or if one is missing."""
    marker = _marker(archive, work)
    if not marker.exists():
        return []
    md5, *folders = _lines(marker)
    return folders if md5 == archive.md5 and all((out / folder).is_dir() for folder in folders) else []


def _lines(marker: Path) -> list[str]:
    """The lines of a marker: the MD5 of an unpacked archive, then its machine folders."""
    return marker.read_text(encoding="utf-8").splitlines() or [""]


def _check_space(missing: Sequence[Archive], work: Path, out: Path) -> None:
    """Check the free space for everything unpacked and one archive at a time."""
    to_load = [max(0, archive.size - size_on_disk(work / archive.name)) for archive in missing]
    needed = UNPACKED_PER_ARCHIVE * sum(archive.size for archive in missing) + max(to_load, default=0)
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise MasdError(
            f"{out}: about {needed:,} bytes are needed, but only {free:,} are free; make room, choose another folder, "
            "or fewer "
            "--machines"
        )
