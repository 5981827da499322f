"""Nearest neighbours in a whitened space: directions with much normal variation count little."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
import torch

from masd.arrays import Array, Floats, Mask, Tensors

SPREAD_FLOOR = 0.01
"""Smallest spread of a coordinate, as a share of the median one: a coordinate that is constant in training must not
decide alone.
"""


@dataclass(frozen=True)
class WhitenedNeighbours:
    """Distance of a vector to its nearest training vector of each domain, after whitening.

    Coordinates are standardised, then decorrelated by the inverse root of their covariance, shrunk after Ledoit and
    Wolf (2004): tens of clips are enough for a thousand coordinates. The covariance is that of both domains together,
    so that the way from one to the other, on which other normal conditions lie, counts little. ``centre`` and
    ``spread`` are ``[D]``, ``whitening`` ``[D, D]``, ``source`` and ``target`` the whitened training vectors ``[n, D]``
    (no target clips: ``[0, D]``).
    """

    centre: Array
    spread: Array
    whitening: Array
    source: Array
    target: Array

    @classmethod
    def fit(cls, vectors: Array, is_target: Mask) -> Self:
        """``vectors`` ``[n, D]``, ``is_target`` ``[n]``; at least two vectors."""
        points = vectors.astype(np.float64)
        centre, spread = points.mean(axis=0), points.std(axis=0)
        spread = np.maximum(spread, max(SPREAD_FLOOR * float(np.sqrt(np.mean(spread**2))), 1e-9))
        standardised = (points - centre) / spread
        from sklearn.covariance import ledoit_wolf  # only who fits waits for this import

        covariance, _ = ledoit_wolf(standardised, assume_centered=True)
        variances, axes = np.linalg.eigh(covariance)
        whitening = axes / np.sqrt(np.maximum(variances, 1e-9))
        whitened = (standardised @ whitening).astype(np.float32)
        return cls(
            centre=centre.astype(np.float32),
            spread=spread.astype(np.float32),
            whitening=whitening.astype(np.float32),
            source=whitened[~is_target],
            target=whitened[is_target],
        )

    def distances(self, vectors: Array) -> Floats:
        """``[n, D]`` -> ``[n, 2]``: to the nearest source and the nearest target vector (infinite where there is
        none).
        """
        standardised = torch.from_numpy((vectors - self.centre) / self.spread)
        # NumPy's products take up to twice as long
        whitened = (standardised @ torch.from_numpy(self.whitening)).numpy()
        nearest = np.full((len(vectors), 2), np.inf)
        for column, (bank, half_squares) in enumerate(zip((self.source, self.target), self._half_squares, strict=True)):
            if len(bank):
                # the nearest by |b|^2 / 2 - a b, one matrix product; its distance from the difference itself, as the
                # product leaves nothing but rounding of a distance that is small beside the vectors. With few vectors
                # a product with the bank on its right takes half the time of the other way round.
                products = (torch.from_numpy(whitened) @ torch.from_numpy(bank.T)).numpy()
                closest = (half_squares - products).argmin(axis=1)
                nearest[:, column] = np.linalg.norm((whitened - bank[closest]).astype(np.float64), axis=1)
        return nearest

    @cached_property
    def _half_squares(self) -> tuple[Array, Array]:
        """Half the squared length of each whitened training vector ``[n]``, by domain."""
        source, target = (np.square(bank).sum(axis=1) / 2 for bank in (self.source, self.target))
        return source, target

    def tensors(self) -> Tensors:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        names = ("centre", "spread", "whitening", "source", "target")
        return cls(**{name: tensors[name].astype(np.float32, copy=False) for name in names})
