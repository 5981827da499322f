"""What the network says about a clip: an embedding and a reconstruction error for each window."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from masd.audio import cut_windows
from masd.config import WindowSettings
from masd.data.store import FeatureStore
from masd.learning.losses import reconstruction_errors
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation

Array = npt.NDArray[np.float32]

MAX_WINDOWS = 128
"""Windows in one pass of the network: bounds memory, whatever the length of a clip."""


CLIPS_AT_ONCE = 16


@dataclass(frozen=True)
class ClipFeatures:
    """``embeddings`` ``[W, d]`` of unit length and ``errors`` ``[W]`` (``||X - X_hat||_2``) of one clip's windows."""

    embeddings: Array
    errors: Array

    def mean(self) -> tuple[Array, np.float32]:
        """Feature-based aggregation (report 2.4 (1)): the mean embedding, again of unit length, and the mean error."""
        mean = self.embeddings.mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12), self.errors.mean()


class FeatureExtractor:
    """Log-mel frames -> :class:`ClipFeatures`, always in float32 so that a score does not depend on the processor."""

    def __init__(
        self, network: ConvolutionalAutoEncoder, normalisation: Normalisation, windows: WindowSettings
    ) -> None:
        self._network, self._normalisation, self._windows = network, normalisation, windows

    def windows(self, log_mel: Array) -> Array:
        """``[T, F]`` dB -> the network's input ``[W, F, frames]``, standardised."""
        return cut_windows(self._normalisation(log_mel), self._windows.frames, self._windows.hop_frames)

    def __call__(self, log_mels: Sequence[Array]) -> list[ClipFeatures]:
        """One :class:`ClipFeatures` per clip; the windows of all clips share the passes of the network."""
        per_clip = [self.windows(log_mel) for log_mel in log_mels]
        embeddings, errors = [], []
        for chunk in _chunks(np.concatenate(per_clip)):
            x = torch.from_numpy(chunk).unsqueeze(1).to(memory_format=torch.channels_last)
            with torch.inference_mode():
                x_hat, z = self._network(x)
                embeddings.append(F.normalize(z, dim=1).numpy())
                errors.append(reconstruction_errors(x, x_hat).numpy())
        cuts = np.cumsum([len(windows) for windows in per_clip])[:-1]
        split_z, split_e = np.split(np.concatenate(embeddings), cuts), np.split(np.concatenate(errors), cuts)
        return [ClipFeatures(z, e) for z, e in zip(split_z, split_e, strict=True)]

    def rows(self, store: FeatureStore, rows: npt.NDArray[np.int64]) -> list[ClipFeatures]:
        """:class:`ClipFeatures` of some clips of a store, a few clips at a time to keep memory flat."""
        clips: list[ClipFeatures] = []
        for start in range(0, len(rows), CLIPS_AT_ONCE):
            clips += self([store.log_mel(int(row)) for row in rows[start : start + CLIPS_AT_ONCE]])
        return clips

    def residual(self, log_mel: Array) -> Array:
        """``|X - X_hat|`` of each cell ``[T, F]`` in standard deviations, overlapping windows averaged (pictures)."""
        windows = self.windows(log_mel)
        parts = []
        for chunk in _chunks(windows):
            x = torch.from_numpy(chunk).unsqueeze(1).to(memory_format=torch.channels_last)
            with torch.inference_mode():
                x_hat, _ = self._network(x)
            parts.append((x - x_hat).abs()[:, 0].numpy())
        residuals = np.concatenate(parts)
        frames, hop = self._windows.frames, self._windows.hop_frames
        length = max(len(log_mel), frames)
        total, count = np.zeros((length, windows.shape[1]), np.float32), np.zeros((length, 1), np.float32)
        for number, residual in enumerate(residuals):
            start = min(number * hop, length - frames)
            total[start : start + frames] += residual.T
            count[start : start + frames] += 1
        mean: Array = (total / count)[: len(log_mel)]
        return mean


def _chunks(windows: Array) -> Iterable[Array]:
    return (windows[start : start + MAX_WINDOWS] for start in range(0, len(windows), MAX_WINDOWS))
