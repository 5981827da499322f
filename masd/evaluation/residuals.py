"""Which part of a residual is unusual: reconstructions are never perfect, and always poor in some bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.ndimage import gaussian_filter

from masd.arrays import Array, Integers, Mask
from masd.data.store import FeatureStore
from masd.detection.features.extractor import FeatureExtractor

DRAW_SEED = 0
"""Of every draw: the same clips, the same report."""

CLIPS_OF_A_DOMAIN = 24
SMOOTHING = (2.0, 0.7)
"""Frames and bands: what stays for a moment or lies in neighbouring bands stands out from noise."""

LEAST_SPREAD = 0.05
"""Of a residual, in the input's standard deviations: less cannot be heard."""


@dataclass(frozen=True)
class UsualResidual:
    """Mean and spread ``[F]`` of the smoothed residual of each band over normal training clips."""

    mean: Array
    spread: Array

    @classmethod
    def fit(cls, residuals: Sequence[Array]) -> Self:
        """``residuals`` are ``[T, F]``, at least one."""
        smoothed = np.concatenate([_smooth(residual) for residual in residuals])
        return cls(smoothed.mean(axis=0), np.maximum(smoothed.std(axis=0), LEAST_SPREAD))

    def excess(self, residual: Array) -> Array:
        """``[T, F]`` -> by how many spreads each cell, smoothed, is above the usual of its band ``[T, F]``."""
        above: Array = (_smooth(residual) - self.mean) / self.spread
        return above


def usual_residual(
    extract: FeatureExtractor,
    store: FeatureStore,
    rows: Integers,
    is_target: Mask,
) -> UsualResidual:
    """From a few of a store's training clips ``rows`` ``[n]`` of each domain, so that what is usual in either is not
    marked; ``is_target`` ``[n]``.
    """
    rng = np.random.default_rng(DRAW_SEED)
    few = [rng.permutation(rows[domain])[:CLIPS_OF_A_DOMAIN] for domain in (~is_target, is_target)]
    return UsualResidual.fit([extract.residual(store.log_mel(int(row))) for row in np.concatenate(few)])


def drawn(rows: Integers, most: int) -> Integers:
    """At most ``most`` of ``rows``, in random order, always the same."""
    return np.random.default_rng(DRAW_SEED).permutation(rows)[:most]


def _smooth(residual: Array) -> Array:
    smoothed: Array = gaussian_filter(residual, sigma=SMOOTHING)
    return smoothed
