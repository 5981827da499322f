"""CSV and similar tables: a column per channel, with or without times, names and units."""

import re
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from masd.data.importing.channel import Channel, ImportRefusedError, check_size
from masd.data.importing.rates import rate_of_times

MAX_BYTES = 1 << 30
LOOKED_AT = 1 << 16
"""The first row of numbers must be within so many bytes."""

_UNIT = re.compile(r"^(?P<name>.*?)\s*[\[(](?P<unit>[^\])]*)[\])]\s*$")
_TIME = re.compile(r"(?:t|time|times|zeit|timestamp|x_value|elapsed.*|date.?time)", re.IGNORECASE)
_PER_SECOND = {"": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan", re.IGNORECASE)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d.*")


def read_table(path: Path) -> list[Channel]:
    """Read columns separated by comma, semicolon or tab; with semicolons a comma may be the decimal sign."""
    if path.stat().st_size > MAX_BYTES:
        raise ImportRefusedError(f"the file is larger than {MAX_BYTES >> 30} GiB; cut it into smaller files")
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    start = text[:LOOKED_AT].splitlines()
    rows = [line for line in start[-20:-1] if line.strip()]  # the last one may be cut off
    separator = next((mark for mark in ";\t" if rows and all(mark in line for line in rows)), ",")
    comma = separator != "," and any(re.search(r"\d,\d", line) for line in start)
    first = _first_row(start, separator, comma)
    names, units = _titles(start[:first], separator, len(start[first].split(separator)))
    check_size(len(names), (text.count("\n") + 1 - first) * len(names))
    table = pd.read_csv(
        StringIO(text), sep=separator, decimal="," if comma else ".", skiprows=first, header=None, names=names,
        index_col=False, skip_blank_lines=True,
    )  # fmt: skip
    rate, tolerance = None, 1e-5
    timed = next((column for column in range(len(names)) if _TIME.fullmatch(names[column])), None)
    if timed is None and _MOMENT.fullmatch(start[first].split(separator)[0].strip('" ')):
        timed = 0
    if timed is not None:
        rate, tolerance = rate_of_times(_seconds(table[names[timed]], units[timed]))
    found = []
    for column, (name, unit) in enumerate(zip(names, units, strict=True)):
        if column == timed:
            continue
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
        with np.errstate(over="ignore"):  # it becomes infinite, which is refused later
            found.append(Channel(name, values.astype(np.float32), rate, unit or None, tolerance))
    return found


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(separator)]


def _first_row(lines: list[str], separator: str, comma: bool) -> int:
    """Number of the first line that has only numbers, except for a date and time at its start."""
    for number, line in enumerate(lines):
        cells = [cell.replace(",", ".") if comma else cell for cell in _cells(line, separator)]
        rest = cells[1:] if len(cells) > 1 and _MOMENT.fullmatch(cells[0]) else cells
        if rest and all(_NUMBER.fullmatch(cell) for cell in rest):
            return number
    raise ImportRefusedError("no row of numbers: expected columns separated by comma, semicolon or tab")


def _titles(above: list[str], separator: str, columns: int) -> tuple[list[str], list[str]]:
    """Names and units, from ``vibration [g]`` or from a row of names and a row of units; without names, numbers."""
    rows = [cells for line in above if len(cells := _cells(line, separator)) == columns and any(cells)]
    if not rows:
        return [f"column_{number}" for number in range(columns)], [""] * columns
    two = len(rows) > 1 and not any(_UNIT.match(cell) for cell in rows[-1])
    named = rows[-2] if two else rows[-1]
    split = [_UNIT.match(cell) for cell in named]
    names = [found["name"] if found else cell for found, cell in zip(split, named, strict=True)]
    units = [found["unit"] if found else "" for found in split]
    if two:
        units = [unit or below for unit, below in zip(units, rows[-1], strict=True)]
    names = [name or f"column_{number}" for number, name in enumerate(names)]
    if len(set(names)) < len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names)]
    return names, units


def _seconds(column: "pd.Series[float]", unit: str) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(column):
        try:
            moments = pd.to_datetime(column, format="ISO8601")
        except (ValueError, TypeError) as error:
            raise ImportRefusedError(
                "its time column contains neither numbers nor dates; correct it, or remove it and give --rate"
            ) from error
        return np.asarray((moments - moments.iloc[0]).dt.total_seconds(), dtype=np.float64)
    factor = _PER_SECOND.get(unit.strip().lower())
    if factor is None:
        raise ImportRefusedError(f"its times are in {unit[:20]!r}: expected s, ms, us or ns")
    return column.to_numpy(dtype=np.float64) * factor
