"""The two panels of the embedding map: by domain and condition, and by the attributes of the training clips."""

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from masd.data.clips import NO_ATTRIBUTE
from masd.evaluation.figures.colours import CLASS_COLOURS, DOMAIN_COLOURS, OTHER_COLOUR, TEST_COLOUR
from masd.evaluation.figures.embedding_map import EmbeddingMap
from masd.evaluation.figures.style import STYLE, WIDTH, svg

DOMAINS = {
    domain: (label, DOMAIN_COLOURS[domain])
    for domain, label in (("source", "source"), ("target", "target"), ("none", "no domain"))
}
KINDS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("train", "normal"): ("training", {"marker": ".", "markersize": 6, "markeredgewidth": 0}),
    ("test", "normal"): ("test, normal", {"marker": "o", "markersize": 4.5, "markerfacecolor": "none"}),
    ("test", "unknown"): ("test, condition unknown", {"marker": "s", "markersize": 4.5, "markerfacecolor": "none"}),
    ("test", "anomaly"): ("test, anomalous", {"marker": "x", "markersize": 5, "markeredgewidth": 1.4}),
}
"""How a clip is drawn, by split and condition; the later lie on top."""

CLASS_MARKERS = ("o", "^", "s", "D", "v")
SHORT_LABEL, MAX_LABEL = 28, 64
"""Letters of a legend's entry: short ones stand side by side, longer ones below each other, the longest are cut."""

LEGEND_ROW = 0.17
"""Inches for a row of a legend."""


def domain_map(places: EmbeddingMap) -> str:
    """An SVG: colour says the domain, shape whether the clip was trained on and, of test clips, the truth."""
    clips = places.clips
    kinds = {kind: rows for kind in KINDS if len(rows := clips[_of_kind(clips, *kind)])}
    legend = [
        Line2D([], [], color=colour, linestyle="", marker="s", markersize=6, label=f"{label} ({count})")
        for domain, (label, colour) in DOMAINS.items()
        if (count := int((clips["domain"] == domain).sum()))
    ]
    legend += [Line2D([], [], linestyle="", label=" ")] * (len(kinds) - len(legend))  # a column of its own
    with mpl.rc_context(STYLE):
        figure, axes = _panel("by domain", len(legend) + len(kinds))
        for kind, rows in kinds.items():
            label, look = KINDS[kind]
            for domain, (_, colour) in DOMAINS.items():
                here = rows[rows["domain"] == domain]
                crowd = kind[0] == "train" and domain != "target"  # target clips are few and must not drown in it
                axes.plot(here["x"], here["y"], color=colour, alpha=0.45 if crowd else 0.9, linestyle="", **look)
            legend.append(Line2D([], [], color=OTHER_COLOUR, linestyle="", label=f"{label} ({len(rows)})", **look))
        figure.legend(handles=legend, loc="outside lower left", ncols=2)
        return svg(figure)


def attribute_map(places: EmbeddingMap) -> str | None:
    """An SVG: training clips coloured by their attributes, the most frequent ones named, test clips grey. None where
    no training clip has attributes.
    """
    training = places.clips[places.clips["split"] == "train"]
    if set(training["attributes"]) <= {NO_ATTRIBUTE}:
        return None
    counts = training["attributes"].value_counts(sort=False)
    ranked = sorted(counts.index, key=lambda name: (-counts[name], name))
    named, rest = ranked[: len(CLASS_COLOURS)], ranked[len(CLASS_COLOURS) :]
    with mpl.rc_context(STYLE):
        labels = {name: f"{_shortened(name)} ({counts[name]})" for name in named}
        columns = 2 if max(map(len, labels.values())) <= SHORT_LABEL else 1
        figure, axes = _panel("training clips by attributes", len(named) + 2, columns)
        test = places.clips[places.clips["split"] == "test"]
        _dots(axes, test, f"test clips ({len(test)})", TEST_COLOUR, ".")
        if rest:
            others = training[training["attributes"].isin(rest)]
            _dots(axes, others, f"{len(rest)} other classes ({len(others)})", OTHER_COLOUR, ".")
        for number, name in enumerate(named):
            marker = CLASS_MARKERS[number % len(CLASS_MARKERS)]
            _dots(axes, training[training["attributes"] == name], labels[name], CLASS_COLOURS[number], marker)
        for text in figure.legend(loc="outside lower left", ncols=columns).get_texts():
            text.set_parse_math(False)  # attributes are whatever a file is named
        return svg(figure)


def _of_kind(clips: pd.DataFrame, split: str, condition: str) -> "pd.Series[bool]":
    return (clips["split"] == split) & (clips["condition"] == condition)


def _panel(title: str, entries: int, columns: int = 2) -> tuple[Figure, Axes]:
    """Axes without numbers: a place on the map has no unit."""
    figure = Figure(figsize=(WIDTH, 3.5 + LEGEND_ROW * -(-entries // columns)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    return figure, axes


def _dots(axes: Axes, rows: pd.DataFrame, label: str, colour: str, marker: str) -> None:
    axes.plot(
        rows["x"],
        rows["y"],
        color=colour,
        linestyle="",
        marker=marker,
        markersize=5 if marker == "." else 4.2,
        markeredgewidth=0,
        alpha=0.8,
        label=label,
    )


def _shortened(attributes: str) -> str:
    name = "no attributes" if attributes == NO_ATTRIBUTE else attributes.replace(",", ", ").lstrip("_")  # else hidden
    return name if len(name) <= MAX_LABEL else f"{name[: MAX_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
