"""Unpack a zip archive into machine folders. The archive is not trusted: nothing is written outside the folder."""

import filecmp
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from masd.errors import MasdError
from masd.files import replacing_folder

_ENCRYPTED = 0x1
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def unpack(archive: Path, out: Path, ours: Collection[str] = ()) -> list[str]:
    """Unpack the machine folders of ``archive`` into ``out``; returns their names.

    Everything is unpacked beside the archive first and then renamed into ``out``. Files that are already in ``out``
    with the same content are kept. Files outside a folder, hidden ones and ``__MACOSX`` are left out.

    :param ours: machine folders of ``out`` that may be added to: they came from other archives of the same data.
    :raises MasdError: the archive is damaged or unsafe, there is not enough space, or the machine's folder has other
        recordings.
    """
    staging = archive.with_name(f"{archive.name}.unpacked")
    for left_behind in archive.parent.glob(f".{staging.name}.*"):  # of a run that was killed: gigabytes
        shutil.rmtree(left_behind)
    try:
        with zipfile.ZipFile(archive) as file:
            entries = _entries(file, archive)
            _check_space(sum(entry.file_size for entry, _ in entries), out, archive)
            with replacing_folder(staging) as staged:
                for entry, path in entries:
                    _write(file, entry, staged / path)
        return _move_in(staging, out, archive, ours)
    except _UNREADABLE as error:
        raise MasdError(
            f"{archive}: cannot be unpacked ({error}), although its checksum is right; try unzip"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _entries(file: zipfile.ZipFile, archive: Path) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    found = {}
    for entry in file.infolist():
        if reason := _unsafe(entry):
            raise MasdError(
                f"{archive}: contains {entry.filename!r}, {reason}; nothing was unpacked: delete the archive, as it "
                "cannot be trusted"
            )
        path = PurePosixPath(entry.filename)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        if entry.is_dir() or hidden or len(path.parts) < 2:
            continue
        if path in found:
            raise MasdError(
                f"{archive}: contains {entry.filename!r} twice; nothing was unpacked: delete it and fetch it again"
            )
        found[path] = entry
    if not found:
        raise MasdError(f"{archive}: contains no machine folder; delete it and fetch it again")
    return [(entry, path) for path, entry in found.items()]


def _unsafe(entry: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked; empty if it may."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or "\\" in name or re.match("[A-Za-z]:", name):
        return "a path that is not relative"
    if ".." in name.split("/"):
        return "a path outside the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: written on a system without file modes
        return "a link or a device"
    if entry.flag_bits & _ENCRYPTED:
        return "which is encrypted"
    return ""


def _check_space(needed: int, out: Path, archive: Path) -> None:
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise MasdError(
            f"{out}: {archive.name} unpacks to {needed:,} bytes, but only {free:,} are free; make room and try again"
        )


def _write(file: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with file.open(entry) as source, path.open("xb") as target:  # zipfile ends at the declared size, checks the CRC
        shutil.copyfileobj(source, target, 1 << 20)


def _move_in(staging: Path, out: Path, archive: Path, ours: Collection[str]) -> list[str]:
    """Move whole folders, or single files if the folder exists: an additional set extends a machine."""
    machines = sorted(folder.name for folder in staging.iterdir())
    files = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
    for path in files:  # before anything is moved
        if (out / path).exists() and not filecmp.cmp(staging / path, out / path, shallow=False):
            raise MasdError(
                f"{out / path}: already there, with other content than in {archive.name}; choose another folder"
            )
    for machine in machines:
        if machine not in ours and (stray := _stray(out, machine, files)):
            raise MasdError(f"{out / stray}: other recordings of {machine} are already there; choose another folder")
    for machine in machines:
        if not (out / machine).exists():
            (staging / machine).rename(out / machine)
    for path in files:
        if (staging / path).exists():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).replace(out / path)
    return machines


def _stray(out: Path, machine: str, files: Collection[Path]) -> Path | None:
    """A file of a machine's folder that is not in ``files``: the two sets must not be mixed."""
    known = set(files)
    there = (path.relative_to(out) for path in sorted((out / machine).rglob("*")) if path.is_file())
    return next((path for path in there if path not in known and not path.name.startswith(".")), None)
