"""The evidence of the latest scores against a normal machine: ranks, bets on them, Shiryaev-Roberts sums.

A normal clip's rank among ``n`` normal scores is uniform on ``0 ... n``, whatever the distribution of the scores, as
long as they are exchangeable (a conformal p-value). A bet is a function of the rank with mean one under that, large
where few scores are higher. Each of :data:`SHIFTS` is the likelihood ratio of a Gaussian shift by so many standard
deviations, on the scale on which normal scores are Gaussian; its mean over the bin of a rank needs no random number.
With evidence ``R = (1 + R) * bet`` for each shift, ``R - clips`` is a martingale under normal clips, and so is the
weighted sum of the three: the mean number of clips until the sum reaches a level is at least that level.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from masd.arrays import Floats, Integers

SHIFTS = np.array([1.0, 2.0, 4.0])
"""The shifts of the three bets: faint, plain and loud faults."""

WEIGHTS = np.array([0.5, 0.2, 0.3])
"""The share of the stake on each of :data:`SHIFTS`."""

OVERSHOOT, SMALL_CALIBRATION = 0.7, 225.0


def level(clips: float, size: int | Integers) -> Floats:
    """The level of evidence for an alarm, for one false alarm in ``clips`` clips. Evidence jumps over its level: at a
    level of 0.7 x ``clips`` the mean is still above ``clips``. ``size`` is the number of normal scores. Few scores can
    miss the tail of the distribution, and stay wrong as long as they are used: the second term keeps the mean for about
    95 in 100 calibrations of 100 scores or more, not only on average over them. Both numbers are measured on the exact
    distribution of ranks (``python -m bench.alarms.rates``).
    """
    return np.asarray(clips * (OVERSHOOT + (SMALL_CALIBRATION / np.maximum(size, 1)) ** 1.5), dtype=np.float64)


def bets(rank: int | Integers, size: int | Integers) -> Floats:
    """``[...]`` ranks (how many of ``size`` normal scores are at least as high) -> bets ``[..., 3]``.

    The mean over the ranks ``0 ... size`` is one. A tie counts against the bet.
    """
    rank, size = np.asarray(rank)[..., None], np.asarray(size)[..., None]
    upper, lower = -ndtri(rank / (size + 1)), -ndtri((rank + 1) / (size + 1))
    found: Floats = (size + 1) * (ndtr(upper - SHIFTS) - ndtr(lower - SHIFTS))
    return found


def advance(evidence: Floats, bet: Floats) -> Floats:
    """Evidence ``[..., 3]`` after one more clip, or one more block of clips."""
    return (1.0 + evidence) * bet


def total(evidence: Floats) -> Floats:
    """``[..., 3]`` -> the sum that is compared with :func:`level` ``[...]``."""
    found: Floats = evidence @ WEIGHTS
    return found
