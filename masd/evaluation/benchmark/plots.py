"""Figures of the benchmark: official scores, machines, paired differences, the ablation of the losses. All are SVG."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from masd.config import PAPER_SYSTEMS
from masd.detection.controls import BASELINES
from masd.evaluation.benchmark.differences import PairedDifference
from masd.evaluation.benchmark.findings import CHANCE, STATISTICS_MARGIN
from masd.evaluation.benchmark.scores import GROUPS, LOSSES, STATISTICS, label
from masd.evaluation.benchmark.table import BenchmarkTable, Spread
from masd.evaluation.figures.colours import (
    BAD,
    FAINT,
    GOOD,
    INK,
    LOSS_COLOURS,
    REFERENCE_COLOUR,
    SERVED_COLOUR,
    SYSTEM_COLOURS,
)
from masd.evaluation.figures.style import STYLE, WIDTH, svg

GROUP_COLOURS = dict(zip(GROUPS, (REFERENCE_COLOUR, *LOSS_COLOURS, SERVED_COLOUR, SERVED_COLOUR), strict=True))
SYSTEM_STYLES = dict(zip(PAPER_SYSTEMS, zip(cycle(SYSTEM_COLOURS), cycle("os^D"), strict=False), strict=False))

ROW_HEIGHT = 0.205
"""Inches for a row of a dot plot."""


MAX_NAME = 22
"""Letters of a row's name."""


def official_scores(table: BenchmarkTable) -> str | None:
    """The official score of each method with its interval; hollow where it is not over all machines."""
    if not table.official:
        return None
    most = max(len(official.estimate.machines) for official in table.official.values())
    with mpl.rc_context(STYLE):
        figure, axes, rows = _rows(list(table.official))
        for method, official in table.official.items():
            estimate, colour = official.estimate, _colour(method)
            axes.plot([100 * estimate.low, 100 * estimate.high], [rows[method]] * 2, color=colour, linewidth=1.4)
            face = colour if len(estimate.machines) == most else STYLE["axes.facecolor"]
            axes.plot(100 * estimate.mean, rows[method], "o", color=colour, markerfacecolor=face, markersize=5)
        _chance(axes)
        axes.set_xlabel("official score in %")
        return svg(figure)


def machine_scores(table: BenchmarkTable, machine: str) -> str | None:
    """Harmonic mean of the areas of one machine by method: a dot per seed, a bar at their mean. All machines share the
    scale.
    """
    known = {method: means for method in table.methods if (means := _hmean(table, machine, method))}
    if not known:
        return None
    with mpl.rc_context(STYLE):
        figure, axes, rows = _rows(list(known))
        for method, spread in known.items():
            values = [table.cells[machine, method, seed]["hmean"] for seed in table.seeds(machine, method)]
            seeds = [100 * value for value in values if value is not None]
            colour = _colour(method)
            axes.plot(
                seeds, [rows[method]] * len(seeds), "o", color=colour, alpha=0.45, markersize=4, markeredgewidth=0
            )
            axes.plot(100 * spread.mean, rows[method], "|", color=colour, markersize=10, markeredgewidth=2.2)
        if STATISTICS in known:
            axes.axvline(100 * known[STATISTICS].mean, color=REFERENCE_COLOUR, linestyle=":", linewidth=1.2, zorder=0)
        _chance(axes)
        every = [metrics["hmean"] for metrics in table.cells.values()]
        found = [100 * value for value in every if value is not None]
        axes.set_xlim(min(*found, 100 * CHANCE) - 2, max(*found, 100 * CHANCE) + 2)
        axes.set_xlabel("harmonic mean in %")
        return svg(figure)


def forest(
    differences: Mapping[str, PairedDifference],
    xlabel: str,
    *,
    beside: Mapping[str, str] | None = None,
    margin: bool = False,
) -> str | None:
    """Differences with their intervals, a row each by name; one of the official score is a diamond. ``beside`` are
    texts beside the names; ``margin`` marks how far below mel-statistics is too far.
    """
    if not differences:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.75 + ROW_HEIGHT * 1.25 * len(differences)), layout="constrained")
        axes = figure.subplots()
        for row, difference in enumerate(differences.values()):
            estimate = difference.estimate
            colour = GOOD if estimate.low > 0 else BAD if estimate.high < 0 else INK
            marker, size = ("D", 6) if len(estimate.machines) > 1 else ("o", 5)
            axes.plot([100 * estimate.low, 100 * estimate.high], [row, row], color=colour, linewidth=1.4)
            axes.plot(100 * estimate.mean, row, marker, color=colour, markersize=size)
        axes.axvline(0, color=FAINT, linewidth=1, zorder=0)
        if margin:
            axes.axvline(-100 * STATISTICS_MARGIN, color=BAD, linestyle=":", linewidth=1, zorder=0)
        _label_rows(axes, [f"{_shortened(name)}{(beside or {}).get(name, '')}" for name in differences])
        axes.set_xlabel(xlabel)
        return svg(figure)


def ablation(table: BenchmarkTable) -> str | None:
    """Official score of the four systems as each loss is added, whiskers of one deviation over seeds, beside the better
    baseline. None without two losses to compare.
    """
    steps = [variant for variant in LOSSES if any(f"{variant}/{system}" in table.official for system in PAPER_SYSTEMS)]
    if len(steps) < 2:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        handles: list[tuple[Any, str]] = []
        for number, (system, (colour, marker)) in enumerate(SYSTEM_STYLES.items()):
            found = {step: official for step in steps if (official := table.official.get(f"{step}/{system}"))}
            if not found:
                continue
            position = [steps.index(step) + 0.05 * (number - 1.5) for step in found]
            means = [100 * official.spread.mean for official in found.values()]
            deviations = [100 * (official.spread.sd or 0.0) for official in found.values()]
            whiskers = axes.errorbar(position, means, deviations, color=colour, marker=marker, markersize=5, capsize=2)
            handles.append((whiskers, system))
        if found_baselines := [name for name in BASELINES if name in table.official]:
            best = max(found_baselines, key=lambda name: table.official[name].spread.mean)
            score = 100 * table.official[best].spread.mean
            handles.append((axes.axhline(score, color=REFERENCE_COLOUR, linestyle="--", linewidth=1.2), label(best)))
        axes.set_xticks(range(len(steps)), [LOSSES[step] for step in steps])
        axes.set_xlim(-0.4, len(steps) - 0.6)
        axes.set_ylabel("official score in %")
        figure.legend(*zip(*handles, strict=True), loc="outside lower center", ncols=3)
        return svg(figure)


def _rows(methods: Sequence[str]) -> tuple[Figure, Axes, dict[str, float]]:
    """A figure with one row per method, in the order of the tables from the top, and the height of each row: the groups
    stand apart.
    """
    rows: dict[str, float] = {}
    height = -1.0
    for group in GROUPS.values():
        for method in group:
            if method in methods:
                height += 1.0
                rows[method] = height
        height += 0.5 if any(method in rows for method in group) else 0.0
    figure = Figure(figsize=(WIDTH, 0.75 + ROW_HEIGHT * (height + 1.0)), layout="constrained")
    axes = figure.subplots()
    _label_rows(axes, [_shortened(label(method)) for method in rows], list(rows.values()))
    return figure, axes, rows


def _label_rows(axes: Axes, labels: Sequence[str], heights: Sequence[float] | None = None) -> None:
    heights = heights or list(range(len(labels)))
    axes.set_yticks(heights, [text.replace("$", r"\$") for text in labels])  # a pair of them would be a formula
    axes.set_ylim(max(heights) + 0.7, -0.7)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _shortened(name: str) -> str:
    """A long name would leave no room for the figure."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"


def _chance(axes: Axes) -> None:
    axes.axvline(100 * CHANCE, color=FAINT, linestyle="--", linewidth=1, zorder=0)


def _colour(method: str) -> str:
    return next(GROUP_COLOURS[name] for name, group in GROUPS.items() if method in group)


def _hmean(table: BenchmarkTable, machine: str, method: str) -> Spread | None:
    return table.spreads.get((machine, method), {}).get("hmean")
