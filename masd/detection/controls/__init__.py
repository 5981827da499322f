"""Detectors that need little, shown beside ours: a model that loses to them should not be shipped."""

from masd.detection.controls.baseline import BaselineAutoEncoder
from masd.detection.controls.mel_statistics import MelStatistics
from masd.detection.controls.scores import score_controls

CONTROLS = ("baseline-mse", "baseline-mahalanobis", "mel-statistics")

__all__ = ["CONTROLS", "BaselineAutoEncoder", "MelStatistics", "score_controls"]
