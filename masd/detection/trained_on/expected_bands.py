"""The values that the training clips lead us to expect in bands that a clip does not have.

Resamplers differ by 3 to 20 dB in the last tenth of their band. A clip that comes at another sample rate than the
training clips has been through another one, and is as unusual there as any fault. So these bands are not looked at:
they get what the training clips lead one to expect, given the bands below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from masd.arrays import Array, Floats, Tensors

RIDGE = 1e-3
"""Share of the mean variance that is added to each: neighbouring bands overlap, and digital silence has none."""

MAX_EXAMPLE = 1024
"""Frames of the example, half a minute."""


@dataclass(frozen=True)
class ExpectedBands:
    """``mean`` ``[F]`` and ``covariance`` ``[F, F]`` of the training clips' frames in dB, and the frames of one of
    them as an ``example`` ``[T, F]``.

    The best guess at a band is its regression on those below. That alone would be too smooth, and so unusual too: what
    the regression misses of the example is added.
    """

    mean: Array
    covariance: Array
    example: Array

    @classmethod
    def fit(cls, log_mels: Sequence[Array]) -> Self:
        """From the training clips' frames ``[T, F]`` each; the example is the clip of median level."""
        count = sum(len(frames) for frames in log_mels)
        mean = np.sum([frames.sum(axis=0, dtype=np.float64) for frames in log_mels], axis=0) / count
        products = np.zeros((len(mean), len(mean)))
        for frames in log_mels:
            centred = frames - mean
            products += centred.T @ centred
        levels = [float(frames.mean()) for frames in log_mels]
        example = log_mels[int(np.argsort(levels, kind="stable")[len(levels) // 2])][:MAX_EXAMPLE]
        return cls(mean.astype(np.float32), (products / count).astype(np.float32), np.array(example, np.float32))

    def fill(self, log_mel: Array, known: int) -> Array:
        """``[T, F]`` dB with all bands from the first ``known`` on replaced."""
        if known >= len(self.mean):
            return log_mel
        covariance = self.covariance.astype(np.float64)
        ridge = RIDGE * np.trace(covariance) / len(covariance) + 1e-6
        slopes = np.linalg.solve(covariance[:known, :known] + ridge * np.eye(known), covariance[:known, known:])

        def expected(frames: Array) -> Floats:
            above: Floats = self.mean[known:] + (frames[:, :known] - self.mean[:known]) @ slopes
            return above

        missed = self.example[:, known:] - expected(self.example)
        above = expected(log_mel) + np.resize(missed, (len(log_mel), missed.shape[1]))
        return np.concatenate([log_mel[:, :known], above.astype(np.float32)], axis=1)

    def tensors(self) -> Tensors:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        """The reverse of :meth:`tensors`; :raises KeyError: where one is missing."""
        return cls(**{field.name: tensors[field.name].astype(np.float32, copy=False) for field in fields(cls)})
