"""The default detector with a far microphone: what the plant explains is taken off the score.

A far microphone hears the same noise as the one at the machine, and little of the machine. A detector of the same kind
is fitted on it. If the far sound is as unusual as it is when a truck passes, the near sound may be unusual too, without
a fault: the score is divided by what the far distances have explained of the near ones among normal training clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import nnls

from masd.arrays import Floats, Tensors, named, owned
from masd.config import DetectionSettings
from masd.detection.features.clip import ClipFeatures
from masd.detection.fused.detector import (
    WEIGHTS,
    FusedDetector,
    MemberName,
    Members,
    fit_clips,
    minimum,
    scores_of,
    weighted,
)
from masd.detection.system import FittedSystem, SystemScores, TrainingClips

FAR = "far"

RIDGE = 0.1
"""Share of a distance's variance that shrinks its slope: the members of a detector resemble each other."""


@dataclass(frozen=True)
class Explained:
    """What the far distances explain of the near score, as a logarithm: ``slopes @ (distances - centres)``.

    ``slopes`` ``[members]`` are not negative: noise makes no clip more normal. ``least`` and ``most`` ``[members]``
    limit the distances to those of training: a fault that reaches the far microphone, or a broken one, explains no more
    than any noise did.
    """

    slopes: Floats
    centres: Floats
    least: Floats
    most: Floats

    @classmethod
    def fit(cls, far: Floats, near: Floats) -> Self:
        """From held-out logarithms of training clips: ``far`` ``[n, members]`` and ``near`` ``[n]``."""
        centres = far.mean(axis=0)
        ridge = np.sqrt(RIDGE * len(far)) * np.diag(far.std(axis=0))
        rows = np.concatenate([far - centres, ridge])
        slopes, _ = nnls(rows, np.concatenate([near - near.mean(), np.zeros(len(ridge))]))
        return cls(slopes, centres, far.min(axis=0), far.max(axis=0))

    def __call__(self, far: Floats) -> Floats:
        """``[n, members]`` -> ``[n]``."""
        explained: Floats = (np.clip(far, self.least, self.most) - self.centres) @ self.slopes
        return explained


@dataclass(frozen=True)
class TwoMicrophones:
    """A detector of the near channel and one of the far channel, which hears the same moments."""

    near: FusedDetector
    far: FusedDetector
    explained: Explained

    @classmethod
    def fit(cls, training: TrainingClips, settings: DetectionSettings, seed: int) -> FittedSystem:
        """Every clip has a far channel."""
        far_clips = [clip.far for clip in training.clips if clip.far is not None]
        near, of_near = fit_clips(training.clips, training, settings, seed)
        far, of_far = fit_clips(far_clips, training, settings, seed)
        ratios = weighted(of_near)
        explained = Explained.fit(nearest(of_far), ratios.min(axis=1))
        held_out, _ = minimum(ratios - explained(nearest(of_far))[:, None])
        near_alone, _ = minimum(ratios)
        return FittedSystem(cls(near, far, explained), held_out, training.all_of_them, near_alone)

    def score(self, clips: Sequence[ClipFeatures]) -> list[SystemScores]:
        """Clips without a far channel have the score of the near detector alone."""
        both = [number for number, clip in enumerate(clips) if clip.far is not None]
        alone = [number for number, clip in enumerate(clips) if clip.far is None]
        scores = dict(zip(alone, self.near.score([clips[number] for number in alone]), strict=True)) if alone else {}
        if both:
            scores |= zip(both, self._score([clips[number] for number in both]), strict=True)
        return [scores[number] for number in range(len(clips))]

    def _score(self, clips: Sequence[ClipFeatures]) -> list[SystemScores]:
        far = [clip.far for clip in clips if clip.far is not None]
        spans = [clip.spans for clip in clips]
        explained = self.explained(nearest(self.far.members_of(far, spans)))
        return scores_of(weighted(self.near.members_of(clips, spans)) - explained[:, None], spans)

    def tensors(self, name: str) -> Tensors:
        explained = {key: np.asarray(array) for key, array in vars(self.explained).items()}
        return self.near.tensors(name) | self.far.tensors(f"{name}.{FAR}") | named(f"{name}.explained", explained)

    @classmethod
    def from_tensors(cls, name: str, tensors: Tensors) -> Self:
        own = {key: array.astype(np.float64) for key, array in owned(f"{name}.explained", tensors).items()}
        near, far = (FusedDetector.from_tensors(each, tensors) for each in (name, f"{name}.{FAR}"))
        return cls(near, far, Explained(own["slopes"], own["centres"], own["least"], own["most"]))


class Fused:
    """The default system as a row of the table: with a far channel where the training clips have one."""

    @staticmethod
    def fit(training: TrainingClips, settings: DetectionSettings, seed: int) -> FittedSystem:
        kind = FusedDetector if training.clips[0].far is None else TwoMicrophones
        return kind.fit(training, settings, seed)

    @staticmethod
    def from_tensors(name: str, tensors: Tensors) -> FusedDetector | TwoMicrophones:
        kind = TwoMicrophones if owned(f"{name}.explained", tensors) else FusedDetector
        return kind.from_tensors(name, tensors)


def nearest(members: Members) -> Floats:
    """Distances ``[n, 2]`` of each member -> to the nearer domain, ``[n, members]`` in the order of the weights."""
    order: list[MemberName] = [name for name in WEIGHTS if name in members]
    return np.stack([members[name].min(axis=1) for name in order], axis=1)
