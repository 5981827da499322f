"""What a system is: fitted on the normal clips of a machine, it scores others.

Each is one class, in one file below :mod:`masd.detection.paper` or :mod:`masd.detection.fused`, and one row of
:data:`masd.detection.detectors.SYSTEMS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from masd.arrays import Floats, Integers, Mask, Tensors
from masd.config import DetectionSettings
from masd.detection.features.clip import ClipFeatures


@dataclass(frozen=True)
class TrainingClips:
    """The normal training clips of one machine, with the domain and the recording of each: ``[n]``.

    ``unseen`` ``[n]`` are those that the network was not trained on; None where that is not known.
    """

    clips: Sequence[ClipFeatures]
    is_target: Mask
    recordings: Integers
    unseen: Mask | None = None

    @property
    def all_of_them(self) -> Mask:
        return np.ones(len(self.clips), np.bool_)

    @property
    def unseen_or_target(self) -> Mask:
        """Clips that the network does not remember, and all target clips, which are few; all where none is unseen."""
        return self.all_of_them if self.unseen is None or not self.unseen.any() else self.unseen | self.is_target


@dataclass(frozen=True)
class SystemScores:
    """Scores of one clip under one system; ``window_scores`` ``[W]``, empty where the system has none."""

    score: float
    window_scores: Floats
    from_target: bool


class System(Protocol):
    """A fitted system."""

    @classmethod
    def fit(cls, training: TrainingClips, settings: DetectionSettings, seed: int) -> "FittedSystem":
        """Fit on at least three source clips; the same for the same ``seed``."""

    def score(self, clips: Sequence[ClipFeatures]) -> list[SystemScores]:
        """Clips together, larger is more anomalous."""

    def tensors(self, name: str) -> Tensors:
        """What a bundle keeps of the system called ``name``: ``<name>.`` something, or what several systems share."""

    @classmethod
    def from_tensors(cls, name: str, tensors: Tensors) -> Self:
        """The reverse of :meth:`tensors`, from all arrays of a bundle; :raises KeyError: where one is missing."""


@dataclass(frozen=True)
class FittedSystem:
    """A system with the ``held_out`` score ``[n]`` of every training clip, made without any clip of its recording.

    ``calibrates`` ``[n]`` says which of these scores are like those of new clips, so that a threshold may rest on them.
    ``near_alone`` ``[n]`` are the held-out scores without the reference channel, for a system that uses it.
    """

    system: System
    held_out: Floats
    calibrates: Mask
    near_alone: Floats | None = None
