"""How unusual single frames are in the residual of a linear auto-encoder.

The challenge's baseline scores a clip by the Mahalanobis distance of its frames' residuals after a dense auto-encoder
(:mod:`masd.detection.controls.baseline`), and is strong on machines where statistics over a clip say little. Here the
auto-encoder is linear. Its optimum is known (the principal axes), so it needs no training and little arithmetic.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch

from masd.arrays import Array, Floats, Integers, Mask, Tensors
from masd.audio import frame_contexts, pad_by_repetition

CONTEXT = 5
"""The number of consecutive frames in a context, as in the baseline."""

AXES = 16
"""The number of principal axes of these ``5 F`` numbers."""

SHRINKAGE = 0.03
"""Shrinkage towards equal variances: the frames of a target with few clips hardly differ in some directions."""

KEPT = 0.9
"""The share of a clip's contexts that count. A passing sound lasts for moments, and its squares would outweigh all
others; what a machine does for moments is in the band peaks and changes.
"""

SILENCE = 1e-6
"""The smallest variance in dB^2, for frames that are all the same."""

ARRAYS = ("mean", "axes", "centres", "precisions")


@dataclass(frozen=True)
class FrameResiduals:
    """Five frames less the ``mean`` ``[F]`` of all make ``z`` ``[5, F]``; the orthonormal ``axes`` ``U`` ``[5, F, A]``
    leave ``r = z - U U^T z`` of it.

    ``centres`` ``[d, F]`` and ``precisions`` ``[d, F, F]`` are of single frames of ``r``, by domain: source, and target
    where there is one. Frames are in dB. Of a clip's contexts the share ``kept`` with the smallest distances counts.
    """

    mean: Array
    axes: Array
    centres: Array
    precisions: Array
    kept: float = KEPT

    def squared_distances(self, log_mel: Array) -> Array:
        """``[T, F]`` dB -> mean squared Mahalanobis distance of the five frames of each context, ``[T - 4, d]``.

        ``sum_k (z_k - c - U_k a)^T P (z_k - c - U_k a)`` with ``a = U^T z``, multiplied out: each frame is in five
        contexts, but is multiplied by a matrix only once.
        """
        frames = pad_by_repetition(log_mel, CONTEXT) - self.mean
        product = torch.addmm(self._factors[1], torch.from_numpy(frames), self._factors[0]).numpy()
        kept, *of_domains = np.split(product, self._columns, axis=1)
        codes = self._over_contexts(kept)
        squared = []
        for centre, of_codes, weighed, crossed in zip(
            self.centres, self._of_codes, of_domains[::2], of_domains[1::2], strict=True
        ):
            own = np.einsum("tf,tf->t", frames - centre, weighed)
            own = np.convolve(own, np.ones(CONTEXT, np.float32), "valid")
            squared.append(own + np.einsum("ta,ta->t", codes, codes @ of_codes - 2 * self._over_contexts(crossed)))
        means: Array = np.maximum(np.stack(squared, axis=1) / CONTEXT, 0.0).astype(np.float32)
        return means

    def distances(self, squared_distances: Iterable[Array]) -> Floats:
        """The squared distances ``[contexts, d]`` of ``n`` clips or windows -> the root of the means of those that
        count, ``[n, 2]`` (infinite without a target).
        """
        means = np.stack([_mean_of_least(contexts, self.kept) for contexts in squared_distances])
        out = np.full((len(means), 2), np.inf)
        out[:, : means.shape[1]] = np.sqrt(means)
        return out

    def _over_contexts(self, parts: Array) -> Array:
        """``[T, 5 A]``, what each frame adds at each place of a run -> the sum for each run, ``[T - 4, A]``."""
        width, count = self.axes.shape[2], len(parts) - CONTEXT + 1
        total = parts[:count, :width].copy()
        for place in range(1, CONTEXT):
            total += parts[place : place + count, place * width : (place + 1) * width]
        return total

    @cached_property
    def _factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``[F, 5 A + d (F + 5 A)]``: ``U``, and for each domain ``P`` and ``P U``, side by side for one product; and
        what their centres add to each column.
        """
        axes = self.axes.transpose(1, 0, 2).reshape(len(self.mean), -1)
        columns, offsets = [axes], [np.zeros(axes.shape[1], np.float32)]
        for centre, precision in zip(self.centres, self.precisions, strict=True):
            columns.append(np.concatenate([precision, precision @ axes], axis=1))
            offsets.append(-(centre @ columns[-1]))
        return torch.from_numpy(np.concatenate(columns, axis=1)), torch.from_numpy(np.concatenate(offsets))

    @cached_property
    def _columns(self) -> Integers:
        """Where the parts of :attr:`_factors` begin, after the first."""
        of_axes, bands = self.axes.shape[0] * self.axes.shape[2], len(self.mean)
        return np.cumsum([of_axes, *[bands, of_axes] * len(self.centres)][:-1])

    @cached_property
    def _of_codes(self) -> list[Array]:
        """``U^T P U`` ``[A, A]`` of each domain."""
        return [np.einsum("kfa,fg,kgb->ab", self.axes, p, self.axes, optimize=True) for p in self.precisions]

    def tensors(self) -> Tensors:
        return {name: getattr(self, name) for name in ARRAYS} | {"kept": np.array(self.kept)}

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        kept = float(tensors["kept"]) if "kept" in tensors else 1.0  # in older bundles all contexts count
        mean, axes, centres, precisions = (tensors[name].astype(np.float32, copy=False) for name in ARRAYS)
        return cls(mean, axes, centres, precisions, kept)


def _mean_of_least(squared_distances: Array, share: float) -> Floats:
    """``[contexts, d]`` -> the mean of the smallest ``share`` of each domain, at least one, ``[d]``."""
    count = max(1, int(share * len(squared_distances)))
    least = squared_distances if count == len(squared_distances) else np.partition(squared_distances, count - 1, axis=0)
    mean: Floats = np.add.reduce(least[:count], axis=0, dtype=np.float64) / count
    return mean


def contexts_of(span: Integers, squared_distances: Array) -> Array:
    """The contexts of five frames inside frames ``span[0]`` to ``span[1]``; for a shorter span the nearest one."""
    first = min(int(span[0]), len(squared_distances) - 1)
    return squared_distances[first : max(int(span[1]) - CONTEXT + 1, first + 1)]


def fit_frame_residuals(
    log_mels: Sequence[Array], is_target: Mask, folds: Sequence[Integers]
) -> tuple[FrameResiduals, Floats]:
    """Fit on training clips ``[T, F]`` each; returns the model and each clip's distances ``[n, 2]`` to what the other
    folds' frames are like (infinite where those hold no clip of a domain).

    Clips are read one by one, three times. The axes are those of all clips: sixteen of hundreds, from thousands of
    frames, know little of a single clip.
    """
    mean, axes = _principal_axes(log_mels)
    bands, domains = len(mean), is_target.astype(np.int64)
    counts, sums = np.zeros((2, len(folds))), np.zeros((2, len(folds), bands))
    products = np.zeros((2, len(folds), bands, bands))
    for number, fold in enumerate(folds):
        for row in np.sort(fold):
            residual = _residual(log_mels[int(row)], mean, axes)
            counts[domains[row], number] += len(residual)
            sums[domains[row], number] += residual.sum(axis=0, dtype=np.float64)
            products[domains[row], number] += residual.T @ residual

    def fitted(used: Mask) -> FrameResiduals:
        known = counts[:, used].sum(axis=1) > 0
        moments = (moment[known][:, used].sum(axis=1) for moment in (counts, sums, products))
        return _model(mean, axes, *moments)

    held_out = np.full((len(log_mels), 2), np.inf)
    for number, fold in enumerate(folds):
        others = np.arange(len(folds)) != number
        known = np.flatnonzero(counts[:, others].sum(axis=1))
        if len(known) and len(fold):
            model = fitted(others)
            distances = model.distances(model.squared_distances(log_mels[int(row)]) for row in fold)
            held_out[fold[:, None], known] = distances[:, : len(known)]
    return fitted(np.ones(len(folds), dtype=np.bool_)), held_out


def _model(mean: Array, axes: Array, counts: Floats, sums: Floats, products: Floats) -> FrameResiduals:
    """From the number ``[d]`` of residual frames of each domain, their sum ``[d, F]`` and the sum of their products
    ``[d, F, F]``.
    """
    centres, precisions = [], []
    for count, total, squared in zip(counts, sums, products, strict=True):
        centre = total / count
        covariance = squared / count - np.outer(centre, centre)
        level = max(float(np.trace(covariance)) / len(centre), SILENCE)
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(len(centre))
        centres.append(centre)
        precisions.append(np.linalg.inv(shrunk))
    return FrameResiduals(mean, axes, np.stack(centres).astype(np.float32), np.stack(precisions).astype(np.float32))


def _principal_axes(log_mels: Sequence[Array]) -> tuple[Array, Array]:
    """Mean frame ``[F]``, and the axes ``[5, F, A]`` along which contexts of five frames vary most."""
    total = np.sum([frames.sum(axis=0, dtype=np.float64) for frames in log_mels], axis=0)
    mean: Array = (total / sum(len(frames) for frames in log_mels)).astype(np.float32)
    size = CONTEXT * len(mean)
    products = np.zeros((size, size))
    for log_mel in log_mels:
        contexts = frame_contexts(log_mel - mean, CONTEXT).reshape(-1, size)
        products += contexts.T @ contexts
    _, vectors = np.linalg.eigh(products)
    return mean, vectors[:, -min(AXES, size // 2) :].astype(np.float32).reshape(CONTEXT, len(mean), -1)


def _residual(log_mel: Array, mean: Array, axes: Array) -> Array:
    """``[T, F]`` -> ``[5 (T - 4), F]``: all frames of all contexts, minus their projection on the axes."""
    flat = axes.reshape(-1, axes.shape[2])
    contexts = frame_contexts(log_mel - mean, CONTEXT).reshape(-1, len(flat))
    kept = np.asarray((contexts @ flat) @ flat.T, np.float32)
    return (contexts - kept).reshape(-1, len(mean))
