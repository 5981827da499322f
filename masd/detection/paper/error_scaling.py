"""The detector's input: embedding and reconstruction error joined to ``d + 1`` numbers (paper, section 2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from scipy.spatial.distance import cdist

from masd.arrays import Array, Integers
from masd.detection.features.clip import ClipFeatures

Level = Literal["feature", "score"]


@dataclass(frozen=True)
class ErrorScaling:
    """How the reconstruction error becomes the last coordinate of the joined vector.

    The error is standardised with training statistics and multiplied by ``weight`` times the median distance of a
    training embedding to its nearest one of another clip, so that one standard deviation of error weighs as much as
    ordinary normal variation of the embedding does.
    """

    mean: float
    factor: float

    @classmethod
    def fit(cls, embeddings: Array, errors: Array, groups: Integers, weight: float) -> Self:
        spread = max(float(errors.std(dtype=np.float64)), 1e-6)
        return cls(
            float(errors.mean(dtype=np.float64)),
            weight * _median_neighbour_distance(embeddings, groups) / spread,
        )

    def join(self, embeddings: Array, errors: Array) -> Array:
        """``[n, d]`` and ``[n]`` -> ``[n, d + 1]``."""
        last = (errors.astype(np.float64) - self.mean) * self.factor
        return np.concatenate([embeddings, last[:, None].astype(np.float32)], axis=1)


def rows_of(clips: Sequence[ClipFeatures], level: Level) -> tuple[Array, Array, Integers]:
    """Embeddings ``[n, d]``, errors ``[n]`` and the clip each row belongs to ``[n]``.

    ``"feature"``: one row per clip, the mean over its windows; ``"score"``: one row per window.
    """
    if level == "feature":
        means = [clip.mean() for clip in clips]
        embeddings = np.stack([embedding for embedding, _ in means])
        return embeddings, np.array([error for _, error in means], np.float32), np.arange(len(clips))
    groups = np.repeat(np.arange(len(clips)), [len(clip.errors) for clip in clips])
    return np.concatenate([c.embeddings for c in clips]), np.concatenate([c.errors for c in clips]), groups


def _median_neighbour_distance(embeddings: Array, groups: Integers, most: int = 2000) -> float:
    """Median leave-one-out nearest-neighbour distance; at most ``most`` evenly spaced rows are asked."""
    asked = np.unique(np.linspace(0, len(embeddings) - 1, min(most, len(embeddings))).astype(np.int64))
    nearest = []
    for part in np.array_split(asked, -(-len(asked) // 256)):
        distances = cdist(embeddings[part], embeddings)
        distances[groups[part][:, None] == groups[None, :]] = np.inf
        nearest.append(distances.min(axis=1))
    finite = np.concatenate(nearest)
    finite = finite[np.isfinite(finite)]
    return max(float(np.median(finite)), 1e-6) if len(finite) else 1.0
