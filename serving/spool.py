"""The files of a spool folder: which are ours, what of them is a record, and where the rest is kept.

One bad line costs itself, never its file: the table is made of the rows that are records, and the other lines are kept
in a bounded quarantine for somebody to look at.
"""

import json
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from masd.data.machine_name import check_machine_name
from masd.errors import MasdError
from serving.worker.inference_log import SEALED

UNSHIPPED = ".unshipped"
QUARANTINE_BYTES = 16 * 2**20
"""Most that is kept of lines that are no records; the oldest files go first."""

_OPEN = re.compile(r"(?P<machine>.+)-\d+\.jsonl")
_SEALED = re.compile(rf"(?P<machine>.+)-(?P<day>\d{{8}})T\d{{6}}-[0-9a-f]{{8}}{re.escape(SEALED)}")
_TEXTS = ("time", "request_id", "machine_type", "model_version", "system", "domain", "warnings")
_FLAGS = ("anomalous",)
_NEEDED = ("time", "machine_type", "model_version", "score")


@dataclass(frozen=True)
class SpoolFile:
    """A file of a worker; ``key`` is the object that a sealed one becomes, empty for one that is written to."""

    path: Path
    machine: str
    key: str = ""


@dataclass(frozen=True)
class Records:
    """A sealed file as a Parquet table, None where no line is a record; ``bad`` are the lines that are none."""

    parquet: bytes | None
    bad: list[bytes]


def open_files(folder: Path) -> list[SpoolFile]:
    """The files that workers write to; what else lies in the folder is not ours and is passed over."""
    return _matching(folder, _OPEN)


def sealed_files(folder: Path) -> list[SpoolFile]:
    """The files that wait to be shipped, oldest name first; what else lies in the folder is passed over."""
    return _matching(folder, _SEALED)


def records_of(path: Path) -> Records:
    """The records of a sealed file: a worker that was killed leaves half a line, and other lines may be anything."""
    rows, bad = [], []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if is_record(row):
            rows.append(row)
        elif line.strip():
            bad.append(line)
    if not rows:
        return Records(None, bad)
    content = BytesIO()
    frame = pd.DataFrame(rows)
    texts = {name: "string" for name in _TEXTS if name in frame}
    frame.astype(texts).to_parquet(content, index=False)
    return Records(content.getvalue(), bad)


def is_record(row: Any) -> bool:
    """Whether a table of records can hold ``row``: texts that UTF-8 can hold, and numbers, by their names."""
    if not isinstance(row, dict) or any(row.get(name) is None for name in _NEEDED):
        return False
    return all(_fits(name, value) for name, value in row.items())


def set_aside(path: Path, lines: list[bytes], most_bytes: int = QUARANTINE_BYTES) -> Path:
    """Keep lines of ``path`` that are no records in a file beside it; of all such files, the newest stay.

    :raises OSError: the folder cannot be written.
    """
    kept = path.with_suffix(UNSHIPPED)
    content = b"".join(line + b"\n" for line in lines)[-most_bytes:]
    kept.write_bytes(content)
    size = 0
    others = [(file.stat().st_mtime_ns, file) for file in path.parent.glob(f"*{UNSHIPPED}") if file.is_file()]
    for _, file in sorted(others, reverse=True):
        size += file.stat().st_size
        if size > most_bytes and file != kept:
            file.unlink(missing_ok=True)
    return kept


def _matching(folder: Path, names: re.Pattern[str]) -> list[SpoolFile]:
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = names.fullmatch(path.name)
        if match is None or path.is_symlink() or not path.is_file():
            continue
        try:
            machine = check_machine_name(match["machine"])
        except MasdError:
            continue
        day = match.groupdict().get("day")
        key = f"{machine}/{day[:4]}-{day[4:6]}-{day[6:]}/{path.stem}.parquet" if day else ""
        found.append(SpoolFile(path, machine, key))
    return found


def _fits(name: str, value: object) -> bool:
    """Whether a column can hold the value, and UTF-8 the column's name."""
    if not _is_text(name):
        return False
    if name in _TEXTS:
        return value is None or _is_text(value)
    if name in _FLAGS:
        return value is None or isinstance(value, bool)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) < 2**63  # what a column of whole numbers can hold
    return value is None


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
