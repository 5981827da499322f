"""Compute the features of a clip from its log-mel frames, with the network where the model has one."""

from collections.abc import Iterable, Sequence

import numpy as np

from masd.arrays import Array, Integers
from masd.audio import cut_windows, window_spans
from masd.config import WindowSettings
from masd.data.store import FeatureStore
from masd.detection.features.clip import ClipFeatures, FarFeatures, without_windows
from masd.detection.features.runtime import NetworkRuntime
from masd.detection.features.views import Views, views_of
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation

MAX_WINDOWS = 4
"""Windows in one pass of the network: what it computes between two layers stays in the processor's cache, and memory is
bounded, whatever the length of a clip.
"""

CLIPS_AT_ONCE = 16


class FeatureExtractor:
    """Log-mel frames -> :class:`ClipFeatures`, always in float32 so that a score does not depend on the processor."""

    def __init__(
        self, network: ConvolutionalAutoEncoder | None, normalisation: Normalisation, windows: WindowSettings
    ) -> None:
        self._network = None if network is None else NetworkRuntime(network)
        self._normalisation, self._windows = normalisation, windows

    @property
    def has_network(self) -> bool:
        return self._network is not None

    def windows(self, log_mel: Array) -> Array:
        """``[T, F]`` dB -> the network's input ``[W, F, frames]``, standardised."""
        return self._cut(self._normalisation(log_mel))

    def _cut(self, standardised: Array) -> Array:
        return cut_windows(standardised, self._windows.frames, self._windows.hop_frames)

    def _spans(self, log_mel: Array) -> Integers:
        return window_spans(len(log_mel), self._windows.frames, self._windows.hop_frames)

    def __call__(self, log_mels: Sequence[Array], far: Sequence[Array | None] | None = None) -> list[ClipFeatures]:
        """One :class:`ClipFeatures` per clip; the windows of all clips share the passes of the network. ``far`` are the
        frames of each clip's reference channel.
        """
        standardised = [self._normalisation(log_mel) for log_mel in log_mels]
        per_clip = [self._cut(frames) for frames in standardised]
        cuts = np.cumsum([len(windows) for windows in per_clip])[:-1]
        together = per_clip[0] if len(per_clip) == 1 else np.concatenate(per_clip)
        parts = [np.split(part, cuts) for part in self.run(together)]
        of_far = [None if own is None else self._far(own) for own in far or [None] * len(log_mels)]
        return [
            ClipFeatures(z, e, log_mel, self._spans(log_mel), *self._views(frames, windows, latent), own)
            for log_mel, frames, windows, z, e, latent, own in zip(
                log_mels, standardised, per_clip, *parts, of_far, strict=True
            )
        ]

    def _far(self, log_mel: Array) -> FarFeatures:
        """In the unit of the near channel; the network does not look at it."""
        frames = self._normalisation(log_mel)
        bands = np.ascontiguousarray(frames.T[None])
        return FarFeatures(log_mel, views_of(bands, None), views_of(self._cut(frames), None))

    def run(self, windows: Array) -> tuple[Array, Array, Array]:
        """Embeddings ``[W, d]``, errors ``[W]`` and latents ``[W, C, F', T']`` of any number of windows; without a
        network nothing, nan and nothing of each.
        """
        if self._network is None:
            nothing = np.empty((len(windows), 0), np.float32)
            return nothing, np.full(len(windows), np.nan, np.float32), nothing
        embeddings, errors, latents = zip(*map(self._network, _chunks(windows)), strict=True)
        return np.concatenate(embeddings), np.concatenate(errors), np.concatenate(latents)

    def _views(self, standardised: Array, windows: Array, latent: Array) -> tuple[Views, Views]:
        """Of the clip, whose bands are taken over all frames, each once, and whose latent is its windows' mean; and of
        each window.
        """
        bands = np.ascontiguousarray(standardised.T[None])
        if self._network is None:
            return views_of(bands, None), views_of(windows, None)
        return views_of(bands, latent.mean(axis=0, keepdims=True)), views_of(windows, latent)

    def rows(self, store: FeatureStore, rows: Integers) -> list[ClipFeatures]:
        """:class:`ClipFeatures` of some clips of a store, a few clips at a time, without ``window_views``, and with
        ``log_mel`` where the store has it: memory stays flat.
        """
        clips: list[ClipFeatures] = []
        for start in range(0, len(rows), CLIPS_AT_ONCE):
            batch = [int(row) for row in rows[start : start + CLIPS_AT_ONCE]]
            features = self([store.log_mel(row) for row in batch], [store.far_log_mel(row) for row in batch])
            clips += [without_windows(clip) for clip in features]
            store.release()
        return clips

    def residual(self, log_mel: Array) -> Array:
        """``|X - X_hat|`` of each cell ``[T, F]`` in standard deviations, overlapping windows averaged (pictures).

        Without a network, ``X_hat`` is the mean of each band over the training clips.
        """
        if self._network is None:
            return np.abs(self._normalisation(log_mel))
        network, windows = self._network, self.windows(log_mel)
        residuals = np.concatenate([np.abs(chunk - network.reconstruct(chunk)) for chunk in _chunks(windows)])
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
