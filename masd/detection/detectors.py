"""The table of systems, and the detectors of one machine: all systems with their thresholds."""

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Self

import numpy as np

from masd.arrays import Floats, Integers, Mask, Tensors, named, owned
from masd.config import PAPER_SYSTEMS, DetectionSettings, SystemName
from masd.detection.features.clip import ClipFeatures
from masd.detection.fused.two_microphones import Fused
from masd.detection.fused.whitened import WhitenedNeighbours
from masd.detection.paper.system import KnnFeature, KnnScore, LofFeature, LofScore
from masd.detection.system import System, SystemScores, TrainingClips
from masd.detection.threshold import Calibration, calibrate
from masd.errors import MasdError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SystemRow:
    """A system; ``windows_of`` is another system, whose window scores are shown with this one."""

    system: type[System] | type[Fused]
    windows_of: SystemName | None = None


SYSTEMS: dict[SystemName, SystemRow] = {
    "fused": SystemRow(Fused),
    "knn-feature": SystemRow(KnnFeature, windows_of="knn-score"),
    "knn-score": SystemRow(KnnScore),
    "lof-feature": SystemRow(LofFeature, windows_of="lof-score"),
    "lof-score": SystemRow(LofScore),
}
"""Every system by its name, in the order in which results show them."""

NEAR_ALONE = "near_alone"
"""The name of the arrays of :attr:`Detectors.near_alone`."""

EMBEDDINGS = "embeddings"
"""Whose arrays are those of :attr:`Detectors.embeddings`."""


@dataclass(frozen=True)
class Detectors:
    """The systems of one machine, a threshold for each, and its calibration if the bundle has it.

    Without a network these are our own systems alone. ``embeddings`` are used for the drift check only. ``near_alone``
    has the threshold of a system that uses the reference channel, with its calibration, for clips that have none.
    """

    systems: dict[SystemName, System]
    thresholds: dict[SystemName, float]
    embeddings: WhitenedNeighbours | None = None
    calibrations: dict[SystemName, Calibration] = field(default_factory=dict)
    near_alone: dict[SystemName, Calibration] = field(default_factory=dict)

    def threshold_of(self, name: SystemName, clip: ClipFeatures) -> tuple[float, Calibration | None]:
        """The threshold of a system for a clip with or without a reference channel, and its calibration if known."""
        if clip.far is None and name in self.near_alone:
            return self.near_alone[name].threshold, self.near_alone[name]
        return self.thresholds[name], self.calibrations.get(name)

    def score(self, clip: ClipFeatures) -> dict[SystemName, SystemScores]:
        """One clip under each system."""
        return self.score_clips([clip], list(self.systems))[0]

    def embedding_distance(self, clip: ClipFeatures) -> float | None:
        """How far the clip's mean embedding is from the nearest of training; None for a model without those."""
        if self.embeddings is None:
            return None
        mean, _ = clip.mean()
        return float(self.embeddings.distances(mean[None]).min())

    def score_clips(
        self, clips: Sequence[ClipFeatures], systems: Sequence[SystemName]
    ) -> list[dict[SystemName, SystemScores]]:
        """Clips together under each of ``systems``: an answer needs one of them, a comparison all."""
        shows = {name: SYSTEMS[name].windows_of or name for name in systems}
        scores = {name: self.systems[name].score(clips) for name in {*shows, *shows.values()}}
        return [
            {
                name: replace(scores[name][number], window_scores=scores[shown][number].window_scores)
                for name, shown in shows.items()
            }
            for number in range(len(clips))
        ]

    def tensors(self) -> Tensors:
        out = {} if self.embeddings is None else named(EMBEDDINGS, self.embeddings.tensors())
        for name, system in self.systems.items():
            out |= system.tensors(name)
        for name, threshold in self.thresholds.items():
            out[f"{name}.threshold"] = np.array(threshold)
        for name, calibration in self.calibrations.items():
            out[f"{name}.calibration"] = np.array(astuple(calibration), np.float64)
        for name, calibration in self.near_alone.items():
            out[f"{name}.{NEAR_ALONE}"] = np.array(astuple(calibration), np.float64)
        return out

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, has_network: bool) -> Self:
        """The reverse of :meth:`tensors`; :raises KeyError: where one is missing."""
        embeddings = owned(EMBEDDINGS, tensors)
        rows = _rows(has_network)
        return cls(
            systems={name: row.system.from_tensors(name, tensors) for name, row in rows.items()},
            thresholds={name: float(tensors[f"{name}.threshold"]) for name in rows},
            embeddings=WhitenedNeighbours.from_tensors(embeddings) if embeddings else None,
            calibrations={
                name: Calibration.from_array(tensors[f"{name}.calibration"])
                for name in rows
                if f"{name}.calibration" in tensors  # not in bundles of schema 4
            },
            near_alone={
                name: Calibration.from_array(tensors[f"{name}.{NEAR_ALONE}"])
                for name in rows
                if f"{name}.{NEAR_ALONE}" in tensors
            },
        )


def _rows(has_network: bool) -> dict[SystemName, SystemRow]:
    return {name: row for name, row in SYSTEMS.items() if has_network or name not in PAPER_SYSTEMS}


def fit_detectors(
    clips: Sequence[ClipFeatures],
    is_target: Mask,
    settings: DetectionSettings,
    seed: int,
    unseen: Mask | None = None,
    recordings: Integers | None = None,
) -> tuple[Detectors, dict[SystemName, Floats]]:
    """Fit the systems on the normal training clips of one machine: all, or our own where clips have no embeddings.

    ``is_target`` ``[clips]``. Returns the detectors and, per system, the held-out score of every training clip
    ``[clips]``, made without any clip of its recording (``recordings`` ``[clips]``, each its own where not given). Each
    threshold is the ``threshold_percentile`` of the held-out scores, so that it needs no fault and no test clip.
    ``unseen`` ``[clips]``: the clips that the network was not trained on. Each system decides whether its threshold
    uses only their scores (``FittedSystem.calibrates``).

    :raises MasdError: fewer than three clips, from which no held-out score can be made.
    """
    if is_target.all():
        is_target = np.zeros_like(is_target)  # one domain only, whatever it is called
    if (~is_target).sum() < 3:
        raise MasdError(
            f"there are only {int((~is_target).sum())} source training clips, but detectors need at least 3; record "
            "more"
        )
    if not is_target.any():
        log.info("no target training clips: only the source detector is fitted")
    recordings = np.arange(len(clips)) if recordings is None else recordings
    training = TrainingClips(clips, is_target, recordings, unseen)
    rows = _rows(has_network=clips[0].embeddings.shape[1] > 0)
    fitted = {name: row.system.fit(training, settings, seed) for name, row in rows.items()}

    def calibration(held_out: Floats, used: Mask) -> Calibration:
        return calibrate(held_out[used], recordings[used], is_target[used], settings.threshold_percentile, seed)

    calibrations = {name: calibration(of.held_out, of.calibrates) for name, of in fitted.items()}
    detectors = Detectors(
        systems={name: of.system for name, of in fitted.items()},
        thresholds={name: calibration.threshold for name, calibration in calibrations.items()},
        calibrations=calibrations,
        near_alone={
            name: calibration(of.near_alone, of.calibrates) for name, of in fitted.items() if of.near_alone is not None
        },
    )
    return detectors, {name: of.held_out for name, of in fitted.items()}
