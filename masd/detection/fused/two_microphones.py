"""The default detector with a far microphone: what the plant explains is taken off the score.

A far microphone hears the same noise as the one at the machine, and little of the machine. A detector of the same kind
is fitted on it. If the far sound is as unusual as it is when a truck passes, the near sound may be unusual too, without
a fault: of the score's logarithm, what the far sound has explained among normal training clips is taken off, and
the rest counts as much less as it scattered more in such noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import nnls

from masd.arrays import Array, Floats, Integers, Tensors, named, owned
from masd.config import DetectionSettings
from masd.detection.features.clip import ClipFeatures, FarFeatures
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
"""Share of a measure's variance that shrinks its slope: the members of a detector resemble each other."""

SPREADS = (2.0, 4.0)
"""A far frame is loud if it is so many spreads above the usual level: from the median to the 16 % below."""

STEEPNESS = 2.0
"""How much more than in training the scatter rises with the noise: training has few clips with a burst, and an alarm
that a passing truck has caused costs more trust than one without it.
"""

LEAST_SCATTER = 0.3
"""Of the mean scatter: no sound is so quiet that the rest counts more than three times."""


@dataclass(frozen=True)
class Explained:
    """What the far sound explains of the near score, as a logarithm, and how much this scatters beside it.

    The far sound is measured by ``k`` numbers: the distance of each member, and the share of frames that are louder
    than each of ``louder_than``, in dB. Of what they are beyond their ``centres`` ``[k]``, ``slopes`` ``[k]`` explain
    the score, and ``scatter`` ``[k]`` how far above its mean the scatter is, as a share of it. Neither is negative:
    noise makes no clip more normal. ``least`` and ``most`` ``[k]`` limit the numbers to those of training: a fault that
    reaches the far microphone, or a broken one, explains no more than any noise did. ``usual`` ``[]`` is the mean near
    score.
    """

    slopes: Floats
    scatter: Floats
    centres: Floats
    least: Floats
    most: Floats
    louder_than: Floats
    usual: Floats

    @classmethod
    def fit(cls, far: Floats, near: Floats, louder_than: Floats) -> Self:
        """From held-out logarithms of training clips: ``far`` ``[n, k]`` and ``near`` ``[n]``."""
        centres = far.mean(axis=0)
        beyond = far - centres
        slopes = _slopes(beyond, near)
        rest = np.abs(near - near.mean() - beyond @ slopes)
        scatter = STEEPNESS * _slopes(beyond, rest) / max(float(rest.mean()), 1e-9)
        return cls(slopes, scatter, centres, far.min(axis=0), far.max(axis=0), louder_than, np.asarray(near.mean()))

    def left(self, ratios: Floats, far: Floats) -> Floats:
        """What is left of the near ``ratios`` ``[n, 2]`` beside the far sounds ``[n, k]``, ``[n, 2]``."""
        beyond = np.clip(far, self.least, self.most) - self.centres
        scatter = np.maximum(1.0 + beyond @ self.scatter, LEAST_SCATTER)
        rest: Floats = self.usual + (ratios - self.usual - (beyond @ self.slopes)[:, None]) / scatter[:, None]
        return rest

    @classmethod
    def from_tensors(cls, own: Tensors) -> Self:
        """Older bundles have distances only, and no scatter."""
        older = {"scatter": np.zeros(len(own["slopes"])), "louder_than": np.empty(0), "usual": np.array(0.0)}
        return cls(**{key: array.astype(np.float64) for key, array in (older | own).items()})


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
        louder_than = loud_levels([clip.log_mel for clip in far_clips])
        heard = measures(of_far, far_clips, [clip.spans for clip in training.clips], louder_than)
        ratios = weighted(of_near)
        explained = Explained.fit(heard, ratios.min(axis=1), louder_than)
        held_out, _ = minimum(explained.left(ratios, heard))
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
        heard = measures(self.far.members_of(far, spans), far, spans, self.explained.louder_than)
        return scores_of(self.explained.left(weighted(self.near.members_of(clips, spans)), heard), spans)

    def tensors(self, name: str) -> Tensors:
        explained = {key: np.asarray(array) for key, array in vars(self.explained).items()}
        return self.near.tensors(name) | self.far.tensors(f"{name}.{FAR}") | named(f"{name}.explained", explained)

    @classmethod
    def from_tensors(cls, name: str, tensors: Tensors) -> Self:
        near, far = (FusedDetector.from_tensors(each, tensors) for each in (name, f"{name}.{FAR}"))
        return cls(near, far, Explained.from_tensors(owned(f"{name}.explained", tensors)))


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


def measures(members: Members, clips: Sequence[FarFeatures], spans: Sequence[Integers], louder_than: Floats) -> Floats:
    """What :class:`Explained` knows of far sounds, ``[n, k]``: of ``n`` clips, followed by those of all their windows
    ``spans`` ``[W, 2]`` where ``members`` has these. Distances are to the nearer domain, in the order of the weights.
    """
    order: list[MemberName] = [name for name in WEIGHTS if name in members]
    distances = np.stack([members[name].min(axis=1) for name in order], axis=1)
    louder = [clip.log_mel.mean(axis=1)[:, None] > louder_than for clip in clips]
    windows = [frames[first:end] for frames, own in zip(louder, spans, strict=True) for first, end in own]
    shares = [frames.mean(axis=0) for frames in [*louder, *windows][: len(distances)]]
    return np.concatenate([distances, np.stack(shares)], axis=1)


def loud_levels(log_mels: Sequence[Array]) -> Floats:
    """The levels in dB of :data:`SPREADS` among the frames ``[T, F]`` of training clips."""
    levels = np.concatenate([log_mel.mean(axis=1) for log_mel in log_mels]).astype(np.float64)
    low, usual = np.quantile(levels, [0.16, 0.5])
    loud: Floats = usual + np.array(SPREADS) * (usual - low)
    return loud


def _slopes(beyond: Floats, of: Floats) -> Floats:
    """What each measure adds to ``of`` ``[n]`` for each unit ``beyond`` ``[n, k]`` its mean, shrunk, never negative."""
    ridge = np.sqrt(RIDGE * len(beyond)) * np.diag(beyond.std(axis=0))
    slopes: Floats
    slopes, _ = nnls(np.concatenate([beyond, ridge]), np.concatenate([of - of.mean(), np.zeros(len(ridge))]))
    return slopes
