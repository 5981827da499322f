"""The clips that contribute most to a drift, to listen to first."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from masd.drift.statistics import ColumnDrift

MOST_CLIPS = 5


@dataclass(frozen=True)
class UnusualClip:
    """One logged clip: its position in the window (0 is the oldest), its time and request id, and its value."""

    index: int
    time: str | None
    request_id: str | None
    value: float

    def __str__(self) -> str:
        names = [f"request {self.request_id}" if self.request_id else "", self.time or "", f"clip {self.index}"]
        return f"{' '.join(name for name in names if name)} ({self.value:.4g})"


def unusual_clips(
    reference: pd.DataFrame, rows: pd.DataFrame, columns: Mapping[str, ColumnDrift]
) -> dict[str, list[UnusualClip]]:
    """For each drifted column, the clips of ``rows`` farthest from the reference's median, most unusual first.

    For a column that is compared by its most frequent value, the latest clips with another value.
    """
    found = {}
    for name, column in columns.items():
        if not column.drifted:
            continue
        if column.usual is None:
            distance = (rows[name] - reference[name].median()).abs()
            first = distance.sort_values(ascending=False, kind="stable").index[:MOST_CLIPS]
        else:
            first = rows.index[rows[name] != column.usual][::-1][:MOST_CLIPS]
        found[name] = [
            UnusualClip(
                index=int(index),
                time=_text(rows.at[index, "time"]),
                request_id=_text(rows.at[index, "request_id"]),
                value=float(rows[name].to_numpy()[index]),
            )
            for index in first
        ]
    return found


def _text(value: object) -> str | None:
    nothing = value is None or value is pd.NA or value != value  # as a Parquet file has null
    return None if nothing else str(value)
