"""Simple detectors for comparison: a model that is worse than they are should not go into production."""

from typing import Literal

from masd.detection.controls.baseline import BaselineAutoEncoder
from masd.detection.controls.mel_statistics import MelStatistics
from masd.detection.controls.scores import score_controls

ControlKind = Literal["baseline", "control"]

CONTROL_KINDS: dict[str, ControlKind] = {
    "baseline-mse": "baseline",
    "baseline-mahalanobis": "baseline",
    "mel-statistics": "control",
}
"""Every control by its name: an official baseline, of which the better one counts, or a control of our own."""

CONTROLS = tuple(CONTROL_KINDS)
BASELINES = tuple(name for name, kind in CONTROL_KINDS.items() if kind == "baseline")

__all__ = [
    "BASELINES",
    "CONTROLS",
    "CONTROL_KINDS",
    "BaselineAutoEncoder",
    "ControlKind",
    "MelStatistics",
    "score_controls",
]
