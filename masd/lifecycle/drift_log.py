"""Read an inference log: JSON lines or Parquet, one row a clip, one file or a folder of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from masd.errors import MasdError
from masd.lifecycle.manifest import UNREGISTERED

SUFFIXES = (".jsonl", ".parquet")


class NothingLoggedError(MasdError):
    """The log is in order but holds no clip of the machine: an idle machine, or a log of others."""


@dataclass(frozen=True)
class LogRows:
    """The rows of one model in a log, and how many others were passed over.

    ``unreadable`` counts torn or otherwise broken lines (a server that was killed leaves one) and rows in
    which a compared value is missing or not a finite number.
    """

    rows: pd.DataFrame
    other_machines: int
    other_versions: int
    unreadable: int


def read_log(log: Path, machine_type: str, version: str, columns: Sequence[str]) -> LogRows:
    """Collect ``columns`` of every clip that ``version`` of ``machine_type``'s model scored.

    Scores of two versions of a model are not comparable, so rows of another registered version do not count;
    while either side is version "0" (never registered), all rows of the machine do.

    :raises MasdError: no log, an empty one, none of this machine, or a column that no row has.
    """
    files = _files(log)
    records: list[dict[str, Any]] = []
    seen: set[str] = set()
    other_machines = other_versions = unreadable = 0
    for row in (row for file in files for row in _rows(file)):
        if row is None:
            unreadable += 1
        elif row.get("machine_type") != machine_type:
            seen.add(str(row.get("machine_type")))
            other_machines += 1
        elif not _comparable(str(row.get("model_version", UNREGISTERED)), version):
            other_versions += 1
        else:
            records.append({name: row.get(name) for name in columns})
    if not records and not other_versions:
        if other_machines:
            found = ", ".join(sorted(seen)[:5])
            raise NothingLoggedError(f"inference log {log} has no row of machine '{machine_type}', only of {found}")
        if unreadable:
            raise MasdError(f"inference log {log} has no readable row: none of {unreadable} lines is a JSON object")
        raise NothingLoggedError(f"inference log {log} is empty: no clip has been scored yet")
    clips = pd.DataFrame(records, columns=list(columns)).apply(pd.to_numeric, errors="coerce").astype(np.float64)
    if missing := ", ".join(name for name in columns if len(clips) and clips[name].isna().all()):
        raise MasdError(f"inference log {log} has no values in column {missing}: is it what masd serve logged?")
    finite = np.isfinite(clips.to_numpy()).all(axis=1)
    unreadable += int((~finite).sum())
    return LogRows(clips[finite].reset_index(drop=True), other_machines, other_versions, unreadable)


def _comparable(row_version: str, version: str) -> bool:
    return row_version == version or UNREGISTERED in (row_version, version)


def _files(log: Path) -> list[Path]:
    if log.is_dir():
        files = sorted(file for file in log.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise MasdError(f"inference log {log} is a folder without .jsonl or .parquet files")
        return files
    if not log.is_file():
        raise MasdError(f"there is no inference log at {log}: name the file or folder that masd serve logs to")
    return [log]


def _rows(file: Path) -> Iterator[dict[str, Any] | None]:
    """Every row of one file; None for a line that is not a JSON object."""
    if file.suffix == ".parquet":
        try:
            frame = pd.read_parquet(file)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise MasdError(f"inference log {file} cannot be read as Parquet: {reason}") from error
        yield from ({str(key): value for key, value in row.items()} for row in frame.to_dict("records"))
        return
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                yield _parsed(line)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
