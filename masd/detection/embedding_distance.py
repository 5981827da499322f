"""The distance of a clip's embedding from the training embeddings, for the drift check."""

from collections.abc import Sequence

import numpy as np

from masd.arrays import Floats, Integers, Mask
from masd.detection.features.clip import ClipFeatures
from masd.detection.folds import recording_folds
from masd.detection.fused.whitened import WhitenedNeighbours

FOLDS = 20
"""With 20 folds, distances are to 95 % of the clips, hardly longer than to all: held-out and new clips can be compared.
"""


def fit_embedding_distance(
    clips: Sequence[ClipFeatures], is_target: Mask, seed: int, recordings: Integers | None = None
) -> tuple[WhitenedNeighbours, Floats]:
    """Mean embeddings of the training clips, whitened, and each clip's distance ``[clips]`` to the nearest other one.

    ``is_target`` ``[clips]``; at least three clips. A clip is held out of the whitening as well, with all others of its
    recording (``recordings`` ``[clips]``, each its own where not given).
    """
    recordings = np.arange(len(clips)) if recordings is None else recordings
    vectors = np.stack([clip.mean()[0] for clip in clips])
    distances = np.empty(len(clips))
    for fold in recording_folds(recordings, FOLDS, np.random.default_rng(seed)):
        rest = np.setdiff1d(np.arange(len(clips)), fold)
        fitted = WhitenedNeighbours.fit(vectors[rest], is_target[rest])
        distances[fold] = fitted.distances(vectors[fold]).min(axis=1)
    return WhitenedNeighbours.fit(vectors, is_target), distances
