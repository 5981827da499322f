"""Read an inference log: JSON lines or Parquet, one row per clip; a file, a folder or a bucket."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from masd.bundle.manifest import UNREGISTERED
from masd.errors import MasdError, one_line
from masd.storage.opening import folder_of, open_store

SUFFIXES = (".jsonl", ".parquet")

CONTEXT = ("time", "request_id", "anomalous", "domain", "warnings")
"""Read beside the compared columns, where it is there: which clip a row is, and what was decided."""


LEAST_SHARE = 0.5
"""A column that fewer rows than this have is not compared."""


class NothingLoggedError(MasdError):
    """The log is in order but holds no clip of the machine: an idle machine, or a log of others."""


@dataclass(frozen=True)
class LogRows:
    """The rows of one model in a log, oldest first, and how many others were passed over.

    ``rows`` has the compared columns, every value finite, and :data:`CONTEXT`. ``missing`` names the columns that
    most rows do not have: those of a server older than the column. ``unreadable`` counts torn or otherwise broken
    lines (a server that was killed leaves one) and rows in which a compared value is missing or not a finite number.
    """

    rows: pd.DataFrame
    missing: tuple[str, ...]
    other_machines: int
    other_versions: int
    unreadable: int


@contextmanager
def fetched(log: str) -> Iterator[Path]:
    """The file or folder ``log`` names; of ``s3://bucket/prefix``, a copy that is there as long as the block runs.

    :raises MasdError: a bucket that cannot be used, or without ``.jsonl`` and ``.parquet`` objects there.
    """
    if not log.startswith("s3://"):
        yield folder_of(log)
        return
    store = open_store(log)
    keys = [item.key for item in store.list() if item.key.endswith(SUFFIXES)]
    if not keys:
        raise MasdError(f"inference log {log} has no .jsonl or .parquet objects")
    with tempfile.TemporaryDirectory(prefix="masd-log-") as folder:
        for key in keys:
            store.download(key, Path(folder) / key)
        yield Path(folder)


def read_log(log: Path, machine_type: str, version: str, columns: Sequence[str]) -> LogRows:
    """Collect ``columns`` of every clip that ``version`` of ``machine_type``'s model scored.

    Scores of two versions of a model are not comparable, so rows of another registered version do not count;
    while either side is version "0" (never registered), all rows of the machine do.

    :raises MasdError: no log, an empty one, none of this machine, or one with none of the columns.
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
            records.append({name: row.get(name) for name in (*columns, *CONTEXT)})
    if not records and not other_versions:
        if other_machines:
            found = ", ".join(sorted(seen)[:5])
            raise NothingLoggedError(f"inference log {log} has no row of machine '{machine_type}', only of {found}")
        if unreadable:
            raise MasdError(f"inference log {log} has no readable row: none of {unreadable} lines is a JSON object")
        raise NothingLoggedError(f"inference log {log} is empty: no clip has been scored yet")
    clips = pd.DataFrame(records, columns=[*columns, *CONTEXT]).sort_values("time", kind="stable", key=_as_text)
    values = clips[list(columns)].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    finite = np.isfinite(values)
    missing = tuple(name for name in columns if len(clips) and finite[name].mean() < LEAST_SHARE)
    if len(missing) == len(columns):
        raise MasdError(f"inference log {log} has no values in the compared columns: was it written by masd serve?")
    values, finite = values.drop(columns=list(missing)), finite.drop(columns=list(missing))
    whole = finite.all(axis=1)
    unreadable += int((~whole).sum())
    rows = pd.concat([values, clips[list(CONTEXT)]], axis=1)[whole].reset_index(drop=True)
    return LogRows(rows, missing, other_machines, other_versions, unreadable)


def _as_text(times: "pd.Series[str]") -> "pd.Series[str]":
    return times.astype(str)  # ISO 8601 in one time zone sorts as text; rows without a time stay where they are


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
            reason = one_line(error, 160)
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
