"""The paper's four systems (section 3.2): k-NN or LOF, on the mean window of a clip or on every window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from masd.arrays import Tensors, named, owned
from masd.config import DetectionSettings
from masd.detection.features.clip import ClipFeatures
from masd.detection.paper.bank import Bank
from masd.detection.paper.domains import DomainMinimum, fit_domains
from masd.detection.paper.error_scaling import ErrorScaling, Level, rows_of
from masd.detection.paper.knn import KnnDetector
from masd.detection.paper.lof import LofDetector
from masd.detection.system import FittedSystem, SystemScores, TrainingClips


@dataclass(frozen=True)
class PaperSystem:
    """The minimum over two domains of one detector each, on embeddings joined with scaled errors.

    ``level`` says what is scored: ``feature`` the mean embedding of a clip, ``score`` each window, whose mean is the
    clip's. Systems of one level have the same scaling.
    """

    bank: ClassVar[type[Bank]]
    level: ClassVar[Level]

    minimum: DomainMinimum
    scaling: ErrorScaling

    @classmethod
    def fit(cls, training: TrainingClips, settings: DetectionSettings, seed: int) -> FittedSystem:
        embeddings, errors, groups = rows_of(training.clips, cls.level)
        scaling = ErrorScaling.fit(embeddings, errors, groups, settings.error_weight)
        vectors = scaling.join(embeddings, errors)
        minimum, held_out = fit_domains(
            cls.bank, vectors, groups, training.is_target, settings, seed, training.recordings
        )
        return FittedSystem(cls(minimum, scaling), held_out, training.unseen_or_target)

    def score(self, clips: Sequence[ClipFeatures]) -> list[SystemScores]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: ClipFeatures) -> SystemScores:
        embeddings, errors, _ = rows_of([clip], self.level)
        scores, from_target = self.minimum.score(self.scaling.join(embeddings, errors))
        of_windows = scores if self.level == "score" else np.empty(0)
        return SystemScores(float(scores.mean()), of_windows, bool(from_target.mean() > 0.5))

    def tensors(self, name: str) -> Tensors:
        scaling = np.array([self.scaling.mean, self.scaling.factor])
        return named(name, self.minimum.tensors()) | {f"error_scaling.{self.level}": scaling}

    @classmethod
    def from_tensors(cls, name: str, tensors: Tensors) -> Self:
        mean, factor = tensors[f"error_scaling.{cls.level}"].astype(np.float64)
        minimum = DomainMinimum.from_tensors(owned(name, tensors), cls.bank)
        return cls(minimum, ErrorScaling(float(mean), float(factor)))


class KnnFeature(PaperSystem):
    bank, level = KnnDetector, "feature"


class KnnScore(PaperSystem):
    bank, level = KnnDetector, "score"


class LofFeature(PaperSystem):
    bank, level = LofDetector, "feature"


class LofScore(PaperSystem):
    bank, level = LofDetector, "score"
