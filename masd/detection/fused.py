"""The default detector: whitened nearest-neighbour distances of several views, each domain in its own unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from masd.detection.views import VIEWS, WEIGHTS, ViewName, Views
from masd.detection.whitened import Mask, WhitenedNeighbours

Scores = npt.NDArray[np.float64]

LEAST_RATIO = 1e-6
"""A copy of a training clip is at distance 0, whose logarithm would outweigh every other view and be minus infinity."""


@dataclass(frozen=True)
class FusedDetector:
    """Score of a clip: ``min over domains of exp(weighted mean over views of log(distance / typical distance))``.

    ``typical`` ``[2]`` of a view is the geometric mean distance of a domain's training clips, each held out of the
    fit, to the nearest other clip of their domain. So a score of 1 means "as far from the known normal clips as these
    are from each other" in either domain, however few clips the target has; 2 means twice as far.
    """

    neighbours: dict[ViewName, WhitenedNeighbours]
    typical: dict[ViewName, Scores]

    def score(self, views: Views) -> tuple[Scores, Mask]:
        """Views of ``n`` clips ``[n, D]`` -> scores ``[n]``, and whether the target gave the minimum ``[n]``."""
        return _minimum(self._log_ratios(views))

    def score_windows(self, windows: Views, score: float, from_target: bool) -> Scores:
        """How a clip's score spreads over its windows, ``[W]``, larger where it is less like the known clips.

        Their geometric mean is the clip's score: a window is shorter than the clips it is compared with, so its own
        distance says where, not how much.
        """
        return _spread(self._log_ratios(windows)[:, int(from_target)], score)

    def score_with_windows(
        self, clips: Views, windows: Views, counts: Sequence[int]
    ) -> list[tuple[float, bool, Scores]]:
        """:meth:`score` of ``n`` clips and :meth:`score_windows` of each, of ``counts`` ``[n]`` windows.

        One pass for all: the megabytes they are compared with are read from memory once.
        """
        ratios = self._log_ratios({name: np.concatenate([clips[name], windows[name]]) for name in self.neighbours})
        scores, from_target = _minimum(ratios[: len(counts)])
        of_windows = np.split(ratios[len(counts) :], np.cumsum(counts)[:-1])
        return [
            (float(score), bool(target), _spread(own[:, int(target)], float(score)))
            for score, target, own in zip(scores, from_target, of_windows, strict=True)
        ]

    def _log_ratios(self, views: Views) -> Scores:
        """``[n, 2]``: weighted mean over the views, for the source and the target."""
        distances = {name: neighbours.distances(views[name]) for name, neighbours in self.neighbours.items()}
        return _log_ratios(distances, self.typical)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        out: dict[str, npt.NDArray[np.generic]] = {}
        for name, neighbours in self.neighbours.items():
            out |= {f"{name}.{key}": value for key, value in neighbours.tensors().items()}
            out[f"{name}.typical"] = self.typical[name]
        return out

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[np.generic]]) -> Self:
        """The reverse of :meth:`tensors`; :raises KeyError: where one is missing."""
        neighbours, typical = {}, {}
        for name in VIEWS:
            own = {key.removeprefix(f"{name}."): v for key, v in tensors.items() if key.startswith(f"{name}.")}
            typical[name] = own["typical"].astype(np.float64)
            neighbours[name] = WhitenedNeighbours.from_tensors(own)
        return cls(neighbours, typical)


def fit_fused(views: Views, is_target: Mask, folds: int, seed: int) -> tuple[FusedDetector, Scores]:
    """Fit on the training clips' views ``[n, D]``; returns the detector and each clip's held-out score ``[n]``.

    Folds hold clips of both domains, and whitening is fitted without them too: with more coordinates than clips,
    distances of clips that shaped the covariance are far too small.
    """
    rng = np.random.default_rng(seed)
    groups = [np.array_split(rng.permutation(np.flatnonzero(domain)), folds) for domain in (~is_target, is_target)]
    held_out = {name: np.full((len(is_target), 2), np.inf) for name in views}
    for fold in (np.concatenate(parts) for parts in zip(*groups, strict=True)):
        rest = np.setdiff1d(np.arange(len(is_target)), fold)
        if len(fold) == 0 or len(rest) < 2:
            continue
        for name, vectors in views.items():
            fitted = WhitenedNeighbours.fit(vectors[rest], is_target[rest])
            held_out[name][fold] = fitted.distances(vectors[fold])
    typical = {name: _typical(distances, is_target) for name, distances in held_out.items()}
    detector = FusedDetector({n: WhitenedNeighbours.fit(v, is_target) for n, v in views.items()}, typical)
    scores, _ = _minimum(_log_ratios(held_out, typical))
    return detector, scores


def _typical(held_out: Scores, is_target: Mask) -> Scores:
    """Geometric means of the finite own-domain distances; a domain without any borrows the other's."""
    means = []
    for column, domain in enumerate((~is_target, is_target)):
        own = held_out[domain, column]
        own = own[np.isfinite(own) & (own > 0)]
        means.append(float(np.exp(np.log(own).mean())) if len(own) else np.nan)
    known = np.nanmean(means) if np.isfinite(means).any() else 1.0
    return np.where(np.isfinite(means), means, known)


def _log_ratios(distances: dict[ViewName, Scores], typical: dict[ViewName, Scores]) -> Scores:
    logs = {name: np.log(np.maximum(distances[name] / typical[name], LEAST_RATIO)) for name in distances}
    mean: Scores = np.sum([WEIGHTS[name] * values for name, values in logs.items()], axis=0)
    return mean


def _spread(own: Scores, score: float) -> Scores:
    spread: Scores = score * np.exp(own - own.mean())
    return spread


def _minimum(log_ratios: Scores) -> tuple[Scores, Mask]:
    return np.exp(log_ratios.min(axis=1)), log_ratios[:, 1] < log_ratios[:, 0]
