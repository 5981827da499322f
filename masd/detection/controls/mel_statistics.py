"""The training-free control: statistics of each log-mel band over time, and one shrunk covariance."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from masd.arrays import Floats, Integers, Mask
from masd.data.store import FeatureStore
from masd.detection.folds import recording_folds

FOLDS = 5


@dataclass(frozen=True)
class MelStatistics:
    """Mahalanobis distance to the mean of each domain, minimum; ``means`` ``[domains, 2F]``, ``precision`` ``[2F,
    2F]``.

    Statistics are standardised first, because Ledoit-Wolf shrinks towards a multiple of the identity.
    """

    centre: Floats
    spread: Floats
    means: Floats
    precision: Floats
    threshold: float

    @classmethod
    def fit(cls, store: FeatureStore, seed: int, percentile: float = 90.0) -> Self:
        """On the noisy training clips; the threshold is a percentile of scores of clips that were held out of the
        fit.
        """
        rows = store.normal_rows()
        vectors = cls.vectors(store, rows)
        is_target = store.clips["domain"].to_numpy()[rows] == "target"
        held_out = np.empty(len(rows))
        recordings = store.clips["recording"].to_numpy()[rows]
        for fold in recording_folds(recordings, FOLDS, np.random.default_rng(seed)):
            rest = np.setdiff1d(np.arange(len(rows)), fold)
            kept = rest if len(rest) > 1 else np.arange(len(rows))
            held_out[fold] = _distances(vectors[fold], *_fit(vectors[kept], is_target[kept]))
        return cls(*_fit(vectors, is_target), float(np.percentile(held_out, percentile)))

    @staticmethod
    def vectors(store: FeatureStore, rows: Integers) -> Floats:
        """Mean and standard deviation of each band over time: ``[n, 2F]``, in dB."""
        clips = [store.log_mel(int(row)).astype(np.float64) for row in rows]
        return np.stack([np.concatenate([clip.mean(axis=0), clip.std(axis=0)]) for clip in clips])

    def score(self, store: FeatureStore, rows: Integers) -> Floats:
        """``[n]``, larger is more anomalous."""
        return _distances(self.vectors(store, rows), self.centre, self.spread, self.means, self.precision)


def _fit(vectors: Floats, is_target: Mask) -> tuple[Floats, Floats, Floats, Floats]:
    centre, spread = vectors.mean(axis=0), np.maximum(vectors.std(axis=0), 1e-9)
    standardised = (vectors - centre) / spread
    means = [standardised[domain].mean(axis=0) for domain in (~is_target, is_target) if domain.any()]
    from sklearn.covariance import LedoitWolf  # only who fits waits for this import

    return centre, spread, np.stack(means), LedoitWolf().fit(standardised).precision_


def _distances(vectors: Floats, centre: Floats, spread: Floats, means: Floats, precision: Floats) -> Floats:
    offsets = ((vectors - centre) / spread)[:, None, :] - means[None, :, :]
    squared = np.einsum("ndi,ij,ndj->nd", offsets, precision, offsets, optimize=True)
    nearest: Floats = np.sqrt(np.maximum(squared, 0.0)).min(axis=1)
    return nearest
