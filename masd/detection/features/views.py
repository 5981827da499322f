"""Views of a clip, which the fused detector uses beside the frames.

Band means say where in the spectrum the energy is, band peaks how far single moments stand out in each band, band
changes how restless it is from frame to frame, the modulation spectrum in which rhythm the bands swell and fade, and,
where there is a network, the latent which shapes its encoder finds in which part of the spectrum, before pooling over
frequency throws that away.
"""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import scipy.fft

from masd.arrays import Array
from masd.audio import window_starts

ViewName = Literal["band-mean", "band-peak", "band-change", "modulation", "latent"]
VIEWS: tuple[ViewName, ...] = get_args(ViewName)
"""Every view in its order; a clip without a network's features has no latent."""

Views = dict[ViewName, Array]

PEAK_QUANTILE = 0.95

MODULATION_BANDS = 8
"""Groups of neighbouring mel bands that share one envelope: single bands are too noisy to show a rhythm."""

MODULATION_FRAMES = 32
"""Frames of one segment, about a second: rhythms from 1 Hz to half the frame rate."""

TAPER = np.hanning(MODULATION_FRAMES).astype(np.float32)

MODULATION_FLOOR = 0.01
"""Added to modulation power, whose unit is the variance of the machine's log-mels, before its logarithm."""

LATENT_BANDS = 4
"""Parts of the spectrum over which the encoder's channels are averaged separately: eight are not better, and take twice
as long.
"""


def views_of(bands: Array, latent: Array | None) -> Views:
    """Standardised log-mel ``[n, F, T]`` and encoder outputs ``[n, C, F', T']``, if there are any -> one vector a view
    ``[n, D]`` each.

    ``D`` is ``F`` three times, :data:`MODULATION_BANDS` (at most ``F``) times half of :data:`MODULATION_FRAMES`, and
    ``C`` times :data:`LATENT_BANDS` (at most ``F'``). All are statistics over time, so none depends on when something
    happens.
    """
    mean = bands.mean(axis=2)
    views: Views = {
        "band-mean": mean,
        "band-peak": _quantile(bands, PEAK_QUANTILE) - mean,
        "band-change": _change(bands),
        "modulation": _modulation(bands),
    }
    if latent is not None:
        levels = latent.mean(axis=3)
        views["latent"] = (levels @ _groups(levels.shape[2], LATENT_BANDS).T).reshape(len(latent), -1)
    return views


@lru_cache
def _groups(bands: int, count: int) -> Array:
    """The matrix ``[count, bands]`` that takes the means of ``count`` groups (at most ``bands``) of neighbours."""
    parts = np.array_split(np.eye(bands, dtype=np.float32), min(count, bands))
    return np.stack([part.mean(axis=0) for part in parts])


def _change(bands: Array) -> Array:
    """``np.diff(bands, axis=2).std(axis=2)`` in a third of the time: steps have next to no mean of their own."""
    steps = bands[:, :, 1:] - bands[:, :, :-1]
    count = np.float32(steps.shape[2])
    mean = (bands[:, :, -1] - bands[:, :, 0]) / count
    deviation: Array = np.sqrt(np.maximum(np.einsum("nft,nft->nf", steps, steps) / count - mean * mean, 0))
    return deviation


def _quantile(bands: Array, share: float) -> Array:
    """``np.quantile(bands, share, axis=2)``, which partitions row by row: sorting all at once takes a tenth of that."""
    ordered = np.sort(bands, axis=2)
    place = share * (bands.shape[2] - 1)
    low = int(place)
    high = min(low + 1, bands.shape[2] - 1)
    between: Array = ordered[:, :, low] + np.float32(place - low) * (ordered[:, :, high] - ordered[:, :, low])
    return between


def _modulation(bands: Array) -> Array:
    """Logarithm of the power spectrum of each band group's level over time, without its constant part (Welch's method).

    Segments of :data:`MODULATION_FRAMES` overlap by half, the last one is right-aligned; shorter sounds are repeated.
    """
    levels = _groups(bands.shape[1], MODULATION_BANDS) @ bands
    short_by = MODULATION_FRAMES - levels.shape[2]
    if short_by > 0:
        levels = np.pad(levels, ((0, 0), (0, 0), (0, short_by)), mode="wrap")
    starts = window_starts(levels.shape[2], MODULATION_FRAMES, MODULATION_FRAMES // 2)
    segments = levels.take(starts[:, None] + np.arange(MODULATION_FRAMES), axis=2)
    tapered = (segments - segments.mean(axis=3, keepdims=True)) * TAPER
    spectra = scipy.fft.rfft(tapered)[..., 1:]
    power = (np.square(spectra.real) + np.square(spectra.imag)).mean(axis=2) / MODULATION_FRAMES
    logarithms: Array = np.log(power + MODULATION_FLOOR).astype(np.float32)
    return logarithms.reshape(len(bands), -1)
