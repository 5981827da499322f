"""Figures of the report over a whole test set: score histograms, ROC curves, training curves. All are SVG."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from masd.arrays import Floats
from masd.evaluation.figures.colours import CONDITION_COLOURS, CONTROL_COLOURS, FAINT, HIGHLIGHT, INK, SERVED_COLOUR
from masd.evaluation.figures.style import STYLE, WIDTH, svg
from masd.evaluation.metrics import MAX_FPR

CONTROL_STYLES = tuple(zip(CONTROL_COLOURS, ("--", "-.", ":"), strict=True))


def score_histograms(scores: pd.DataFrame, system: str, threshold: float) -> str | None:
    """One histogram of ``scores[system]`` a domain, by condition, with the threshold. None without clips."""
    scores = scores[np.isfinite(scores[system])]
    if scores.empty:
        return None
    domains = [domain for domain in ("source", "target", "none") if (scores["domain"] == domain).any()]
    values = scores[system].to_numpy(dtype=float)
    edges = _bin_edges(values, threshold)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.7 + 1.65 * len(domains)), layout="constrained")
        panels: list[Axes] = list(np.atleast_1d(figure.subplots(len(domains), 1, sharex=True)))
        for axes, domain in zip(panels, domains, strict=True):
            rows = scores[scores["domain"] == domain]
            for condition, colour in CONDITION_COLOURS.items():
                of_condition = rows.loc[rows["condition"] == condition, system].to_numpy(dtype=float)
                if len(of_condition):
                    axes.hist(
                        np.minimum(of_condition, edges[-1]),
                        bins=list(edges),
                        color=colour,
                        alpha=0.6,
                        label=f"{condition} ({len(of_condition)})",
                    )
            axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label="threshold")
            axes.set_title("all clips" if domain == "none" else f"{domain} domain")
            axes.set_ylabel("clips")
            axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
            axes.legend(loc="upper right")
        beyond = int((values > edges[-1]).sum())
        note = f" ({beyond} beyond the right edge are in the last bin)" if beyond else ""
        panels[-1].set_xlabel(f"anomaly score{note}")
        return svg(figure)


def _bin_edges(values: Floats, threshold: float) -> Floats:
    """30 bins over the bulk of the scores and the threshold: a few far outliers share the last bin."""
    low, high = float(values.min()), float(values.max())
    bulk = np.quantile(values, [0.05, 0.95])
    high = max(threshold, min(high, float(bulk[1] + 2.0 * (bulk[1] - bulk[0]))))
    low = min(low, threshold)
    if high <= low:
        high = low + max(abs(low), 1.0) * 1e-3
    return np.linspace(low, high + 0.02 * (high - low), 31)


def roc_curves(scores: pd.DataFrame, served: str, controls: Sequence[str], *, zoom: bool) -> str | None:
    """ROC of the served system and the controls over the clips of all domains, the pAUC region shaded.

    ``zoom`` shows that region alone. None where normal or anomalous clips are missing.
    """
    known = scores[scores["condition"].isin(["normal", "anomaly"])]
    if known["condition"].nunique() < 2:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(0.0, MAX_FPR, color=HIGHLIGHT, alpha=0.18, linewidth=0)
        curve = _roc(axes, known, served, SERVED_COLOUR, "-", 2.0)
        for name, (colour, line) in zip(controls, CONTROL_STYLES, strict=False):
            _roc(axes, known, name, colour, line, 1.3)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, label="chance")
        if curve is not None:
            edge = float(np.interp(MAX_FPR, *curve))
            inside = curve[0] <= MAX_FPR
            axes.fill_between(
                np.append(curve[0][inside], MAX_FPR),
                np.append(curve[1][inside], edge),
                color=SERVED_COLOUR,
                alpha=0.15,
                linewidth=0,
            )
        axes.set_xlim(0, MAX_FPR if zoom else 1)
        axes.set_ylim(0, 1.02)
        axes.set_title(
            f"false alarms up to {MAX_FPR:.0%} (the part that pAUC measures)" if zoom else "all false-alarm rates"
        )
        axes.set_xlabel("normal clips flagged (false positive rate)")
        axes.set_ylabel("anomalous clips flagged (true positive rate)")
        axes.legend(loc="best" if zoom else "lower right")
        return svg(figure)


def _roc(
    axes: Axes, known: pd.DataFrame, name: str, colour: str, line: str, width: float
) -> tuple[Floats, Floats] | None:
    if name not in known.columns:
        return None
    rows = known[np.isfinite(known[name])]
    if rows["condition"].nunique() < 2:
        return None
    false_rate, true_rate, _ = roc_curve(rows["condition"] == "anomaly", rows[name])
    axes.plot(false_rate, true_rate, color=colour, linestyle=line, linewidth=width, label=name)
    return false_rate, true_rate


def training_curves(history: Sequence[dict[str, float]]) -> str | None:
    """Each loss term over the steps (in older bundles: epochs), both stages marked. None without a history."""
    terms = [
        term
        for term in ("total", "reconstruction", "classification", "contrastive")
        if any(math.isfinite(entry.get(term, math.nan)) for entry in history)
    ]
    if not terms:
        return None
    stages = [int(entry.get("stage", 1)) for entry in history]
    second = next((index for index, stage in enumerate(stages) if stage > 1), len(stages))
    unit = "step" if "step" in history[0] else "epoch"
    position = [entry.get(unit, number) for number, entry in enumerate(history, start=1)]
    margin = (position[-1] - position[0]) / (2 * (len(position) - 1)) if len(position) > 1 else 0.5
    left, right = position[0] - margin, position[-1] + margin
    between = right if second == len(stages) else left if second == 0 else (position[second - 1] + position[second]) / 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.5 + 1.15 * len(terms)), layout="constrained")
        panels: list[Axes] = list(np.atleast_1d(figure.subplots(len(terms), 1, sharex=True)))
        for axes, term in zip(panels, terms, strict=True):
            values = [entry.get(term, math.nan) for entry in history]
            few = len(history) < 20
            axes.plot(position, values, color=INK, linewidth=1.3, marker="o" if few else None, markersize=3)
            if between < right:
                axes.axvspan(between, right, color=HIGHLIGHT, alpha=0.18, linewidth=0)
            axes.set_title(term)
        panels[0].margins(y=0.12)
        for begin, end, name in ((left, between, "stage 1"), (between, right, "stage 2")):
            if end > begin:
                panels[0].text(
                    (begin + end) / 2,
                    0.97,
                    name,
                    ha="center",
                    va="top",
                    transform=panels[0].get_xaxis_transform(),
                )
        panels[-1].set_xlim(left, right)
        panels[-1].set_xlabel(f"{unit} (stage 2 continues the count)")
        panels[-1].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        return svg(figure)
