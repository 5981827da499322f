"""Normal clips held out from the network's training, so that thresholds measured on them hold for new clips."""

import numpy as np

from masd.arrays import Integers
from masd.config import Settings
from masd.data.store import FeatureStore

LEAST_CLIPS = 20
"""With fewer source clips none is held out: the network needs them."""

LEAST_SET_ASIDE = 5


def calibration_rows(store: FeatureStore, settings: Settings) -> Integers:
    """Rows of the source training clips that are held out from the network's training: ``training.calibration_share``
    of them, at least five.

    The network remembers the clips it was trained on, and after a long training a new normal clip scores well
    above them: thresholds and drift references from remembered clips would flag most normal clips. There are too few
    target clips to hold any out; their scores are held out from the detectors only. Whole recordings are held out,
    unless that doubles the number of clips; if even the smallest is too large, none is held out.
    """
    rows = store.normal_rows()
    source = rows[store.clips["domain"].to_numpy()[rows] != "target"]
    share = settings.training.calibration_share
    if share == 0 or len(source) < LEAST_CLIPS:
        return np.empty(0, dtype=np.int64)
    count = max(LEAST_SET_ASIDE, round(share * len(source)))
    recordings = store.clips["recording"].to_numpy()
    chosen = np.empty(0, dtype=np.int64)
    for recording in np.random.default_rng(settings.seed).permutation(np.unique(recordings[source])):
        members = source[recordings[source] == recording]
        if len(chosen) < count and len(chosen) + len(members) < 2 * count:
            chosen = np.union1d(chosen, members)
    return chosen
