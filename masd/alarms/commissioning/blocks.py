"""Clips that are recorded one after the other are alike: how many of them count as one."""

import numpy as np
from scipy.stats import rankdata

from masd.arrays import Floats

ALIKE = 0.05
"""Rank correlation above which two clips count as dependent."""

LONGEST = 64


def block_length(scores: Floats) -> int:
    """The smallest distance at which ``scores`` (in order of time) are no longer correlated; 1 for independent clips.

    A small correlation cannot be distinguished from chance with few clips; from there on, it is extrapolated from its
    decrease so far. At most :data:`LONGEST`.
    """
    if len(scores) < 3 or np.ptp(scores) == 0:
        return 1
    ranks = rankdata(scores) - (len(scores) + 1) / 2
    power = float(ranks @ ranks)
    limit = max(ALIKE, 2.0 / np.sqrt(len(scores)))
    for lag in range(1, min(LONGEST, len(scores) // 2)):
        if float(ranks[lag:] @ ranks[:-lag]) / power < limit:
            seen = np.log(ALIKE) / np.log(limit)  # 1.0 with enough clips
            return 1 if lag == 1 else min(LONGEST, int(np.ceil(lag * seen)))
    return min(LONGEST, len(scores) // 2)
