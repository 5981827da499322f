"""The files of a machine's folder: which are recordings, and which are left out."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from masd.data.clips import SPLIT_FOLDERS
from masd.data.findings import Finding, some

AUDIO_SUFFIXES = frozenset(
    {
        *(".wav", ".wave", ".bwf", ".bw64", ".rf64", ".w64"),
        *(".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga"),
        *(".aif", ".aiff", ".aifc", ".iff", ".8svx", ".svx"),
        *(".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".avr", ".paf", ".pvf", ".sf", ".ircam", ".wve", ".sds"),
    }
)
"""Suffixes of the formats that libsndfile recognises by content; raw samples have no header."""

COMPANION_SUFFIXES = frozenset(
    {
        *(".csv", ".tsv", ".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log"),
        *(".png", ".jpg", ".jpeg", ".svg", ".gif", ".pdf", ".html", ".htm", ".docx", ".xlsx", ".xls", ".ods"),
        *(".py", ".ipynb", ".sh", ".md5", ".sha256", ".cue", ".m3u", ".db", ".lnk"),
    }
)
"""Suffixes of other files that are expected beside recordings: they are left out without a message."""

COMPANION_NAMES = frozenset({"readme", "license", "licence", "changelog", "copying", "authors"})


@dataclass(frozen=True)
class Listing:
    """Files below a machine's folder, sorted, as paths relative to it; ``links`` are linked folders, not followed."""

    files: tuple[Path, ...]
    links: tuple[Path, ...] = ()

    def audio(self, *folders: str) -> list[Path]:
        return [path for path in self.files if path.parts[0] in folders and len(path.parts) > 1 and is_audio(path)]

    def findings(self) -> list[Finding]:
        """Findings on files without a known suffix, linked folders, and recordings in other folders."""
        found = []
        inside = [path for path in self.files if path.parts[0] in SPLIT_FOLDERS and len(path.parts) > 1]
        if odd := [path for path in inside if not is_audio(path) and not _is_companion(path)]:
            found.append(
                Finding("warning", "left_out", _left_out(odd), tuple(path.as_posix() for path in odd)),
            )
        if self.links:
            links = tuple(f"{path.as_posix()}/" for path in self.links)
            found.append(
                Finding(
                    "warning",
                    "links",
                    f"linked folders are left out; move them here to use their recordings: {some(links)}",
                    links,
                )
            )
        elsewhere = [path for path in self.files if path not in set(inside) and is_audio(path)]
        if elsewhere:
            places: dict[str, int] = defaultdict(int)
            for path in elsewhere:
                places[f"{path.parts[0]}/" if len(path.parts) > 1 else "the folder itself"] += 1
            text = some([f"{place} ({count})" for place, count in sorted(places.items())])
            found.append(
                Finding(
                    "warning",
                    "elsewhere",
                    f"recordings in other places are not read: {text}; masd reads train/, test/ and supplemental/",
                    tuple(path.as_posix() for path in elsewhere),
                )
            )
        return found


def list_machine(folder: Path) -> Listing:
    """All files of a machine's folder but hidden ones. A linked ``train/`` is read, linked folders below it are not."""
    files: list[Path] = []
    links: list[Path] = []
    for part in sorted(folder.iterdir()):
        if part.name.startswith("."):
            continue
        if part.is_file():
            files.append(Path(part.name))
        for root, folders, names in os.walk(part):
            here = Path(root)
            folders[:] = [name for name in folders if not name.startswith(".")]
            links += [(here / name).relative_to(folder) for name in folders if (here / name).is_symlink()]
            files += [
                (here / name).relative_to(folder)
                for name in names
                if not name.startswith(".") and (here / name).is_file()
            ]
    return Listing(tuple(sorted(files)), tuple(sorted(links)))


def listing_of(keys: Iterable[str]) -> Listing:
    """The listing of object keys below a machine, such as ``train/a.wav``."""
    paths = [Path(key) for key in keys]
    return Listing(tuple(sorted(path for path in paths if not any(part.startswith(".") for part in path.parts))))


def is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES


def _is_companion(path: Path) -> bool:
    return path.suffix.lower() in COMPANION_SUFFIXES or path.stem.lower() in COMPANION_NAMES


def _left_out(paths: list[Path]) -> str:
    examples: dict[str, Path] = {}
    counts: dict[str, int] = defaultdict(int)
    for path in paths:
        suffix = path.suffix.lower() or "no suffix"
        examples.setdefault(suffix, path)
        counts[suffix] += 1
    text = ", ".join(
        f"{count} with {suffix} ({examples[suffix].as_posix()})"
        for suffix, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    return f"these files are left out, because their suffix is not that of an audio format: {text}; convert them to WAV"
