"""Import files and folders of recordings into a folder that ``masd train`` reads, completely or not at all."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from masd.data.importing.channel import ImportRefusedError
from masd.data.importing.formats import FORMATS
from masd.data.importing.write import rate_of, write_clips
from masd.errors import MasdError, one_line
from masd.files import json_text, replacing_folder, sha256, write_text
from masd.progress import Progress

MAX_FILE_BYTES = 4 << 30
NOTES = "recordings.json"
"""Beside ``train``: unit, rate, source and attributes of every clip."""

SPLITS = ("train", "test")


@dataclass
class Imported:
    """The result of an import.

    ``channels`` has the number of clips by channel, ``snapped`` the written rate by the stated one, and ``left_over_s``
    the seconds at the ends of recordings that did not fill a clip.
    """

    folders: list[Path] = field(default_factory=list)
    channels: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    snapped: dict[float, int] = field(default_factory=dict)
    left_over_s: float = 0.0


def import_recordings(
    sources: Sequence[Path],
    out: Path,
    *,
    rate: float | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Read every file of a known format in ``sources``, files or folders, and write its channels as clips to ``out``.

    If each file has one channel, clips are in ``out/train``; else each channel has a folder ``out/<channel>/train``.
    Clips from a folder ``train`` or ``test`` of a source go to the same folder. A file that cannot be read is named in
    the result and does not stop the others.

    :param rate: in Hz, for files that state none.
    :param seconds: length of the clips that longer recordings are cut into.
    :raises MasdError: ``out`` is not empty, a source does not exist, or no file could be imported.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MasdError(f"{out}: is not empty; choose another --out")
    files, ignored = _files(sources)
    if not files:
        raise MasdError(f"{sources[0]}: no recordings; masd imports {', '.join(sorted(FORMATS))}")
    result = Imported(ignored=ignored)
    with replacing_folder(out) as staged:
        notes: dict[str, list[dict[str, Any]]] = {}
        alone = True
        for number, (path, place, name) in enumerate(files, start=1):
            try:
                written = _import_file(path, staged, place, name, rate, seconds)
            except ImportRefusedError as refusal:
                result.failed.append(f"{path}: {refusal}")
            else:
                alone = alone and len(written) == 1
                for channel, clips in written.items():
                    notes.setdefault(channel, []).extend(clips)
            if progress:
                progress(number, len(files), path.name)
        if not notes:
            raise MasdError(f"nothing could be imported: {'; '.join(result.failed)}")
        for channel, clips in notes.items():
            result.channels[channel] += len(clips)
            result.left_over_s += sum(clip.get("left_over_s", 0.0) for clip in clips)
            stated = {clip["stated_rate_hz"]: clip["rate_hz"] for clip in clips if clip["stated_rate_hz"] is not None}
            result.snapped |= {before: after for before, after in stated.items() if before != after}
        if alone:
            _lift(staged, notes)
            clips = [clip for of_channel in notes.values() for clip in of_channel]
            write_text(staged / NOTES, json_text({"clips": clips}, indent=1) + "\n")
            result.folders = [out]
        else:
            for channel, clips in notes.items():
                write_text(staged / channel / NOTES, json_text({"clips": clips}, indent=1) + "\n")
            result.folders = [out / channel for channel in notes]
    return result


def _files(sources: Sequence[Path]) -> tuple[list[tuple[Path, Path, str]], list[Path]]:
    """For each file its path, the folder of its clips below that of the channel, and a unique name for its clips."""
    found: list[tuple[Path, Path, str]] = []
    ignored: list[Path] = []
    for source in sources:
        if not source.exists():
            raise MasdError(f"{source}: no such file or folder")
        for path in [source] if source.is_file() else sorted(one for one in source.rglob("*") if one.is_file()):
            parents = () if source.is_file() else path.relative_to(source).parts[:-1]
            if path.suffix.lower() not in FORMATS or path.name.startswith("."):
                ignored.append(path)
                continue
            kept = parents if parents and parents[0].lower() in SPLITS else ()
            words = [*(() if kept else parents), path.stem]
            place = Path(*(_plain(word) for word in kept)) if kept else Path("train")
            found.append((path, place, "-".join(_plain(word) for word in words)))
    names = Counter((place, name) for _, place, name in found)
    distinct = [
        (path, place, f"{name}-{path.suffix[1:].lower()}" if names[place, name] > 1 else name)
        for path, place, name in found
    ]
    twice = Counter((place, name) for _, place, name in distinct)
    return [
        (path, place, f"{name}-{number}" if twice[place, name] > 1 else name)
        for number, (path, place, name) in enumerate(distinct)
    ], ignored


def _import_file(
    path: Path, staged: Path, place: Path, name: str, rate: float | None, seconds: float | None
) -> dict[str, list[dict[str, Any]]]:
    """Clips by channel, written below ``staged/<channel>``; nothing is kept of a refused file."""
    kind = FORMATS[path.suffix.lower()]
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ImportRefusedError(f"the file is larger than {MAX_FILE_BYTES >> 30} GiB; cut it into smaller files")
    if kind.package and find_spec(kind.package.lower()) is None:
        raise ImportRefusedError(f"{kind.name} needs {kind.package}: pip install 'masd[import]'")
    try:
        channels = kind.read(path)
    except (ImportRefusedError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise ImportRefusedError("there is not enough memory for the file; cut it into smaller files") from error
    except Exception as error:  # what a library makes of a broken file, whatever it is
        raise ImportRefusedError(
            f"cannot be read as {kind.name} ({type(error).__name__}: {one_line(error, 120)})"
        ) from error
    if not channels:
        raise ImportRefusedError(f"contains no channel that masd can read as {kind.name}")
    source = {"source": path.name, "source_sha256": sha256(path)}
    labels = _labels([channel.name for channel in channels])
    rates = [rate_of(channel, rate) for channel in channels]  # of all, before anything of the file is written
    return {
        label: [
            {**clip, "clip": str(place / clip["clip"]), **source}
            for clip in write_clips(channel, staged / label / place, name, hertz, seconds)
        ]
        for label, channel, hertz in zip(labels, channels, rates, strict=True)
    }


def _lift(staged: Path, channels: Iterable[str]) -> None:
    """Move the only channel of all files directly below ``staged``."""
    for channel in channels:
        folder = (staged / channel).replace(staged / f".{channel}")  # it may be named train itself
        for file in sorted(folder.rglob("*.wav")):
            target = staged / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        shutil.rmtree(folder)


def _labels(names: list[str]) -> list[str]:
    labels = [_plain(name) for name in names]
    if len({label.lower() for label in labels}) < len(labels):
        labels = [f"{label}_{number}" for number, label in enumerate(labels)]
    return labels


def _plain(text: str) -> str:
    """A text reduced to letters, digits, dots, dashes and underscores, for names of folders, clips and models."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:80] or "unnamed"
