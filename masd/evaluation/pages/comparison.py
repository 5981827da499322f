"""Champion and challenger side by side: one self-contained HTML file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from masd.arrays import Floats
from masd.config import GateSettings
from masd.detection.decision import flagged
from masd.evaluation.comparison import Comparison, Contender, compare
from masd.evaluation.figures.colours import HIGHLIGHT, INK, REFERENCE_COLOUR, SERVED_COLOUR, WORSE_COLOUR
from masd.evaluation.figures.curves import roc_curves, score_histograms
from masd.evaluation.figures.style import STYLE, WIDTH, svg
from masd.evaluation.gate import GateVerdict
from masd.evaluation.pages.findings import flagged_counts
from masd.evaluation.pages.html import render, svg_uri, wav_uri
from masd.evaluation.pages.report import MAX_AUDIO_BYTES
from masd.files import write_text

CHALLENGER, CHAMPION = "challenger", "champion"
MOST_CLIPS = 6
LEAST_DISAGREEMENT = 0.1
"""Of the normal clips: clips that both models rank closer together than this are not shown."""

NAMES = {
    "hmean": "harmonic mean",
    "auc_source": "AUC source",
    "auc_target": "AUC target",
    "pauc": "partial AUC",
}


def write_comparison(
    verdict: GateVerdict,
    clips: pd.DataFrame,
    challenger: Contender,
    champion: Contender | None,
    settings: GateSettings,
    out_file: Path,
    *,
    recording: Callable[[str], bytes | None],
    seed: int = 0,
) -> None:
    """Write the page, whole or not at all; without a champion it shows the verdict alone.

    :param clips: the test clips: ``name``, ``section``, ``domain``, ``condition``.
    :param recording: a small WAV file of a clip by its name, if there is one.
    """
    contenders = {CHALLENGER: challenger} | ({CHAMPION: champion} if champion else {})
    scores = clips[["name", "section", "domain", "condition"]].copy()
    for name, contender in contenders.items():
        scores[name] = scores["name"].map(contender.scores).astype(float)
    finite = np.isfinite(scores[list(contenders)].to_numpy()).all(axis=1)
    scores = scores.loc[finite].reset_index(drop=True)
    compared = None
    if champion is not None:
        compared = compare(
            scores,
            CHALLENGER,
            CHAMPION,
            confidence=settings.confidence,
            samples=settings.bootstrap_samples,
            seed=seed,
        )
    page = render(
        "comparison.html",
        verdict=verdict,
        clips=len(scores),
        left_out=len(clips) - len(scores),
        settings=settings,
        compared=compared,
        names=NAMES,
        winner=None if compared is None else _words(compared),
        distribution=None if compared is None else svg_uri(difference_figure(compared, settings.production_margin)),
        better=None if compared is None else float((compared.resampled > 0.0).mean()),
        flagged={name: flagged_counts(scores, name, one.threshold) for name, one in contenders.items()},
        thresholds={name: one.threshold for name, one in contenders.items()},
        histograms={name: _uri(score_histograms(scores, name, one.threshold)) for name, one in contenders.items()},
        roc=None if compared is None else _uri(roc_curves(scores, CHALLENGER, [CHAMPION], zoom=False)),
        roc_zoom=None if compared is None else _uri(roc_curves(scores, CHALLENGER, [CHAMPION], zoom=True)),
        disagreements=[] if champion is None else _disagreements(scores, challenger, champion, recording),
    )
    write_text(out_file, page)


def difference_figure(compared: Comparison, margin: float) -> str:
    """An SVG: the difference of the harmonic means in every resample, what the gate allows, and its interval."""
    points = 100.0 * compared.resampled
    found = compared.difference["hmean"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
        axes = figure.subplots()
        edges = _edges(points)
        heights, _ = np.histogram(points, bins=edges)
        middles = (edges[:-1] + edges[1:]) / 2.0
        colours = [WORSE_COLOUR if middle < 0.0 else SERVED_COLOUR for middle in middles]
        axes.bar(middles, heights, width=np.diff(edges), color=colours, alpha=0.6)
        axes.axvline(0.0, color=INK, linewidth=0.8)
        axes.axvline(100.0 * found.value, color=INK, linewidth=1.6, label="these clips")
        axes.axvline(-100.0 * margin, color=REFERENCE_COLOUR, linestyle="--", linewidth=1.2, label="margin of the gate")
        axes.axvspan(100.0 * found.low, 100.0 * found.high, color=HIGHLIGHT, alpha=0.18, linewidth=0, label="interval")
        axes.set_xlabel("challenger minus champion, in points of the harmonic mean")
        axes.set_ylabel("resamples")
        axes.legend(loc="best")
        return svg(figure)


def disagreement(scores: pd.DataFrame) -> pd.Series:
    """How much higher the challenger ranks each clip among the normal clips than the champion does, -1 to 1.

    Scores of two models have different units; the share of normal clips (of all, where none is known to be) below
    a clip can be compared.
    """
    usual = scores[scores["condition"] == "normal"] if (scores["condition"] == "normal").any() else scores

    def rank(column: str) -> Floats:
        known = np.sort(usual[column].to_numpy())
        return np.asarray(np.searchsorted(known, scores[column].to_numpy()) / len(known), dtype=np.float64)

    return pd.Series(rank(CHALLENGER) - rank(CHAMPION), index=scores.index)


def _disagreements(
    scores: pd.DataFrame, challenger: Contender, champion: Contender, recording: Callable[[str], bytes | None]
) -> list[dict[str, Any]]:
    ranked = scores.assign(higher=disagreement(scores)) if len(scores) else scores.assign(higher=0.0)
    ranked = ranked[ranked["higher"].abs() >= LEAST_DISAGREEMENT]
    ranked = ranked.reindex(ranked["higher"].abs().sort_values(ascending=False, kind="stable").index)
    shown = []
    for row in ranked.head(MOST_CLIPS).to_dict("records"):
        wav = recording(row["name"])
        right = {"anomaly": row["higher"] > 0.0, "normal": row["higher"] < 0.0}.get(row["condition"])
        shown.append(
            {
                **{str(key): value for key, value in row.items()},
                "nearer": None if right is None else (CHALLENGER if right else CHAMPION),
                "flagged": {
                    CHALLENGER: flagged(row[CHALLENGER], challenger.threshold),
                    CHAMPION: flagged(row[CHAMPION], champion.threshold),
                },
                "audio": wav_uri(wav) if wav is not None and len(wav) <= MAX_AUDIO_BYTES else None,
            }
        )
    return shown


def _edges(points: Floats) -> Floats:
    """Bins of which one begins at zero: no bar holds both better and worse."""
    step = max(float(np.ptp(points)) / 30.0, 1e-3)
    first, last = np.floor(points.min() / step), np.floor(points.max() / step) + 1.0
    return np.asarray(np.arange(first, last + 1.0) * step, dtype=np.float64)


def _words(compared: Comparison) -> str:
    found = compared.difference["hmean"]
    if found.low > 0.0:
        return "The challenger is better: the interval of the difference is above zero."
    if found.high < 0.0:
        return "The champion is better: the interval of the difference is below zero."
    return "These clips do not show a difference: its interval includes zero."


def _uri(figure: str | None) -> str | None:
    return None if figure is None else svg_uri(figure)
