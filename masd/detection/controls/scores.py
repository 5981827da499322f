"""All controls of one machine at once, fitted on its training clips."""

from masd.arrays import Floats, Integers
from masd.data.store import FeatureStore
from masd.detection.controls.baseline import BaselineAutoEncoder
from masd.detection.controls.mel_statistics import MelStatistics
from masd.progress import Progress


def score_controls(
    store: FeatureStore, rows: Integers, seed: int, baseline_epochs: int, progress: Progress | None = None
) -> tuple[dict[str, Floats], dict[str, float]]:
    """Scores ``[n]`` of some rows of a store without high-pass, as controls need it, and the thresholds, by control."""
    baseline = BaselineAutoEncoder.fit(store, seed, baseline_epochs, progress)
    statistics = MelStatistics.fit(store, seed)
    scores = baseline.score(store, rows) | {"mel-statistics": statistics.score(store, rows)}
    return scores, baseline.thresholds | {"mel-statistics": statistics.threshold}
