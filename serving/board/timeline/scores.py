"""The scores of a machine in a span of time, read from those objects of the inference log that can hold them.

A span of months has more objects than a page can wait for: then evenly spread ones are read, and the page says so.
"""

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from masd.drift.log_files import SUFFIXES
from masd.errors import MasdError, one_line
from masd.storage.protocol import MissingObjectError, ObjectStore, StoredObject

COLUMNS = ("time", "machine_type", "score", "threshold", "anomalous", "request_id", "domain", "model_version")
MOST_OBJECTS = 400
READERS = 8
LATE = timedelta(hours=1)
"""A server ships a record at most so long after its time, unless its log was away."""
MOST_KEPT = 100_000
"""Rows that are kept in memory, of the objects read last: some 50 MB."""

Row = tuple[Any, ...]
"""The values of :data:`COLUMNS`, as the log has them."""

PAST_SECONDS = 600.0
"""So long a listing of a day before yesterday is good for: only records that come late change it."""
MOST_DAYS = 500
"""Listings of past days that are kept, of all machines together."""

_SEALED_AT = re.compile(r".+-(\d{8}T\d{6})-[0-9a-f]{8}\.parquet")
_STAMP = "%Y%m%dT%H%M%S"


@dataclass(frozen=True)
class Scores:
    """``rows`` in order of time (datetime64, UTC) with :data:`COLUMNS`; ``read`` of ``objects`` were looked into.

    ``problems`` are sentences about objects that could not be read.
    """

    rows: pd.DataFrame
    read: int
    objects: int
    problems: tuple[str, ...] = ()


class ScoreReader:
    """``only`` is the one key of a log that is a single file. Objects are read once and kept while there is room."""

    def __init__(self, store: ObjectStore, only: str | None = None) -> None:
        self._store, self._only = store, only
        self._kept: OrderedDict[str, tuple[tuple[object, ...], list[Row]]] = OrderedDict()
        self._days: OrderedDict[str, tuple[float, list[StoredObject]]] = OrderedDict()
        self._lock = threading.Lock()

    def span(self, machine: str, start: datetime, end: datetime) -> Scores:
        """The scores of a machine from ``start`` to ``end``.

        :raises MasdError: the log cannot be used.
        """
        shipped = start.strftime(_STAMP), (end + LATE).strftime(_STAMP)
        found = [item for item in self._objects(machine, start, end) if _may_hold(item.key, *shipped)]
        chosen = found
        if len(found) > MOST_OBJECTS:
            chosen = [found[int(place)] for place in np.linspace(0, len(found) - 1, MOST_OBJECTS)]
        rows: list[Row] = []
        problems = []
        with ThreadPoolExecutor(READERS) as readers:
            for own in readers.map(self._try_rows, chosen):
                if isinstance(own, str):
                    problems.append(own)
                else:
                    rows += [row for row in own if row[1] == machine]
        table = _table(rows)
        inside = (table["time"] >= pd.Timestamp(start)) & (table["time"] < pd.Timestamp(end))
        return Scores(table[inside].reset_index(drop=True), len(chosen), len(found), tuple(problems))

    def newest(self, machine: str, now: datetime, count: int) -> pd.DataFrame:
        """The newest ``count`` or so scores of today and yesterday, from no more objects than that takes.

        :raises MasdError: the log cannot be used.
        """
        rows: list[Row] = []
        items = list(self._objects(machine, now - timedelta(days=1), now))
        for item in sorted(items, key=lambda item: item.key.rpartition("/")[2], reverse=True):
            own = self._try_rows(item)
            if not isinstance(own, str):
                rows += [row for row in own if row[1] == machine]
            if len(rows) >= count:
                break
        return _table(rows).tail(count)

    def _objects(self, machine: str, start: datetime, end: datetime) -> Iterator[StoredObject]:
        """Objects of the days of a span, and those that lie directly in the log, which may hold any machine's rows."""
        if self._only is not None:
            yield from (item for item in self._store.list(self._only) if item.key == self._only)
            return
        day, last = start.date(), min(end + LATE, datetime.now(UTC)).date()
        while day <= last:
            yield from self._day(machine, day)
            day += timedelta(days=1)
        yield from (item for item in self._store.children().objects if item.key.endswith(SUFFIXES))

    def _day(self, machine: str, day: date) -> list[StoredObject]:
        place = f"{machine}/{day.isoformat()}/"
        past = day < datetime.now(UTC).date() - timedelta(days=1)
        with self._lock:
            known = self._days.get(place)
        if past and known is not None and time.monotonic() - known[0] < PAST_SECONDS:
            return known[1]
        items = [item for item in self._store.list(place) if item.key.endswith(SUFFIXES)]
        if past:
            with self._lock:
                self._days[place] = (time.monotonic(), items)
                self._days.move_to_end(place)
                if len(self._days) > MOST_DAYS:
                    self._days.popitem(last=False)
        return items

    def _try_rows(self, item: StoredObject) -> list[Row] | str:
        try:
            return self._rows(item)
        except MissingObjectError:  # pruned since it was listed
            return []
        except (MasdError, OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            return f"{item.key} cannot be read ({one_line(error, 120)})"

    def _rows(self, item: StoredObject) -> list[Row]:
        state = (item.size, item.modified, item.etag)
        with self._lock:
            kept = self._kept.get(item.key)
            if kept is not None and kept[0] == state:
                self._kept.move_to_end(item.key)
                return kept[1]
        rows = _parse(item.key, self._store.read(item.key))
        with self._lock:
            self._kept[item.key] = (state, rows)
            self._kept.move_to_end(item.key)
            while len(self._kept) > 1 and sum(len(one) for _, one in self._kept.values()) > MOST_KEPT:
                self._kept.popitem(last=False)
        return rows


def _may_hold(key: str, first: str, last: str) -> bool:
    """Whether an object can hold records of a span, as far as its name tells when it was shipped."""
    sealed = _SEALED_AT.fullmatch(key.rpartition("/")[2])
    return sealed is None or first <= sealed[1] <= last


def _parse(key: str, content: bytes) -> list[Row]:
    if key.endswith(".parquet"):
        there = set(pq.read_schema(BytesIO(content)).names)
        records = pq.read_table(BytesIO(content), columns=[name for name in COLUMNS if name in there]).to_pylist()
    else:
        records = [_parsed(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    return [tuple(record.get(name) for name in COLUMNS) for record in records if isinstance(record, dict)]


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:  # torn by a server that was killed
        return None


def _table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows with a time and a finite score, in order of time; what else a row lacks is what says nothing."""
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    times = table["time"].astype("string")
    table["time"] = pd.to_datetime(times, errors="coerce", utc=True, format="ISO8601").astype("datetime64[ms, UTC]")
    for name in ("score", "threshold"):
        table[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
    table["anomalous"] = table["anomalous"].eq(True)
    for name in ("machine_type", "request_id", "domain", "model_version"):
        table[name] = table[name].map(lambda value: value if isinstance(value, str) else "").astype(object)
    whole = table["time"].notna() & np.isfinite(table["score"])
    ordered: pd.DataFrame = table[whole].sort_values("time", kind="stable", ignore_index=True)
    return ordered
