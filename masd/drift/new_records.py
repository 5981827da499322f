"""Read the new records of an inference log: each record of each object once, also late ones."""

import json
import logging
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import pandas as pd

from masd.drift.log_files import SUFFIXES
from masd.errors import one_line
from masd.storage.protocol import MissingObjectError, ObjectStore, StoredObject

DAYS = 8
"""Objects of days that are older than the newest day by more than this are not read."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewRecords:
    """New rows of the log. ``read`` is what has been read, for the next call; ``more`` is true if objects are left."""

    rows: list[dict[str, Any]]
    read: dict[str, list[int]]
    unreadable: int
    more: bool


def new_records(
    store: ObjectStore, machine: str, read: dict[str, list[int]], *, listing: list[StoredObject], most: int
) -> NewRecords:
    """The records of a machine since ``read``, which has size and number of rows of every object by its key.

    Objects below ``<machine>/<day>/`` are sent by servers and written once. Others may have rows of any machine and may
    grow; an incomplete last line is left for later. An object that cannot be read is named in a warning and skipped.

    :param listing: all objects of the log, in the order of their keys.
    :param most: stop reading objects after so many rows.
    :raises StoreError: the store cannot be used.
    """
    own = [item for item in listing if item.key.endswith(SUFFIXES) and item.key.split("/")[0] in (machine, item.key)]
    days = [day for key in (*read, *(item.key for item in own)) if (day := _day(key)) is not None]
    oldest = max(days) - timedelta(days=DAYS) if days else date.min
    current = [item for item in own if (_day(item.key) or date.max) >= oldest]
    # what is not listed just now may be away for a while only
    known = {key: size_and_rows for key, size_and_rows in read.items() if (_day(key) or date.max) >= oldest}
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for item in current:
        size, before = known.get(item.key, [-1, 0])
        if size == item.size:
            continue
        if len(rows) >= most:
            return NewRecords(rows, known, unreadable, more=True)
        try:
            found = _rows(item.key, store.read(item.key))
        except MissingObjectError:  # pruned since it was listed
            continue
        except (OSError, ValueError) as error:
            log.warning("inference log %s/%s: unreadable (%s)", store.url, item.key, one_line(error, 160))
            found = []
        unreadable += sum(row is None for row in found[before:])
        rows += [row for row in found[before:] if row is not None and row.get("machine_type") == machine]
        known[item.key] = [item.size, len(found)]
    return NewRecords(rows, known, unreadable, more=False)


def _rows(key: str, content: bytes) -> list[dict[str, Any] | None]:
    if key.endswith(".parquet"):
        records = pd.read_parquet(BytesIO(content)).to_dict("records")
        return [{str(name): value for name, value in row.items()} for row in records]
    return [_parsed(line) for line in content[: content.rfind(b"\n") + 1].splitlines() if line.strip()]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _day(key: str) -> date | None:
    parts = key.split("/")
    if len(parts) < 3:
        return None
    try:
        return date.fromisoformat(parts[1])
    except ValueError:
        return None
