"""``drift.html``: the verdict, the compared columns and the clips to listen to, on one page."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from masd.drift.verdict import DriftVerdict
from masd.evaluation.figures.colours import INK, LOG_REFERENCE_COLOUR, LOG_WINDOW_COLOUR
from masd.evaluation.figures.style import STYLE, WIDTH, svg
from masd.evaluation.pages.html import render, svg_uri
from masd.files import write_text


def write_page(reference: pd.DataFrame, rows: pd.DataFrame, verdict: DriftVerdict, file: Path) -> None:
    """``rows`` are the logged clips, ``reference`` the clips of the reference. Evidently's page is beside it."""
    order = sorted(verdict.columns, key=lambda name: verdict.columns[name].p_value / verdict.columns[name].threshold)
    charts = {
        name: svg_uri(column_chart(reference[name].dropna(), rows[name]))
        for name in order
        if verdict.columns[name].usual is None
    }
    times = rows["time"].dropna().astype(str)
    page = render(
        "drift.html",
        templates=Path(__file__).parent / "templates",
        verdict=verdict,
        order=order,
        charts=charts,
        usual_range={name: reference[name].quantile([0.05, 0.95]).tolist() for name in verdict.unusual},
        timeline=svg_uri(timeline(rows, reference["score"].dropna())) if "score" in verdict.columns else None,
        period=(times.iloc[0], times.iloc[-1]) if len(times) else None,
    )
    write_text(file, page)


def column_chart(reference: "pd.Series[float]", window: "pd.Series[float]") -> str:
    """Two histograms of one column, in shares of the clips of each; extreme values are in the outermost bins."""
    both = np.concatenate([reference, window])
    low, high = np.quantile(both, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1.0, 25)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.5), layout="constrained")
        axes = figure.subplots()
        for values, colour, label in (
            (reference, LOG_REFERENCE_COLOUR, "reference"),
            (window, LOG_WINDOW_COLOUR, "window"),
        ):
            weights = np.full(len(values), 100.0 / len(values))
            inside = np.clip(values, edges[0], edges[-1])
            filled = label == "reference"
            axes.hist(
                inside,
                bins=list(edges),
                weights=weights,
                histtype="stepfilled" if filled else "step",
                color=colour,
                alpha=0.55 if filled else 1.0,
                linewidth=1.4,
                label=f"{label} ({len(values)})",
            )
        axes.set_ylabel("% of clips")
        axes.legend(loc="best")
        return svg(figure)


def timeline(rows: pd.DataFrame, reference: "pd.Series[float]") -> str:
    """The scores in the order in which they were logged, above the middle nine tenths of the reference."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2 * WIDTH, 2.1), layout="constrained")
        axes = figure.subplots()
        low, high = reference.quantile([0.05, 0.95])
        axes.axhspan(low, high, color=LOG_REFERENCE_COLOUR, alpha=0.3, linewidth=0, label="reference, 5 to 95 %")
        if "margin" in rows:
            threshold = float((rows["score"] - rows["margin"]).median())
            axes.axhline(threshold, color=INK, linestyle="--", linewidth=1.2, label="threshold")
        axes.plot(rows["score"].to_numpy(), ".", color=LOG_WINDOW_COLOUR, markersize=3.5)
        axes.set_xlabel("clip of the window, oldest first")
        axes.set_ylabel("score")
        axes.legend(loc="best", ncols=2)
        return svg(figure)
