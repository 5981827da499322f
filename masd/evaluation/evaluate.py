"""Score a machine's test clips with its model and with the controls, and write all results into one folder."""

import json
import logging
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from masd.audio import AudioError
from masd.config import ALL_SYSTEMS, Settings
from masd.data.clips import Clip
from masd.data.folders import MachineData
from masd.data.store import FeatureStore, build_store
from masd.detection.controls import CONTROLS, score_controls
from masd.detection.features import CLIPS_AT_ONCE
from masd.detection.result import ClipScore
from masd.detection.scorer import Scorer
from masd.errors import MasdError
from masd.evaluation.embedding_map import map_embeddings
from masd.evaluation.metrics import official_metrics
from masd.evaluation.pages.examples import choose_examples
from masd.evaluation.pages.report import ReportData, write_report
from masd.evaluation.residuals import usual_residual
from masd.evaluation.results import write_results
from masd.progress import ConsoleProgress, Progress

log = logging.getLogger(__name__)


def evaluate_scorer(
    scorer: Scorer,
    data: MachineData,
    out: Path,
    *,
    history: Sequence[dict[str, float]],
    data_fingerprint: str,
) -> dict[str, Any]:
    """Write ``metrics.json``, ``scores.parquet``, ``report.html`` and the result files of each system and control
    below ``out``.

    The controls are trained here, on the same training clips, with the model's seed. A broken model, whose scores are
    no numbers, gets no report: the gate refuses it. Returns what ``metrics.json`` holds.

    :raises MasdError: no test clips, or more unreadable ones than the settings allow.
    """
    clips = data.split("test")
    if not clips:
        raise MasdError(f"{data.folder / 'test'}: no test clips; expected test/*.wav to evaluate on")
    with ConsoleProgress(f"score {data.machine_type}") as progress:
        results, notes = score_clips(scorer, clips, progress, all_systems=True)
    if not results:
        raise MasdError(f"{data.folder / 'test'}: none of its {len(clips)} clips is readable; repair or replace them")
    scores = pd.DataFrame(
        [
            {"name": clip.name, "section": clip.section, "domain": clip.domain, "condition": clip.condition}
            | {name: result.systems[name] for name in ALL_SYSTEMS}
            for clip, result in results
        ]
    )
    controls, control_thresholds = _score_controls(data, scorer.settings, scores["name"])
    scores = pd.concat([scores, controls], axis=1)
    thresholds: dict[str, float] = {name: scorer.detectors.thresholds[name] for name in ALL_SYSTEMS}
    thresholds |= control_thresholds
    metrics = {
        "machine_type": data.machine_type,
        "section": ",".join(sorted(scores["section"].unique())),
        "systems": {name: official_metrics(scores, scores[name], thresholds[name]) for name in ALL_SYSTEMS},
        "controls": {name: official_metrics(scores, scores[name], thresholds[name]) for name in CONTROLS},
        "seed": scorer.settings.seed,
    }
    out.mkdir(parents=True, exist_ok=True)
    for name in (*ALL_SYSTEMS, *CONTROLS):
        write_results(out / name, data.machine_type, scores, scores[name], thresholds[name])
    scores.to_parquet(out / "scores.parquet", index=False)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    if broken := [name for name in ALL_SYSTEMS if not np.isfinite(scores[name]).all()]:
        log.warning("%s: no report, %s gives scores that are no numbers", data.machine_type, ", ".join(broken))
        return metrics
    training = data.split("train")
    with ConsoleProgress(f"map {data.machine_type}") as progress:
        places = map_embeddings(scorer, training, [clip for clip, _ in results], progress)
    report = ReportData(
        metrics=metrics,
        scores=scores,
        thresholds=thresholds,
        served_system=scorer.system,
        history=history,
        examples=choose_examples(scorer, results, usual_residual(scorer, training)),
        places=places,
        notes=notes + _notes(scores),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model_version=scorer.model_version,
        data_fingerprint=data_fingerprint,
    )
    write_report(report, out / "report.html")
    return metrics


def score_clips(
    scorer: Scorer, clips: Sequence[Clip], progress: Progress | None = None, *, all_systems: bool = False
) -> tuple[list[tuple[Clip, ClipScore]], list[str]]:
    """Score clips a few at a time; unreadable ones are left out and named in the returned notes.

    :raises MasdError: more unreadable clips than ``data.max_unreadable_share`` allows.
    """
    results: list[tuple[Clip, ClipScore]] = []
    notes: list[str] = []
    allowed = int(scorer.settings.data.max_unreadable_share * len(clips))
    for start in range(0, len(clips), CLIPS_AT_ONCE):
        readable, recordings = [], []
        for clip in clips[start : start + CLIPS_AT_ONCE]:
            try:
                recordings.append(scorer.decode(clip.path))
                readable.append(clip)
            except AudioError as error:
                log.warning("left out unreadable test clip: %s", error)
                notes.append(f"Left out, unreadable: {error}")
                if len(notes) > allowed:
                    raise MasdError(f"{error}; repair or remove it, or raise data.max_unreadable_share") from error
        results += zip(readable, scorer.score(recordings, all_systems=all_systems), strict=True)
        if progress:
            progress(min(start + CLIPS_AT_ONCE, len(clips)), len(clips), "clips")
    return results, notes


def _score_controls(data: MachineData, settings: Settings, names: pd.Series) -> tuple[pd.DataFrame, dict[str, float]]:
    """Scores of the controls in the order of ``names``, and their thresholds. Controls hear no high-pass, as
    published.
    """
    with tempfile.TemporaryDirectory() as folder:
        store: FeatureStore = build_store(data, settings, Path(folder) / "store", high_pass_hz=0.0)
        row_of = {name: row for row, name in enumerate(store.clips["name"]) if store.clips["split"].iat[row] == "test"}
        rows = names.map(row_of).to_numpy()
        with ConsoleProgress(f"baseline {data.machine_type}") as progress:
            scores, thresholds = score_controls(store, rows, settings.seed, progress)
    return pd.DataFrame(scores), thresholds


def _notes(scores: pd.DataFrame) -> list[str]:
    notes = []
    if not (scores["domain"] == "target").any():
        notes.append(
            "No target clips in the test set: values of the target domain do not exist, "
            "and the harmonic mean leaves them out."
        )
    if not {"normal", "anomaly"} <= set(scores["condition"]):
        notes.append("The test set is not labelled with both normal and anomalous clips: no AUC can be computed.")
    return notes
