"""The files of an inference log that may have rows of one machine, and their rows, a file at a time.

::

    <log>/<machine>/<day>/<machine>-<time>-<random>.parquet   sent by servers; day and time of closing the file
    <log>/spool/<machine>-<process>.jsonl                     records to be sent, if the spool is in the log
    <log>/*.jsonl, *.parquet                                  rows of any machines, written by workers or people

Folders of other machines are not opened. A log without such folders is read completely.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from masd.errors import MasdError, one_line
from masd.storage.folder import FolderStore
from masd.storage.opening import folder_of, open_store
from masd.storage.protocol import ObjectStore

SUFFIXES = (".jsonl", ".parquet")
SPOOL = "spool"
CHUNK_ROWS = 10_000
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class LogFiles:
    """``anyones`` may have rows of any machine and time; ``shipped`` are the machine's own, newest first, listed a day
    at a time. ``others`` are the machines that were not listed; ``older`` says whether there are days before the first
    one asked for.
    """

    store: ObjectStore
    anyones: list[str]
    shipped: Iterator[str]
    others: list[str]
    older: bool = False


def log_files(log: str | Path, machine: str, from_day: str = "") -> LogFiles:
    """The files of a log, which is a file, a folder or ``s3://bucket/prefix``.

    :param from_day: leave out files that were sent on an earlier day, such as ``2026-01-31``.
    :raises MasdError: there is no such log, or it has no ``.jsonl`` and ``.parquet`` files.
    """
    if not str(log).startswith("s3://"):
        place = folder_of(str(log))
        if place.is_file():
            return LogFiles(FolderStore(place.parent), [place.name], iter(()), [])
        if not place.is_dir():
            raise MasdError(f"there is no inference log at {log}: name the file or folder that masd serve logs to")
    store = open_store(str(log))
    top, own = store.children(), store.children(f"{machine}/")
    days = [name for name in own.folders if DAY.fullmatch(name)]
    anyones = [item.key for item in (*top.objects, *own.objects)]
    for name in set(own.folders) - set(days):
        anyones += [item.key for item in store.list(f"{machine}/{name}/")]
    if SPOOL in top.folders:
        anyones += [item.key for item in store.list(f"{SPOOL}/{machine}-")]
    anyones = [key for key in anyones if key.endswith(SUFFIXES)]
    others = [name for name in top.folders if name not in (machine, SPOOL)]
    if not anyones and not days and not _are_machines(store, others):
        anyones = [item.key for item in store.list() if item.key.endswith(SUFFIXES)]
        if not anyones:
            raise MasdError(
                f"inference log {log} is a folder without .jsonl or .parquet files; name the log of masd serve"
            )
    wanted = [day for day in days if day >= from_day]
    return LogFiles(store, anyones, _shipped(store, machine, wanted), others, older=len(wanted) < len(days))


def _are_machines(store: ObjectStore, folders: list[str]) -> bool:
    """Whether these are folders of machines, judged by the first, so that not all of them have to be listed."""
    return any(DAY.fullmatch(name) for name in store.children(f"{folders[0]}/").folders) if folders else False


def _shipped(store: ObjectStore, machine: str, days: list[str]) -> Iterator[str]:
    for day in sorted(days, reverse=True):
        keys = [item.key for item in store.list(f"{machine}/{day}/") if item.key.endswith(SUFFIXES)]
        yield from reversed(keys)  # their names begin with machine and time


def rows_of(store: ObjectStore, key: str, columns: Sequence[str]) -> Iterator[tuple[pd.DataFrame, int]]:
    """Rows of one file in chunks, with the ``columns`` that it has, and the number of lines that are not a JSON object.

    :raises MasdError: the store cannot be used, or the file is not Parquet.
    """
    if key.endswith(".parquet"):
        yield _parquet(store, key, columns), 0
    else:
        yield from _json_lines(store, key, columns)


def _parquet(store: ObjectStore, key: str, columns: Sequence[str]) -> pd.DataFrame:
    content = store.root / key if isinstance(store, FolderStore) else BytesIO(store.read(key))
    try:
        file = pq.ParquetFile(content)
        rows: pd.DataFrame = file.read([name for name in columns if name in file.schema_arrow.names]).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = one_line(error, 160)
        raise MasdError(f"inference log {store.url}/{key} cannot be read as Parquet: {reason}; move it away") from error
    return rows


def _json_lines(store: ObjectStore, key: str, columns: Sequence[str]) -> Iterator[tuple[pd.DataFrame, int]]:
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for line in _lines(store, key):
        if not line.strip():
            continue
        row = _parsed(line)
        if row is None:
            unreadable += 1
        else:
            rows.append({name: row[name] for name in columns if name in row})
        if len(rows) == CHUNK_ROWS:
            yield pd.DataFrame(rows), unreadable
            rows, unreadable = [], 0
    yield pd.DataFrame(rows), unreadable


def _lines(store: ObjectStore, key: str) -> Iterator[bytes]:
    if isinstance(store, FolderStore):
        with (store.root / key).open("rb") as file:
            yield from file
    else:
        yield from store.read(key).splitlines()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
