"""How far a clip's embedding is from those of training: what drift of the embeddings is measured by."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from masd.detection.features import ClipFeatures
from masd.detection.fused.whitened import Mask, WhitenedNeighbours

FOLDS = 20
"""A distance to 95 % of the clips is hardly longer than one to all of them: held-out and new clips compare."""


def fit_embedding_distance(
    clips: Sequence[ClipFeatures], is_target: Mask, seed: int
) -> tuple[WhitenedNeighbours, npt.NDArray[np.float64]]:
    """Mean embeddings of the training clips, whitened, and each clip's distance ``[clips]`` to the nearest other one.

    ``is_target`` ``[clips]``; at least three clips. A clip is held out of the whitening as well.
    """
    vectors = np.stack([clip.mean()[0] for clip in clips])
    distances = np.empty(len(clips))
    order = np.random.default_rng(seed).permutation(len(clips))
    for fold in np.array_split(order, min(FOLDS, len(clips))):
        rest = np.setdiff1d(order, fold)
        fitted = WhitenedNeighbours.fit(vectors[rest], is_target[rest])
        distances[fold] = fitted.distances(vectors[fold]).min(axis=1)
    return WhitenedNeighbours.fit(vectors, is_target), distances
