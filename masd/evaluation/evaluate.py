"""Score a machine's test clips with its model, compare with the controls, and write all results into one folder."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from masd.data.clips import Clip
from masd.data.recordings.table import shared_sound_note
from masd.data.store import FeatureStore
from masd.detection.controls import CONTROLS
from masd.detection.scorer import Scorer
from masd.detection.threshold import Calibration
from masd.errors import MasdError
from masd.evaluation.contributions.measure import measure_contributions
from masd.evaluation.controls import ControlScores
from masd.evaluation.figures.embedding_map import map_embeddings
from masd.evaluation.metrics import official_metrics
from masd.evaluation.pages.examples import choose_examples
from masd.evaluation.pages.report import ReportData, write_report
from masd.evaluation.residuals import UsualResidual
from masd.evaluation.results import write_results
from masd.evaluation.scoring import fits, score_stored
from masd.files import json_text
from masd.progress import ConsoleProgress

log = logging.getLogger(__name__)


def evaluate_scorer(
    scorer: Scorer,
    store: FeatureStore,
    controls: ControlScores,
    clips: Sequence[Clip],
    out: Path,
    *,
    history: Sequence[dict[str, float]],
    data_fingerprint: str,
    usual: UsualResidual | None,
) -> dict[str, Any]:
    """Write ``metrics.json``, ``scores.parquet``, ``report.html`` and the result files of each system and control
    below ``out``.

    Scores come from the frames of ``store``; ``clips`` are the test clips, some of which the report plays. A broken
    model, whose scores are not finite, gets no report: the gate refuses it. Returns what ``metrics.json`` holds.

    :raises MasdError: a store or controls of other recordings or settings.
    """
    machine, rows = store.machine_type, store.rows(split="test")
    if not fits(scorer, store):
        raise MasdError(
            f"{store.folder}: was made with other audio settings than the model; run the training again from the start"
        )
    files = {clip.name: clip.path for clip in clips}
    with ConsoleProgress(f"score {machine}") as progress:
        scored = score_stored(scorer, store, rows, files, progress)
    if scored["name"].tolist() != controls.scores["name"].tolist():
        raise MasdError(
            f"{machine}: the controls' scores are of other clips than {store.folder}; run the training again from the "
            "start"
        )
    about = store.clips.iloc[rows][["section", "domain", "condition"]].reset_index(drop=True)
    systems = list(scorer.detectors.systems)
    scores = pd.concat([scored[["name"]], about, scored[systems], controls.scores[[*CONTROLS]]], axis=1)
    calibration = scorer.detectors.calibrations.get(scorer.system)
    broken = [name for name in systems if not np.isfinite(scores[name]).all()]
    contributions = None
    if not broken:
        with ConsoleProgress(f"synthetic faults {machine}") as progress:
            contributions = measure_contributions(scorer, store, progress)
    thresholds: dict[str, float] = {name: scorer.detectors.thresholds[name] for name in systems}
    thresholds |= controls.thresholds
    metrics = {
        "machine_type": machine,
        "section": ",".join(sorted(scores["section"].unique())),
        "systems": {name: official_metrics(scores, scores[name], thresholds[name]) for name in systems},
        "controls": {name: official_metrics(scores, scores[name], thresholds[name]) for name in CONTROLS},
        "seed": scorer.settings.seed,
        "calibration": None if calibration is None else calibration.to_dict(),
        "contributions": None if contributions is None else contributions.to_dict(),
        "clips_heard_in_training": store.clips.loc[store.clips["in_training"] != "", "name"].tolist(),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name in (*systems, *CONTROLS):
        write_results(out / name, machine, scores, scores[name], thresholds[name])
    scores.to_parquet(out / "scores.parquet", index=False)
    (out / "metrics.json").write_text(json_text(metrics, indent=2) + "\n", encoding="utf-8")
    if broken:
        log.warning(
            "%s: no report was written, because %s gives scores that are not finite numbers; train it again",
            machine,
            ", ".join(broken),
        )
        return metrics
    with ConsoleProgress(f"map {machine}") as progress:
        places = map_embeddings(scorer, store, progress)
    report = ReportData(
        metrics=metrics,
        scores=scores,
        thresholds=thresholds,
        served_system=scorer.system,
        history=history,
        examples=choose_examples(scorer, scores, files, usual),
        places=places,
        notes=[f"Left out, unreadable: {reason}" for reason in store.skipped] + _notes(scores, store, calibration),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model_version=scorer.model_version,
        data_fingerprint=data_fingerprint,
    )
    write_report(report, out / "report.html")
    return metrics


def _notes(scores: pd.DataFrame, store: FeatureStore, calibration: Calibration | None) -> list[str]:
    notes = []
    if calibration is not None:
        notes.append(f"{calibration.sentence[0].upper()}{calibration.sentence[1:]}.")
    if calibration is not None and calibration.warning:
        notes.append(calibration.warning)
    if note := shared_sound_note(store.clips):
        notes.append(note)
    if not (scores["domain"] == "target").any():
        notes.append(
            "The test set has no target clips, so the values of the target domain are missing, "
            "and the harmonic mean leaves them out."
        )
    if not {"normal", "anomaly"} <= set(scores["condition"]):
        notes.append("The test set is not labelled with both normal and anomalous clips: no AUC can be computed.")
    return notes
