"""Read one machine's rows of an inference log: JSON lines or Parquet, one row per clip, in a file, folder or bucket."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from pathlib import Path

import numpy as np
import pandas as pd

from masd.bundle.manifest import UNREGISTERED
from masd.drift.log_files import log_files, rows_of
from masd.errors import MasdError

CONTEXT = ("time", "request_id", "anomalous", "domain", "warnings")
"""Columns that are read too, if they exist: they identify the clip and have the decision."""

LEAST_SHARE = 0.5
"""A column that fewer rows than this have is not compared."""

_WHOSE = ("machine_type", "model_version")


class NothingLoggedError(MasdError):
    """The log is in order but has no clip of the machine: it is idle, or the log is of other machines."""


@dataclass(frozen=True)
class LogRows:
    """The rows of one model in a log, oldest first, and how many others were skipped.

    ``rows`` has the compared columns, every value finite, and :data:`CONTEXT`. ``missing`` names the columns that
    most rows do not have, because the server was older. ``unreadable`` counts broken lines (a killed server leaves one)
    and rows in which a compared value is missing or not a finite number. Only rows that were read are counted: folders
    of other machines, and rows older than the newest ones asked for, are not read.
    """

    rows: pd.DataFrame
    missing: tuple[str, ...]
    other_machines: int
    other_versions: int
    unreadable: int


@dataclass
class _Found:
    """The rows that were read so far; ``parts`` are the comparable ones, no more than needed."""

    columns: list[str]
    most: int | None
    parts: list[pd.DataFrame] = field(default_factory=list)
    rows: int = 0
    other_machines: int = 0
    other_versions: int = 0
    unreadable: int = 0
    machines: set[str] = field(default_factory=set)

    def add(self, rows: pd.DataFrame) -> None:
        self.parts.append(rows.reindex(columns=self.columns))
        self.rows += len(rows)
        if self.most is not None and self.rows > 2 * self.most + 10_000:
            self.parts = [self.newest()]
            self.rows = len(self.parts[0])

    def newest(self) -> pd.DataFrame:
        """All rows, or the ``most`` newest of them, oldest first."""
        parts = [part for part in self.parts if len(part)]
        rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=self.columns)
        rows = rows.sort_values("time", kind="stable", key=_as_text)
        return rows if self.most is None else rows.tail(self.most)

    @property
    def enough(self) -> bool:
        return self.most is not None and self.rows >= self.most


def read_log(
    log: str | Path,
    machine_type: str,
    version: str,
    columns: Sequence[str],
    *,
    since: str = "",
    most: int | None = None,
    from_day: str = "",
) -> LogRows:
    """Collect ``columns`` of every clip that ``version`` of ``machine_type``'s model scored.

    Scores of two versions of a model are not comparable, so rows of another registered version do not count;
    while either side is version "0" (never registered), all rows of the machine do.

    :param log: a file, a folder or ``s3://bucket/prefix``.
    :param since: only clips of this time (ISO 8601, UTC) and later.
    :param most: the largest number of clips, the newest ones. Older days are not opened then; a record that was sent
        late counts for the day on which it was sent.
    :param from_day: files that were sent on an earlier day are not opened.
    :raises MasdError: there is no log, it is empty, or it has no row of this machine or none of the columns.
    """
    files = log_files(log, machine_type, max(since[:10], from_day))
    found = _Found([*columns, *CONTEXT], most)
    wanted = [*columns, *CONTEXT, *_WHOSE]
    for key in chain(files.anyones, takewhile(lambda _: not found.enough, files.shipped)):
        for rows, unreadable in rows_of(files.store, key, wanted):
            found.unreadable += unreadable
            _sort_out(rows, machine_type, version, since, found)
    if not (found.rows or found.other_versions or since or files.older):
        raise _nothing(log, machine_type, found, files.others)
    clips = found.newest()
    values = clips[list(columns)].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    finite = np.isfinite(values)
    missing = tuple(name for name in columns if len(clips) and finite[name].mean() < LEAST_SHARE)
    if len(missing) == len(columns):
        raise MasdError(f"inference log {log} has no values in the compared columns: was it written by masd serve?")
    values, finite = values.drop(columns=list(missing)), finite.drop(columns=list(missing))
    whole = finite.all(axis=1)
    kept = pd.concat([values, clips[list(CONTEXT)]], axis=1)[whole].reset_index(drop=True)
    unreadable = found.unreadable + int((~whole).sum())
    return LogRows(kept, missing, found.other_machines, found.other_versions, unreadable)


def _sort_out(rows: pd.DataFrame, machine: str, version: str, since: str, found: _Found) -> None:
    if not len(rows):
        return
    machines = _column(rows, "machine_type").astype(str)
    own = machines == machine
    found.other_machines += int((~own).sum())
    found.machines |= set(machines[~own].unique())
    if since:
        own &= _as_text(_column(rows, "time")) >= since
    if version != UNREGISTERED:
        versions = _column(rows, "model_version").fillna(UNREGISTERED).astype(str)
        comparable = versions.isin([version, UNREGISTERED])
        found.other_versions += int((own & ~comparable).sum())
        own &= comparable
    found.add(rows[own])


def _column(rows: pd.DataFrame, name: str) -> "pd.Series[str]":
    return rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)


def _as_text(times: "pd.Series[str]") -> "pd.Series[str]":
    return times.astype(str)  # ISO 8601 in one time zone sorts as text; rows without a time stay where they are


def _nothing(log: str | Path, machine: str, found: _Found, others: list[str]) -> MasdError:
    if names := sorted({*found.machines, *others}):
        return NothingLoggedError(
            f"inference log {log} contains no clip of machine '{machine}', only of {', '.join(names[:5])}"
        )
    if found.unreadable:
        return MasdError(f"inference log {log} has no readable row: none of {found.unreadable} lines is a JSON object")
    return NothingLoggedError(f"inference log {log} is empty: no clip has been scored yet")
