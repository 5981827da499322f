"""The official metrics of DCASE Task 2."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hmean
from sklearn.metrics import roc_auc_score

from masd.arrays import Floats, Mask
from masd.detection.decision import flagged

MAX_FPR = 0.1
EPSILON = float(np.finfo(np.float64).eps)
AREAS = ("auc_source", "auc_target", "pauc")
DOMAINS = ("source", "target")

Metrics = dict[str, float | None]


def harmonic_mean(values: Iterable[float | None]) -> float | None:
    """Official harmonic mean: every value floored at float epsilon; values that do not exist are left out."""
    known = [max(value, EPSILON) for value in values if value is not None]
    return float(hmean(known)) if known else None


def official_metrics(clips: pd.DataFrame, scores: npt.ArrayLike, threshold: float) -> Metrics:
    """AUC of each domain, pAUC, their harmonic mean, and precision / recall / F1 of each domain at the threshold.

    ``clips`` has the columns ``section``, ``domain``, ``condition``. ``AUC(domain)`` sets the normals of the
    domain against the anomalies of both; ``pAUC`` takes all clips up to a false-positive rate of 0.1, standardised
    after McClish (chance is 0.5); precision, recall and F1 look at clips of the same domain only. A clip without a
    domain counts as source. A value that cannot exist (no such clips, a score that is no number) is None. Several
    sections are combined by the harmonic mean, as the official score combines them.
    """
    frame = clips.assign(score=np.asarray(scores, dtype=np.float64))
    groups = [group for _, group in frame.groupby("section")] or [frame]
    per_section = [_section_metrics(group, threshold) for group in groups]
    if len(per_section) == 1:
        return per_section[0]
    combined = {name: harmonic_mean(section[name] for section in per_section) for name in AREAS}
    every_area = [section[name] for section in per_section for name in AREAS]
    rest = {name: _mean(section[name] for section in per_section) for name in per_section[0] if name not in combined}
    return rest | combined | {"hmean": harmonic_mean(every_area), "threshold": threshold}


def official_score(machines: Iterable[dict[str, Any]]) -> float | None:
    """Harmonic mean over machines of all their AUC source, AUC target and pAUC."""
    return harmonic_mean(machine[name] for machine in machines for name in AREAS)


def areas(score: Floats, is_target: Mask, normal: Mask, anomaly: Mask) -> Metrics:
    """AUC source, AUC target and pAUC of one section; all arguments ``[n]``."""
    return {
        "auc_source": _area(score, normal & ~is_target, anomaly),
        "auc_target": _area(score, normal & is_target, anomaly),
        "pauc": _area(score, normal, anomaly, max_fpr=MAX_FPR),
    }


def _section_metrics(frame: pd.DataFrame, threshold: float) -> Metrics:
    is_target = (frame["domain"] == "target").to_numpy()
    anomaly, normal = ((frame["condition"] == kind).to_numpy() for kind in ("anomaly", "normal"))
    score = frame["score"].to_numpy()
    metrics = areas(score, is_target, normal, anomaly)
    metrics["hmean"] = harmonic_mean(metrics[name] for name in AREAS)
    for domain, here in zip(DOMAINS, (~is_target, is_target), strict=True):
        metrics |= _decisions(flagged(score, threshold), anomaly & here, normal & here, domain)
    return metrics | {"threshold": threshold}


def _area(score: Floats, normal: Mask, anomaly: Mask, max_fpr: float | None = None) -> float | None:
    used = normal | anomaly
    if not normal.any() or not anomaly.any() or not np.isfinite(score[used]).all():
        return None
    return float(roc_auc_score(anomaly[used], score[used], max_fpr=max_fpr))


def _decisions(flagged: Mask, anomaly: Mask, normal: Mask, domain: str) -> Metrics:
    if not (anomaly.any() and normal.any()):
        return {f"{name}_{domain}": None for name in ("precision", "recall", "f1")}
    hits, false_alarms = int((flagged & anomaly).sum()), int((flagged & normal).sum())
    misses = int(anomaly.sum()) - hits
    precision = hits / max(hits + false_alarms, EPSILON)
    recall = hits / max(hits + misses, EPSILON)
    f1 = 2 * precision * recall / max(precision + recall, EPSILON)
    return {f"precision_{domain}": precision, f"recall_{domain}": recall, f"f1_{domain}": f1}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
