"""Convert log-mel dB into the network's standardised input."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from masd.arrays import Array
from masd.data.store import FeatureStore

CLIPS_BETWEEN_RELEASES = 64


@dataclass(frozen=True)
class Normalisation:
    """``(log_mel - mean) / scale`` with statistics of one machine's training clips.

    The mean is per band ``[F]`` in dB; the scale is one number, the standard deviation left over all bands, so that a
    change of 3 dB counts the same wherever it happens and bands of hardly any variation are not blown up.
    """

    mean: Array
    scale: float

    @classmethod
    def fit(cls, store: FeatureStore) -> Self:
        """From all frames of the machine's own (noisy) training clips, clip by clip to keep memory flat."""
        total = np.zeros(store.frames.shape[1])
        squared_total = np.zeros_like(total)
        count = 0
        for number, row in enumerate(store.normal_rows()):
            frames = store.log_mel(int(row)).astype(np.float64)
            total += frames.sum(axis=0)
            squared_total += np.square(frames).sum(axis=0)
            count += len(frames)
            if number % CLIPS_BETWEEN_RELEASES == 0:
                store.release()
        mean = total / count
        variance = np.maximum(squared_total / count - np.square(mean), 0.0)
        return cls(mean.astype(np.float32), max(float(np.sqrt(variance.mean())), 1e-3))

    def __call__(self, log_mel: Array) -> Array:
        """``[..., F]`` dB -> ``[..., F]`` standardised."""
        standardised: Array = (log_mel - self.mean) / np.float32(self.scale)
        return standardised
