"""A machine's scores in a span of time, from an hour to months, with its alarms on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from masd.errors import MasdError
from serving.board.timeline.alarms import Episode, Silence
from serving.board.timeline.charts import HEIGHT, WIDTH, Plot, place_of, plot
from serving.board.timeline.scores import ScoreReader, Scores

SPANS: dict[str, tuple[str, timedelta]] = {
    "1h": ("1 hour", timedelta(hours=1)),
    "6h": ("6 hours", timedelta(hours=6)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("1 week", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
    "90d": ("90 days", timedelta(days=90)),
}
"""What ``?span=`` may be."""
DEFAULT_SPAN = "1d"
TICKS = 4
HIGHEST = 5


@dataclass(frozen=True)
class View:
    """Which part of time a page shows; ``live`` where it ends now."""

    span: str
    start: datetime
    end: datetime
    live: bool

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def query(self, *, span: str | None = None, end: datetime | None = None) -> str:
        """The query string of another view of the same machine."""
        parts = f"?span={span or self.span}"
        return parts if end is None else f"{parts}&end={end:%Y-%m-%dT%H:%M:%SZ}"

    def closer(self) -> str | None:
        """The next narrower span."""
        names = list(SPANS)
        return names[names.index(self.span) - 1] if self.span != names[0] else None


@dataclass(frozen=True)
class Timeline:
    """``plot`` is None where nothing was heard; ``marks`` are places of alarms and silences: kind, x and width."""

    view: View
    scores: Scores
    plot: Plot | None
    marks: list[tuple[str, float, float, str]]
    ticks: list[str]
    highest: list[dict[str, Any]]
    width: int = WIDTH
    height: int = HEIGHT


def view_of(span: str | None, end: str | None, now: datetime) -> View:
    """From query parameters, whatever they hold: what cannot be read is as if it were not there."""
    name = span if span in SPANS else DEFAULT_SPAN
    length = SPANS[name][1]
    try:
        until = datetime.fromisoformat(end or "")
        until = until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)
        until - length
    except (ValueError, OverflowError):
        return View(name, now - length, now, live=True)
    if until >= now or until.year < 2000:
        return View(name, now - length, now, live=True)
    return View(name, until - length, until, live=False)


def timeline(
    reader: ScoreReader, machine: str, view: View, episodes: Sequence[Episode], silences: Sequence[Silence]
) -> Timeline:
    """:raises MasdError: the log cannot be used."""
    scores = reader.span(machine, view.start, view.end)
    marks = [
        *(_mark("silence", one.since, one.over, view, "no clips") for one in silences),
        *(_mark("alarm", one.since, one.over, view, f"alarm since {one.since}") for one in episodes),
    ]
    return Timeline(
        view,
        scores,
        plot(scores.rows, view.start, view.end),
        [mark for mark in marks if mark is not None],
        [_tick(view.start + view.length * place / TICKS, view.length) for place in range(TICKS + 1)],
        _highest(scores.rows),
    )


def _mark(kind: str, since: str, over: str, view: View, text: str) -> tuple[str, float, float, str] | None:
    try:
        begun = datetime.fromisoformat(since)
        ended = datetime.fromisoformat(over) if over else view.end
    except ValueError:
        return None
    if begun >= view.end or ended <= view.start:
        return None
    left, right = place_of(begun, view.start, view.end), place_of(ended, view.start, view.end)
    return kind, left, max(right - left, 3.0), text


def _tick(time: datetime, length: timedelta) -> str:
    if length <= timedelta(days=1):
        return f"{time:%H:%M}"
    return f"{time:%d %b %H:%M}" if length <= timedelta(days=7) else f"{time:%d %b}"


def _highest(rows: pd.DataFrame) -> list[dict[str, Any]]:
    best = rows.nlargest(HIGHEST, "score")
    return [{str(key): value for key, value in row.items()} for row in best.to_dict("records")]


def try_timeline(
    reader: ScoreReader, machine: str, view: View, episodes: Sequence[Episode], silences: Sequence[Silence]
) -> Timeline | str:
    """The timeline, or why there is none."""
    try:
        return timeline(reader, machine, view, episodes, silences)
    except MasdError as error:
        return str(error)
