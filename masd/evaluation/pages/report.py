"""The evaluation report: one self-contained HTML file for a reliability engineer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from masd.detection.decision import flagged
from masd.evaluation.figures.clip import UNUSUAL_LEVEL, ExampleClip, clip_figure
from masd.evaluation.figures.curves import roc_curves, score_histograms, training_curves
from masd.evaluation.figures.embedding import attribute_map, domain_map
from masd.evaluation.figures.embedding_map import EmbeddingMap
from masd.evaluation.metrics import DOMAINS
from masd.evaluation.pages.findings import (
    MEMBERS,
    contribution_sentence,
    decision_quality,
    flagged_counts,
    is_measured,
    sentences,
)
from masd.evaluation.pages.html import render, svg_uri, wav_uri
from masd.files import write_text

__all__ = ["ExampleClip", "ReportData", "write_report"]

MAX_AUDIO_BYTES = 2_000_000
"""A longer recording is not embedded (10 s at 16 kHz are 320 kB)."""

MAX_PAGE_AUDIO_BYTES = 8_000_000
"""All recordings of one page together."""

MAX_FLAGGED_ROWS = 100


@dataclass(frozen=True)
class ReportData:
    """What the report shows: the evaluation's own files, the training history, clips, remarks on the data.

    ``metrics`` is metrics.json, ``scores`` scores.parquet, ``thresholds`` one per system and control,
    ``history`` one entry per hundred steps of the training (step, stage, and the loss terms that were in use),
    ``places`` where the clips lie on the map.
    """

    metrics: dict[str, Any]
    scores: pd.DataFrame
    thresholds: dict[str, float]
    served_system: str
    history: Sequence[dict[str, float]]
    examples: Sequence[ExampleClip]
    places: EmbeddingMap
    notes: Sequence[str]
    created: str
    model_version: str
    data_fingerprint: str


def write_report(data: ReportData, out_file: Path) -> None:
    """Write the page, whole or not at all. It loads nothing: styles, figures and recordings are inside."""
    served, controls = data.served_system, list(data.metrics["controls"])
    threshold = data.thresholds[served]
    plain = bool((data.scores["domain"] == "none").all())
    counts = flagged_counts(data.scores, served, threshold)
    page = render(
        "report.html",
        data=data,
        metrics=data.metrics,
        served=data.metrics["systems"][served],
        threshold=threshold,
        measured=is_measured(data.metrics),
        plain=plain,
        decision=decision_quality(counts),
        counts=counts,
        sentences=sentences(data.metrics, served, counts, plain=plain),
        domains=DOMAINS,
        members=MEMBERS,
        contribution_sentence=contribution_sentence(data.metrics["contributions"]),
        flagged=_flagged(data.scores, served, threshold),
        max_flagged_rows=MAX_FLAGGED_ROWS,
        histograms=_uri(score_histograms(data.scores, served, threshold)),
        roc=_uri(roc_curves(data.scores, served, controls, zoom=False)),
        roc_zoom=_uri(roc_curves(data.scores, served, controls, zoom=True)),
        training=_uri(training_curves(data.history)),
        examples=_examples(data.examples),
        unusual_level=UNUSUAL_LEVEL,
        domain_map=svg_uri(domain_map(data.places)),
        attribute_map=_uri(attribute_map(data.places)),
    )
    write_text(out_file, page)


def _flagged(scores: pd.DataFrame, system: str, threshold: float) -> list[dict[str, Any]]:
    alarms = scores[flagged(scores[system], threshold)].sort_values(system, ascending=False)
    rows = alarms[["name", "domain", "condition", system]].rename(columns={system: "score"})
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _uri(svg: str | None) -> str | None:
    return None if svg is None else svg_uri(svg)


def _examples(clips: Sequence[ExampleClip]) -> list[dict[str, Any]]:
    """Figure and recording of each clip; recordings in their order until the page is full."""
    room = MAX_PAGE_AUDIO_BYTES
    examples = []
    for clip in clips:
        audio, left_out = None, None
        if clip.audio_wav is not None:
            if len(clip.audio_wav) <= min(MAX_AUDIO_BYTES, room):
                audio = wav_uri(clip.audio_wav)
                room -= len(clip.audio_wav)
            else:
                left_out = f"{len(clip.audio_wav) / 1e6:.1f} MB"
        examples.append(
            {"clip": clip, "figure": svg_uri(clip_figure(clip)), "audio": audio, "audio_left_out": left_out}
        )
    return examples
