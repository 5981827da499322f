"""Local outlier factor of one domain (paper, section 2.4), kept and scored as plain arrays."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.spatial.distance import cdist

from masd.arrays import Array, Floats, Tensors
from masd.config import DetectionSettings
from masd.detection.paper.bank import DomainName


@dataclass(frozen=True)
class LofDetector:
    """Score of ``x``: its local outlier factor (Breunig et al. 2000) against the training vectors of one domain.

    What scoring needs is kept as arrays: the vectors ``[n, d + 1]``, the distance of each to its k-th neighbour
    and its local reachability density. Nothing has to be pickled, and the score equals ``-score_samples`` of
    scikit-learn's estimator.
    """

    fewest: ClassVar[int] = 2

    vectors: Array
    k_distance: Floats
    density: Floats
    neighbours: int

    @classmethod
    def of_domain(cls, vectors: Array, domain: DomainName, settings: DetectionSettings, seed: int) -> Self:
        """As the settings say, in either domain alike."""
        return cls.fit(vectors, neighbours=settings.lof_neighbours)

    @classmethod
    def fit(cls, vectors: Array, *, neighbours: int) -> Self:
        """Fit on training vectors ``[n, d + 1]``, ``n >= 2``; at most ``n - 1`` neighbours can be used."""
        k = min(neighbours, len(vectors) - 1)
        if len(vectors) < cls.fewest:
            raise ValueError("a local outlier factor needs at least two vectors")
        points = vectors.astype(np.float64)
        from sklearn.neighbors import NearestNeighbors  # only who fits waits for this import

        search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
        indexes = search.kneighbors(return_distance=False)  # of the points themselves: each without itself
        # the search's own distances come from dot products, which leave 1e-8 between duplicates where 0 is due
        distances = np.stack([np.linalg.norm(points - points[column], axis=1) for column in indexes.T], axis=1)
        k_distance = distances.max(axis=1)
        reach = np.maximum(distances, k_distance[indexes])
        return cls(vectors, k_distance, 1.0 / (reach.mean(axis=1) + 1e-10), k)

    def score(self, vectors: Array) -> Floats:
        """``[n, d + 1]`` -> ``[n]``, about 1 inside the training data, larger is more anomalous."""
        distances = cdist(vectors, self.vectors)
        nearest = np.argpartition(distances, self.neighbours - 1, axis=1)[:, : self.neighbours]
        reach = np.maximum(np.take_along_axis(distances, nearest, axis=1), self.k_distance[nearest])
        own_density = 1.0 / (reach.mean(axis=1) + 1e-10)
        return np.asarray(self.density[nearest].mean(axis=1) / own_density)

    def tensors(self) -> Tensors:
        return {
            "vectors": self.vectors,
            "k_distance": self.k_distance,
            "density": self.density,
            "neighbours": np.array(self.neighbours, dtype=np.int64),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        return cls(
            tensors["vectors"].astype(np.float32, copy=False),
            tensors["k_distance"].astype(np.float64),
            tensors["density"].astype(np.float64),
            int(tensors["neighbours"]),
        )
