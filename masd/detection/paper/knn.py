"""k-nearest-neighbour detector of one domain (paper, section 2.4)."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.spatial.distance import cdist

from masd.arrays import Array, Floats, Tensors
from masd.config import DetectionSettings
from masd.detection.paper.bank import DomainName

DENSITY_NEIGHBOURS: dict[DomainName, int] = {"source": 16, "target": 9}
"""Own neighbours a reference is compared with under local density normalisation."""


@dataclass(frozen=True)
class KnnDetector:
    """Score of ``x``: the mean distance to its ``neighbours`` nearest references, each distance divided by its
    ``local_scale``.

    References ``[m, d + 1]`` are all training vectors (plain k-NN) or k-means centres of them ("the minimum
    distance to the cluster centers"). ``local_scale`` ``[m]`` is 1 unless local density normalisation is asked
    for: then it is the mean distance of the reference to its own nearest training vectors.
    """

    fewest: ClassVar[int] = 1

    references: Array
    local_scale: Floats
    neighbours: int

    @classmethod
    def of_domain(cls, vectors: Array, domain: DomainName, settings: DetectionSettings, seed: int) -> Self:
        """As the settings say; the few vectors of the target are all kept."""
        return cls.fit(
            vectors,
            centres=settings.knn_centres if settings.knn == "centres" and domain == "source" else None,
            neighbours=settings.knn_neighbours,
            density_neighbours=DENSITY_NEIGHBOURS[domain] if settings.domain_scores == "density" else None,
            seed=seed,
        )

    @classmethod
    def fit(
        cls,
        vectors: Array,
        *,
        centres: int | None,
        neighbours: int,
        density_neighbours: int | None,
        seed: int,
    ) -> Self:
        """Fit on training vectors ``[n, d + 1]`` of one domain; ``centres=None`` keeps all of them."""
        references = vectors if centres is None or len(vectors) <= centres else _centres(vectors, centres, seed)
        scale = (
            np.ones(len(references))
            if density_neighbours is None
            else _density(references, vectors, density_neighbours)
        )
        return cls(references, scale, neighbours)

    def score(self, vectors: Array) -> Floats:
        """``[n, d + 1]`` -> ``[n]``, larger is more anomalous."""
        distances = cdist(vectors, self.references) / self.local_scale
        k = min(self.neighbours, distances.shape[1])
        nearest: Floats = np.partition(distances, k - 1, axis=1)[:, :k].mean(axis=1)
        return nearest

    def tensors(self) -> Tensors:
        return {
            "references": self.references,
            "local_scale": self.local_scale,
            "neighbours": np.array(self.neighbours, dtype=np.int64),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        return cls(
            tensors["references"].astype(np.float32, copy=False),
            tensors["local_scale"].astype(np.float64),
            int(tensors["neighbours"]),
        )


def _centres(vectors: Array, count: int, seed: int) -> Array:
    distinct = len(np.unique(vectors, axis=0))
    from sklearn.cluster import KMeans  # only who fits waits for this import

    fitted = KMeans(min(count, distinct), n_init=4, random_state=seed).fit(vectors)
    centres: Array = fitted.cluster_centers_.astype(np.float32)
    return centres


def _density(references: Array, vectors: Array, k: int) -> Floats:
    distances = np.sort(cdist(references, vectors), axis=1)
    own = 1 if np.array_equal(references, vectors) else 0  # a training vector is its own nearest one
    nearest = distances[:, own : own + k]
    if nearest.shape[1] == 0:
        return np.ones(len(references))
    density: Floats = np.maximum(nearest.mean(axis=1), 1e-9)
    return density
