"""Resamples of a test set: the official metrics of all of them at once.

A resample is a row of weights, how often it holds each clip. The areas under its ROC are then sums of weights over the
comparisons of anomalous with normal scores, which are the same for every resample: a few matrix products instead of a
sort each.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from masd.arrays import Floats, Mask
from masd.evaluation.metrics import AREAS, EPSILON, MAX_FPR


def draw_weights(clips: pd.DataFrame, samples: int, rng: np.random.Generator) -> Floats:
    """How often each clip is in each resample: ``[B, n]``.

    Clips are drawn with replacement within section, domain and condition, so that a resample has as many of each as
    the test set has and every area that exists for the one exists for the other. A clip without a domain counts as
    source; one of unknown condition cannot be measured, has weight 0 and takes nothing from the generator.
    """
    weights = np.zeros((samples, len(clips)))
    rows = np.flatnonzero(clips["condition"].isin(["normal", "anomaly"]))
    strata = clips.assign(domain=clips["domain"] == "target").iloc[rows].groupby(["section", "domain", "condition"])
    for members in strata.indices.values():
        drawn = rows[members][rng.integers(len(members), size=(samples, len(members)))]
        np.add.at(weights, (np.arange(samples)[:, None], drawn), 1.0)
    return weights


def weighted_metrics(clips: pd.DataFrame, scores: npt.ArrayLike, weights: Floats) -> dict[str, Floats]:
    """AUC source, AUC target, pAUC and hmean of every resample, each ``[B]``: what
    :func:`masd.evaluation.metrics.official_metrics` finds on the clips repeated as often as ``weights`` ``[B, n]`` say,
    several sections combined as there. NaN where a value cannot exist.

    ``clips`` (at least one) has the columns ``section``, ``domain``, ``condition``; ``scores`` is ``[n]``.
    """
    score, is_target = np.asarray(scores, dtype=np.float64), (clips["domain"] == "target").to_numpy()
    normal, anomaly = ((clips["condition"] == kind).to_numpy() for kind in ("normal", "anomaly"))
    sections = [(clips["section"] == section).to_numpy() for section in clips["section"].unique()]
    areas = np.stack([_areas(score, is_target, normal & here, anomaly & here, weights) for here in sections])
    hmean = harmonic_means(areas.reshape(-1, len(weights)))
    return dict(zip(AREAS, areas[0] if len(areas) == 1 else harmonic_means(areas), strict=True)) | {"hmean": hmean}


def harmonic_means(values: Floats) -> Floats:
    """:func:`masd.evaluation.metrics.harmonic_mean` over the first axis; NaN stands for what does not exist."""
    known = ~np.isnan(values)
    inverse = 1.0 / np.maximum(np.where(known, values, 1.0), EPSILON)
    with np.errstate(invalid="ignore"):
        return np.asarray(known.sum(axis=0) / np.where(known, inverse, 0.0).sum(axis=0), dtype=np.float64)


def _areas(score: Floats, is_target: Mask, normal: Mask, anomaly: Mask, weights: Floats) -> Floats:
    """The three areas of one section, ``[3, B]``."""
    if not normal.any() or not anomaly.any():
        return np.full((len(AREAS), len(weights)), np.nan)
    levels, level_of = np.unique(score[normal], return_inverse=True)
    at_level = (level_of[:, None] == np.arange(len(levels))).astype(np.float64)
    share = weights[:, anomaly] / weights[:, anomaly].sum(axis=1, keepdims=True)
    above = share @ (score[anomaly][:, None] > levels)  # [B, levels]: anomalies above each level of normal scores
    tied = share @ (score[anomaly][:, None] == levels)
    normals = [weights[:, normal] * here[normal] @ at_level for here in (~is_target, is_target)]
    with np.errstate(invalid="ignore"):  # 0 / 0 where the domain has no normal clips
        aucs = [(of_domain * (above + tied / 2.0)).sum(axis=1) / of_domain.sum(axis=1) for of_domain in normals]
    return np.stack([*aucs, _partial_area(normals[0] + normals[1], above, tied)])


def _partial_area(normals: Floats, above: Floats, tied: Floats) -> Floats:
    """pAUC ``[B]`` from the normals at, and the share of anomalies above and at, each ascending level ``[B, levels]``.

    The ROC runs from the highest level down: flat where normals stand alone, a straight diagonal where anomalies tie
    with them. McClish (1989) standardises what lies left of ``MAX_FPR``: chance is 0.5.
    """
    rates = normals / normals.sum(axis=1, keepdims=True)
    false_rate = np.cumsum(rates[:, ::-1], axis=1)[:, ::-1]
    used = np.maximum(np.minimum(rates, MAX_FPR - (false_rate - rates)), 0.0)
    reached = np.divide(used, rates, out=np.zeros_like(rates), where=rates > 0.0)
    area = (used * (above + tied * reached / 2.0)).sum(axis=1)
    least = MAX_FPR**2 / 2.0
    return np.asarray(0.5 * (1.0 + (area - least) / (MAX_FPR - least)), dtype=np.float64)
