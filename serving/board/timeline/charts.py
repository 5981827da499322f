"""Scores -> SVG paths.

A plot is stretched to the width of the page, so it has no text; dots are strokes without length, which stay round.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd

from masd.arrays import Floats

WIDTH, HEIGHT = 1000, 260
SPARK_WIDTH, SPARK_HEIGHT = 240, 40
COLUMNS = 250
"""A longer series is drawn as its middle, lowest and highest value in so many columns."""
MOST_DOTS = 1500
AREAS = 24
"""Parts of a plot that lead to a closer look."""


@dataclass(frozen=True)
class Spark:
    """``line``: a path; ``low`` and ``high``: where the middle nine tenths of the normal scores end, or None."""

    line: str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Area:
    """A part of a plot: its place, and what is in it."""

    x: float
    width: float
    middle: datetime
    clips: int
    highest: float


@dataclass(frozen=True)
class Plot:
    """Paths of a plot of :data:`WIDTH` x :data:`HEIGHT`; empty where there is nothing of the kind.

    ``dots`` and ``above`` are single clips at most and over the threshold; ``middle`` and ``spread`` (a closed area)
    take the place of ``dots`` in a long series. ``low`` and ``high`` are the scores at the bottom and the top.
    """

    dots: str
    above: str
    middle: str
    spread: str
    threshold: str
    low: float
    high: float
    areas: tuple[Area, ...]


def spark(scores: Sequence[float], normal: tuple[float, float] | None) -> Spark | None:
    """The newest scores, oldest first, over the range of normal ones; None for fewer than two."""
    if len(scores) < 2:
        return None
    values = np.asarray(scores, dtype=float)
    low, high = _limits(np.concatenate([values, normal or []]))
    xs = np.linspace(2, SPARK_WIDTH - 2, len(values))
    ys = SPARK_HEIGHT - 2 - (values - low) / (high - low) * (SPARK_HEIGHT - 4)
    line = _line(zip(xs, ys, strict=True))
    if normal is None:
        return Spark(line, None, None)
    edges = [float(SPARK_HEIGHT - 2 - (edge - low) / (high - low) * (SPARK_HEIGHT - 4)) for edge in normal]
    return Spark(line, edges[0], edges[1])


def plot(rows: pd.DataFrame, start: datetime, end: datetime) -> Plot | None:
    """The scores of a span; None where there is none."""
    if rows.empty:
        return None
    xs = _places(rows["time"], start, end)
    scores, thresholds = rows["score"].to_numpy(dtype=float), rows["threshold"].to_numpy(dtype=float)
    low, high = _limits(np.concatenate([scores, thresholds[np.isfinite(thresholds)]]))
    ys = _heights(scores, low, high)
    above = rows["anomalous"].to_numpy(dtype=bool)
    many = len(rows) > MOST_DOTS
    middle, spread = _columns(xs, scores, low, high) if many else ("", "")
    return Plot(
        dots="" if many else _dots(xs[~above], ys[~above]),
        above=_dots(*_highest(xs[above], ys[above])),
        middle=middle,
        spread=spread,
        threshold=_steps(xs, thresholds, low, high),
        low=low,
        high=high,
        areas=_areas(xs, scores, start, end),
    )


def place_of(time: datetime, start: datetime, end: datetime) -> float:
    """Where a time is on a plot, within it."""
    return float(np.clip((time - start) / (end - start), 0.0, 1.0)) * WIDTH


def _places(times: "pd.Series[pd.Timestamp]", start: datetime, end: datetime) -> Floats:
    return np.asarray((times - pd.Timestamp(start)) / (end - start) * WIDTH, dtype=np.float64)


def _limits(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.06
    return low - room, high + room


def _heights(scores: Floats, low: float, high: float) -> Floats:
    return np.asarray(HEIGHT - (scores - low) / (high - low) * HEIGHT, dtype=np.float64)


def _columns(xs: Floats, scores: Floats, low: float, high: float) -> tuple[str, str]:
    """Paths of the median, with gaps where nothing was heard, and of the range around it."""
    column = np.clip((xs / WIDTH * COLUMNS).astype(int), 0, COLUMNS - 1)
    found = pd.Series(scores).groupby(column).agg(["median", "min", "max"])
    middle, spread = [], []
    edges = [0, *(np.flatnonzero(np.diff(found.index.to_numpy()) > 1) + 1), len(found)]
    for first, last in pairwise(edges):
        run = found.iloc[first:last]
        at = (run.index.to_numpy() + 0.5) * WIDTH / COLUMNS
        if len(run) == 1:  # one column alone is drawn as wide as it is
            at, run = np.array([at[0] - 2.0, at[0] + 2.0]), pd.concat([run, run])
        levels = {name: _heights(run[name].to_numpy(), low, high) for name in ("median", "min", "max")}
        middle.append(_line(zip(at, levels["median"], strict=True)))
        around = [*zip(at, levels["max"], strict=True), *zip(at[::-1], levels["min"][::-1], strict=True)]
        spread.append(_line(around) + "Z")
    return "".join(middle), "".join(spread)


def _highest(xs: Floats, ys: Floats) -> tuple[Floats, Floats]:
    """Of clips over the threshold that are too many to draw, the highest of every column."""
    if len(xs) <= MOST_DOTS:
        return xs, ys
    frame = pd.DataFrame({"x": xs, "y": ys}).sort_values("y")
    best = frame.groupby((frame["x"] / WIDTH * COLUMNS).astype(int)).first()
    return best["x"].to_numpy(), best["y"].to_numpy()


def _steps(xs: Floats, thresholds: Floats, low: float, high: float) -> str:
    """The threshold: level as long as it stays the same."""
    known = np.isfinite(thresholds)
    if not known.any():
        return ""
    xs, thresholds = xs[known], thresholds[known]
    changes = [0, *(np.flatnonzero(np.diff(thresholds)) + 1)]
    if len(changes) > COLUMNS:  # several servers with different versions, say: no line would tell anything
        return ""
    path = f"M0 {_heights(thresholds[:1], low, high)[0]:.1f}"
    for at in changes[1:]:
        path += f"H{xs[at]:.1f}V{_heights(thresholds[at : at + 1], low, high)[0]:.1f}"
    return f"{path}H{WIDTH}"


def _areas(xs: Floats, scores: Floats, start: datetime, end: datetime) -> tuple[Area, ...]:
    width, span = WIDTH / AREAS, (end - start) / AREAS
    inside = np.clip((xs / width).astype(int), 0, AREAS - 1)
    found = []
    for number in range(AREAS):
        own = scores[inside == number]
        middle = start + span * number + timedelta(seconds=span.total_seconds() / 2)
        found.append(Area(number * width, width, middle, len(own), float(own.max()) if len(own) else float("nan")))
    return tuple(found)


def _line(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _dots(xs: Floats, ys: Floats) -> str:
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in zip(xs, ys, strict=True))
