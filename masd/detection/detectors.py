"""All detectors of one machine, the fused one and the paper's four (section 3.2), from one pass of the network."""

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from masd.arrays import Array, Floats, Integers, Mask
from masd.config import ALL_SYSTEMS, REPORT_SYSTEMS, DetectionSettings, ReportSystemName, SystemName
from masd.detection.features import ClipFeatures
from masd.detection.fused.detector import FusedDetector, fit_fused
from masd.detection.fused.views import VIEWS, Views
from masd.detection.fused.whitened import WhitenedNeighbours
from masd.detection.paper.domains import Detector, DomainMinimum, fit_system
from masd.detection.paper.knn import KnnDetector
from masd.detection.paper.lof import LofDetector
from masd.detection.paper.vectors import ErrorScaling, Level, rows_of
from masd.detection.threshold import Calibration, calibrate
from masd.errors import MasdError

LEVELS: tuple[Level, ...] = ("feature", "score")
WINDOW_LEVEL: dict[ReportSystemName, ReportSystemName] = {
    "knn-feature": "knn-score",
    "knn-score": "knn-score",
    "lof-feature": "lof-score",
    "lof-score": "lof-score",
}
"""Where the window scores of each of the paper's systems come from."""

log = logging.getLogger(__name__)


def kind_and_level(system: ReportSystemName) -> tuple[type[Detector], Level]:
    """``"knn-score"`` -> (:class:`KnnDetector`, ``"score"``)."""
    kind, _, level = system.partition("-")
    return (KnnDetector if kind == "knn" else LofDetector), ("feature" if level == "feature" else "score")


@dataclass(frozen=True)
class SystemScores:
    """Scores of one clip under one system; ``window_scores`` ``[W]`` of a paper's system come from the window-level
    bank of the same kind.
    """

    score: float
    window_scores: Floats
    from_target: bool


@dataclass(frozen=True)
class Detectors:
    """The fused detector, the paper's four domain minimums with the two error scalings they share, and a threshold
    for each, with what it rests on where the bundle knows. ``embeddings`` decide nothing: drift is measured by them.
    """

    fused: FusedDetector
    systems: dict[ReportSystemName, DomainMinimum]
    scalings: dict[Level, ErrorScaling]
    thresholds: dict[SystemName, float]
    embeddings: WhitenedNeighbours | None = None
    calibrations: dict[SystemName, Calibration] = field(default_factory=dict)

    def score(self, clip: ClipFeatures, systems: Sequence[SystemName] = ALL_SYSTEMS) -> dict[SystemName, SystemScores]:
        """One clip under each of ``systems``."""
        return self.score_clips([clip], systems)[0]

    def embedding_distance(self, clip: ClipFeatures) -> float | None:
        """How far the clip's mean embedding is from the nearest of training; None for a bundle without those."""
        if self.embeddings is None:
            return None
        mean, _ = clip.mean()
        return float(self.embeddings.distances(mean[None]).min())

    def score_clips(
        self, clips: Sequence[ClipFeatures], systems: Sequence[SystemName]
    ) -> list[dict[SystemName, SystemScores]]:
        """Clips together under each of ``systems``: an answer needs one of them, a comparison all."""
        reported = [name for name in systems if name != "fused"]
        scores = [self._reported(clip, reported) for clip in clips]
        if "fused" in systems:
            scores = [{"fused": fused, **others} for fused, others in zip(self._fused(clips), scores, strict=True)]
        return scores

    def _reported(self, clip: ClipFeatures, names: Sequence[ReportSystemName]) -> dict[SystemName, SystemScores]:
        windows = {
            kind: self.systems[kind].score(self._vectors(clip, "score")) for kind in {WINDOW_LEVEL[n] for n in names}
        }
        scores: dict[SystemName, SystemScores] = {}
        for name in names:
            of_windows, from_target = windows[WINDOW_LEVEL[name]]
            if kind_and_level(name)[1] == "score":
                scores[name] = SystemScores(float(of_windows.mean()), of_windows, bool(from_target.mean() > 0.5))
            else:
                score, clip_from_target = self.systems[name].score(self._vectors(clip, "feature"))
                scores[name] = SystemScores(float(score[0]), of_windows, bool(clip_from_target[0]))
        return scores

    def _vectors(self, clip: ClipFeatures, level: Level) -> Array:
        embeddings, errors, _ = rows_of([clip], level)
        return self.scalings[level].join(embeddings, errors)

    def _fused(self, clips: Sequence[ClipFeatures]) -> list[SystemScores]:
        log_mels, views = [clip.log_mel for clip in clips], joined_views([clip.views for clip in clips])
        if not all(clip.window_views for clip in clips):  # clips of a store come without
            scored = zip(*self.fused.score(log_mels, views), strict=True)
            return [SystemScores(float(score), np.empty(0), bool(target)) for score, target in scored]
        spans, windows = [clip.spans for clip in clips], joined_views([clip.window_views for clip in clips])
        return [
            SystemScores(score, of_windows, target)
            for score, target, of_windows in self.fused.score_with_windows(log_mels, views, spans, windows)
        ]

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        out = {f"fused.{key}": value for key, value in self.fused.tensors().items()}
        if self.embeddings is not None:
            out |= {f"embeddings.{key}": value for key, value in self.embeddings.tensors().items()}
        for name, minimum in self.systems.items():
            out |= {f"{name}.{key}": value for key, value in minimum.tensors().items()}
        for system, threshold in self.thresholds.items():
            out[f"{system}.threshold"] = np.array(threshold)
        for system, calibration in self.calibrations.items():
            out[f"{system}.calibration"] = np.array(astuple(calibration), np.float64)
        for level, scaling in self.scalings.items():
            out[f"error_scaling.{level}"] = np.array([scaling.mean, scaling.factor])
        return out

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[np.generic]]) -> Self:
        """The reverse of :meth:`tensors`; :raises KeyError: where one is missing."""

        def own(system: str) -> dict[str, npt.NDArray[np.generic]]:
            return {key.removeprefix(f"{system}."): v for key, v in tensors.items() if key.startswith(f"{system}.")}

        systems = {name: DomainMinimum.from_tensors(own(name), kind_and_level(name)[0]) for name in REPORT_SYSTEMS}
        scalings: dict[Level, ErrorScaling] = {}
        for level in LEVELS:
            mean, factor = tensors[f"error_scaling.{level}"].astype(np.float64)
            scalings[level] = ErrorScaling(float(mean), float(factor))
        thresholds = {name: float(tensors[f"{name}.threshold"]) for name in ALL_SYSTEMS}
        embeddings = WhitenedNeighbours.from_tensors(own("embeddings")) if own("embeddings") else None
        calibrations = {
            name: Calibration.from_array(tensors[f"{name}.calibration"])
            for name in ALL_SYSTEMS
            if f"{name}.calibration" in tensors  # not in bundles of schema 4
        }
        return cls(FusedDetector.from_tensors(own("fused")), systems, scalings, thresholds, embeddings, calibrations)


def joined_views(views: Sequence[Views]) -> Views:
    return {name: np.concatenate([of_one[name] for of_one in views]) for name in VIEWS}


def fit_detectors(
    clips: Sequence[ClipFeatures],
    is_target: Mask,
    settings: DetectionSettings,
    seed: int,
    unseen: Mask | None = None,
    recordings: Integers | None = None,
) -> tuple[Detectors, dict[SystemName, Floats]]:
    """Fit all systems on the normal training clips of one machine.

    ``is_target`` ``[clips]``. Returns the detectors and, per system, the held-out score of every training clip
    ``[clips]``, made without any clip of its recording (``recordings`` ``[clips]``). Each threshold is the
    ``threshold_percentile`` of the held-out scores, so that it needs no fault and no test clip. Those of the fused
    system are all used: the network, which remembers the clips it was trained on, has a small share in them, for which
    ``unseen`` ``[clips]``, those it was not trained on, correct. The other systems use the clips in ``unseen`` and the
    target clips, or all where ``unseen`` names none.

    :raises MasdError: fewer than three clips, from which no held-out score can be made.
    """
    if is_target.all():
        is_target = np.zeros_like(is_target)  # one domain only, whatever it is called
    if (~is_target).sum() < 3:
        raise MasdError(f"{int((~is_target).sum())} source training clips: detectors need at least 3 of them")
    if not is_target.any():
        log.info("no target training clips: only the source detector is fitted")
    recordings = np.arange(len(clips)) if recordings is None else recordings
    held_out: dict[SystemName, Floats] = {}
    log_mels, views = [clip.log_mel for clip in clips], joined_views([clip.views for clip in clips])
    fused, held_out["fused"] = fit_fused(log_mels, views, is_target, settings.held_out_folds, seed, recordings, unseen)
    scalings: dict[Level, ErrorScaling] = {}
    systems: dict[ReportSystemName, DomainMinimum] = {}
    for level in LEVELS:
        embeddings, errors, groups = rows_of(clips, level)
        scalings[level] = ErrorScaling.fit(embeddings, errors, groups, settings.error_weight)
        vectors = scalings[level].join(embeddings, errors)
        for name in REPORT_SYSTEMS:
            if kind_and_level(name)[1] == level:
                fitted = fit_system(name, vectors, groups, is_target, settings, seed, recordings)
                systems[name], held_out[name] = fitted.minimum, fitted.held_out
    everything = np.ones(len(clips), dtype=np.bool_)
    calibrations: dict[SystemName, Calibration] = {}
    for system, scores in held_out.items():
        used = everything if system == "fused" or unseen is None or not unseen.any() else unseen | is_target
        calibrations[system] = calibrate(
            scores[used], recordings[used], is_target[used], settings.threshold_percentile, seed
        )
    thresholds = {name: calibrations[name].threshold for name in ALL_SYSTEMS}
    return Detectors(fused, systems, scalings, thresholds, calibrations=calibrations), held_out
