"""What detectors see of a clip: an embedding and a reconstruction error for each window, and the views of a clip."""

from dataclasses import dataclass, replace

import numpy as np

from masd.arrays import Array, Integers
from masd.detection.features.views import Views


@dataclass(frozen=True)
class FarFeatures:
    """The reference channel of a clip: frames, views of the clip and of each window, as in :class:`ClipFeatures`."""

    log_mel: Array
    views: Views
    window_views: Views


@dataclass(frozen=True)
class ClipFeatures:
    """``embeddings`` ``[W, d]`` of unit length and ``errors`` ``[W]`` (``||X - X_hat||_2``) of one clip's windows.

    Without a network an embedding has no values (``d`` is 0) and an error is nan.

    ``log_mel`` are the clip's frames ``[T, F]`` in dB, of which each window covers those from the first to before the
    second of its ``spans`` ``[W, 2]``. ``views`` are those of the whole clip ``[1, D]``, ``window_views`` those of each
    window ``[W, D]``; detectors are fitted without the latter, which training clips therefore do not carry. ``far`` is
    None where the model or the clip has no reference channel.
    """

    embeddings: Array
    errors: Array
    log_mel: Array
    spans: Integers
    views: Views
    window_views: Views
    far: FarFeatures | None = None

    @property
    def mean_error(self) -> float | None:
        """Mean reconstruction error; None without a network."""
        return float(self.errors.mean()) if self.embeddings.shape[1] else None

    def mean(self) -> tuple[Array, np.float32]:
        """Feature-based aggregation (paper, section 2.4 (1)): mean embedding, of unit length, and mean error."""
        mean = self.embeddings.mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12), self.errors.mean()


def without_windows(clip: ClipFeatures) -> ClipFeatures:
    """The features of a clip without the views of its windows, which take most of the memory."""
    far = None if clip.far is None else replace(clip.far, window_views={})
    return replace(clip, window_views={}, far=far)
