"""Thresholds with a guarantee: how rarely later normal clips exceed them, given the number of normal clips."""

import math

import numpy as np
from scipy.stats import beta

from masd.arrays import Floats

CONFIDENCE = 0.95


def clips_needed(rate: float, confidence: float = CONFIDENCE) -> int:
    """The smallest number of normal clips such that, with ``confidence``, at most ``rate`` of later clips exceed their
    highest score.
    """
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-rate))


def guaranteed_rate(clips: int, above: int = 0, confidence: float = CONFIDENCE) -> float:
    """With ``confidence``, later clips exceed the score that ``above`` of ``clips`` scores exceed at most at this rate.

    Whatever the distribution (Wilks): the share above an order statistic is Beta distributed. 1.0 without clips.
    """
    if above >= clips:
        return 1.0
    return float(beta.ppf(confidence, above + 1, clips - above))


def tolerance_threshold(scores: Floats, rate: float, confidence: float = CONFIDENCE, *, alike: int = 1) -> float:
    """The lowest of ``scores`` that at most ``rate`` of later normal clips exceed, with ``confidence``.

    If even the highest score does not have this guarantee, it is the highest score (:func:`guaranteed_rate` has its
    rate). So many clips in a row as ``alike`` count as one.
    """
    ordered = np.sort(scores)[::-1]
    clips, above = len(ordered) // alike, np.arange(len(ordered)) // alike
    above = above[above < clips]
    promised = beta.ppf(confidence, above + 1, clips - above)
    return float(ordered[max(int(np.searchsorted(promised, rate, side="right")) - 1, 0)])
