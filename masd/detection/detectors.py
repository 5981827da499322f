"""The report's four systems of one machine (section 3.2), fitted and scored from one embedding pass."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from masd.config import ALL_SYSTEMS, DetectionSettings, SystemName
from masd.detection.domains import Detector, DomainMinimum, fit_system
from masd.detection.features import ClipFeatures
from masd.detection.knn import KnnDetector
from masd.detection.lof import LofDetector
from masd.detection.vectors import ErrorScaling, Level, rows_of
from masd.errors import MasdError

Scores = npt.NDArray[np.float64]
LEVELS: tuple[Level, ...] = ("feature", "score")
log = logging.getLogger(__name__)


def kind_and_level(system: SystemName) -> tuple[type[Detector], Level]:
    """``"knn-score"`` -> (:class:`KnnDetector`, ``"score"``)."""
    kind, _, level = system.partition("-")
    return (KnnDetector if kind == "knn" else LofDetector), ("feature" if level == "feature" else "score")


@dataclass(frozen=True)
class SystemScores:
    """Scores of one clip under one system; ``window_scores`` ``[W]`` come from the window-level bank of the same
    kind.
    """

    score: float
    window_scores: Scores
    from_target: bool


@dataclass(frozen=True)
class Detectors:
    """Four domain minimums, the two error scalings they share, and a threshold for each."""

    systems: dict[SystemName, DomainMinimum]
    scalings: dict[Level, ErrorScaling]
    thresholds: dict[SystemName, float]

    def score(self, clip: ClipFeatures) -> dict[SystemName, SystemScores]:
        """All four systems for one clip."""
        vectors = {}
        for level in LEVELS:
            embeddings, errors, _ = rows_of([clip], level)
            vectors[level] = self.scalings[level].join(embeddings, errors)
        windows = {
            kind_and_level(name)[0]: minimum.score(vectors["score"])
            for name, minimum in self.systems.items()
            if kind_and_level(name)[1] == "score"
        }
        result: dict[SystemName, SystemScores] = {}
        for name, minimum in self.systems.items():
            kind, level = kind_and_level(name)
            window_scores, from_target = windows[kind]
            if level == "feature":
                clip_score, clip_from_target = minimum.score(vectors["feature"])
                result[name] = SystemScores(float(clip_score[0]), window_scores, bool(clip_from_target[0]))
            else:
                result[name] = SystemScores(float(window_scores.mean()), window_scores, bool(from_target.mean() > 0.5))
        return result

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        out: dict[str, npt.NDArray[np.generic]] = {}
        for name, minimum in self.systems.items():
            out |= {f"{name}.{key}": value for key, value in minimum.tensors().items()}
            out[f"{name}.threshold"] = np.array(self.thresholds[name])
        for level, scaling in self.scalings.items():
            out[f"error_scaling.{level}"] = np.array([scaling.mean, scaling.factor])
        return out

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[np.generic]]) -> Self:
        """The reverse of :meth:`tensors`; :raises KeyError: where one is missing."""
        systems: dict[SystemName, DomainMinimum] = {}
        for name in ALL_SYSTEMS:
            own = {key.removeprefix(f"{name}."): v for key, v in tensors.items() if key.startswith(f"{name}.")}
            systems[name] = DomainMinimum.from_tensors(own, kind_and_level(name)[0])
        scalings: dict[Level, ErrorScaling] = {}
        for level in LEVELS:
            mean, factor = tensors[f"error_scaling.{level}"].astype(np.float64)
            scalings[level] = ErrorScaling(float(mean), float(factor))
        return cls(systems, scalings, {name: float(tensors[f"{name}.threshold"]) for name in ALL_SYSTEMS})


def fit_detectors(
    clips: Sequence[ClipFeatures],
    is_target: npt.NDArray[np.bool_],
    settings: DetectionSettings,
    seed: int,
    unseen: npt.NDArray[np.bool_] | None = None,
) -> tuple[Detectors, dict[SystemName, Scores]]:
    """Fit all four systems on the normal training clips of one machine.

    ``is_target`` ``[clips]``. Returns the detectors and, per system, the held-out score of every training clip
    ``[clips]``. Each threshold is the ``threshold_percentile`` of the held-out scores of the clips in ``unseen``
    ``[clips]``, which the network was not trained on, and of the target clips; of all clips where ``unseen`` names
    none. So it needs no fault and no test clip.

    :raises MasdError: fewer than three clips, from which no held-out score can be made.
    """
    if is_target.all():
        is_target = np.zeros_like(is_target)  # one domain only, whatever it is called
    if (~is_target).sum() < 3:
        raise MasdError(f"{int((~is_target).sum())} source training clips: detectors need at least 3 of them")
    if not is_target.any():
        log.info("no target training clips: the source detector stands alone")
    scalings: dict[Level, ErrorScaling] = {}
    systems: dict[SystemName, DomainMinimum] = {}
    held_out: dict[SystemName, Scores] = {}
    for level in LEVELS:
        embeddings, errors, groups = rows_of(clips, level)
        scalings[level] = ErrorScaling.fit(embeddings, errors, groups, settings.error_weight)
        vectors = scalings[level].join(embeddings, errors)
        for name in ALL_SYSTEMS:
            if kind_and_level(name)[1] == level:
                fitted = fit_system(name, vectors, groups, is_target, settings, seed)
                systems[name], held_out[name] = fitted.minimum, fitted.held_out
    calibrating = unseen | is_target if unseen is not None and unseen.any() else np.ones(len(clips), dtype=np.bool_)
    thresholds = {
        name: float(np.percentile(held_out[name][calibrating], settings.threshold_percentile)) for name in ALL_SYSTEMS
    }
    return Detectors(systems, scalings, thresholds), held_out
