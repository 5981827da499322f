"""Thresholds with a guarantee: how rarely later normal clips exceed them, given the number of normal clips."""

import math

import numpy as np
from scipy.stats import beta

from masd.arrays import Floats

CONFIDENCE = 0.95


def clips_needed(rate: float, confidence: float = CONFIDENCE) -> int:
    """The fewest normal clips whose highest score at most ``rate`` of later ones exceed, with ``confidence``."""
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-rate))


def guaranteed_rate(clips: int, above: int = 0, confidence: float = CONFIDENCE) -> float:
    """The rate that the score which ``above`` of ``clips`` scores exceed is kept below, with ``confidence``.

    Whatever the distribution (Wilks): the share above an order statistic is Beta distributed. 1.0 without clips.
    """
    if above >= clips:
        return 1.0
    return float(beta.ppf(confidence, above + 1, clips - above))


def tolerance_threshold(scores: Floats, rate: float, confidence: float = CONFIDENCE, *, alike: int = 1) -> float:
    """The lowest of ``scores`` that at most ``rate`` of later normal clips exceed, with ``confidence``.

    It is the highest score where even that cannot be promised (:func:`guaranteed_rate` says what can). So many clips
    in a row as ``alike`` count as one.
    """
    ordered = np.sort(scores)[::-1]
    clips, above = len(ordered) // alike, np.arange(len(ordered)) // alike
    above = above[above < clips]
    promised = beta.ppf(confidence, above + 1, clips - above)
    return float(ordered[max(int(np.searchsorted(promised, rate, side="right")) - 1, 0)])
