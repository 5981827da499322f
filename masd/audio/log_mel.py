"""Log-mel spectrogram behind an optional high-pass (paper, section 3.1)."""

import numpy as np
import torch
from scipy.signal import butter, sosfilt

from masd.arrays import Array, Floats
from masd.audio._torchaudio import import_torchaudio
from masd.config import AudioSettings

FLOOR = 1e-12
"""Smallest mel power before the logarithm: digital silence becomes -120 dB instead of minus infinity."""

HIGH_PASS_ORDER = 4

OCTAVES_HZ = (0, 250, 500, 1000, 2000, 4000)
"""Lower edges of the bands of :func:`octave_levels_db`; the last one is open."""

GROUP = 32
"""Mel filters applied in one matrix product, to the bins that they look at: most of a whole filter bank is zeros."""


class LogMel:
    """Samples ``[n]`` -> log-mel frames ``[T, n_mels]`` in dB: ``10 log10(mel(|STFT|^2))``.

    Hann window, centred frames (``T = 1 + n // hop_length``), Slaney mel scale with area normalisation: the features
    of the challenge's baseline. The high-pass is a causal 4th-order Butterworth filter applied to the samples.
    """

    def __init__(self, settings: AudioSettings, high_pass_hz: float) -> None:
        self._settings = settings
        self._sos = (
            butter(HIGH_PASS_ORDER, high_pass_hz, "highpass", fs=settings.sample_rate, output="sos")
            if high_pass_hz > 0
            else None
        )
        self._window = torch.hann_window(settings.n_fft)
        filters = import_torchaudio().functional.melscale_fbanks(
            n_freqs=settings.n_fft // 2 + 1,
            f_min=0.0,
            f_max=settings.upper_edge_hz,
            n_mels=settings.n_mels,
            sample_rate=settings.sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        frequencies = np.linspace(0.0, settings.sample_rate / 2, settings.n_fft // 2 + 1)
        weights = filters.numpy().astype(np.float64)
        self.centres_hz: Floats = frequencies @ weights / weights.sum(axis=0).clip(min=1e-12)
        """Centre of gravity of each mel band, in Hz ``[n_mels]``."""
        filter_bins = np.where(weights > 0, frequencies[:, None], 0.0)
        self.tops_hz: Floats = filter_bins.max(axis=0)
        """The upper edge of each mel band, in Hz ``[n_mels]``."""
        self._groups = [_used(filters[:, start : start + GROUP]) for start in range(0, settings.n_mels, GROUP)]

    def __call__(self, samples: Array) -> Array:
        """:raises ValueError: no samples."""
        if len(samples) == 0:
            raise ValueError("no samples")
        n_fft = self._settings.n_fft
        if len(samples) < n_fft:  # one whole frame is the least an STFT can stand on
            samples = np.tile(samples, -(-n_fft // len(samples)))[:n_fft]
        if self._sos is not None:
            samples = sosfilt(self._sos, samples).astype(np.float32)
        centred = torch.from_numpy(np.pad(samples, n_fft // 2, mode="reflect"))
        frames = centred.unfold(0, n_fft, self._settings.hop_length) * self._window
        parts = torch.fft.rfft(frames).numpy().view(np.float32)
        np.square(parts, out=parts)  # of real and imaginary part, in turn
        power = torch.from_numpy(parts[:, ::2] + parts[:, 1::2])
        mel = torch.empty(len(power), self._settings.n_mels)
        for number, (bins, filters) in enumerate(self._groups):
            torch.mm(power[:, bins], filters, out=mel[:, number * GROUP : (number + 1) * GROUP])
        log_mel: Array = mel.clamp_(min=FLOOR).log10_().mul_(10.0).numpy()
        return log_mel


def mel_power(log_mel: Array) -> Array:
    """The power of each cell of frames in dB."""
    power: Array = np.exp(log_mel * np.float32(np.log(10.0) / 10.0))
    return power


def spectral_centroid_hz(power: Array, centres_hz: Floats) -> float:
    """Mean over frames of :func:`mel_power` ``[T, F]`` of the power-weighted mean band centre, in Hz."""
    return float(np.mean(power @ centres_hz / power.sum(axis=1)))


def octave_levels_db(power: Array, centres_hz: Floats) -> tuple[float, ...]:
    """Level of each band of :data:`OCTAVES_HZ` over all frames of :func:`mel_power` ``[T, F]``, in dB below the level
    of all bands together.

    Relative levels, because how loud a clip is has a column of its own; -120 dB where a band holds nothing.
    """
    mean = power.mean(axis=0, dtype=np.float64)
    octave = np.searchsorted(OCTAVES_HZ, centres_hz, side="right") - 1
    shares = np.bincount(octave, weights=mean, minlength=len(OCTAVES_HZ)) / mean.sum()
    return tuple(float(level) for level in 10.0 * np.log10(np.maximum(shares, FLOOR)))


def _used(filters: torch.Tensor) -> tuple[slice, torch.Tensor]:
    """The bins some neighbouring filters ``[n_freqs, n]`` look at, and the filters on these alone."""
    used = filters.any(dim=1).nonzero()
    bins = slice(int(used.min()), int(used.max()) + 1) if len(used) else slice(0, 1)
    return bins, filters[bins].contiguous()
