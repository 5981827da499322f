"""Compare two models on the same clips: the difference and its confidence interval."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from masd.arrays import Floats
from masd.evaluation.bootstrap import draw_weights, weighted_metrics
from masd.evaluation.metrics import AREAS, official_metrics

VALUES = ("hmean", *AREAS)


@dataclass(frozen=True)
class Contender:
    """One of the two models: the score of each clip by name, and its threshold."""

    scores: dict[str, float]
    threshold: float


@dataclass(frozen=True)
class Interval:
    """A measured value and the ends of its percentile interval over resamples of the clips."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Challenger and champion on clips that both have scored. Intervals by name of :data:`VALUES`, without those that
    the clips cannot give; ``resampled`` is the difference of the harmonic means in each resample, ``[B]``.
    """

    challenger: dict[str, Interval]
    champion: dict[str, Interval]
    difference: dict[str, Interval]
    resampled: Floats


def compare(
    clips: pd.DataFrame, challenger: str, champion: str, *, confidence: float, samples: int, seed: int
) -> Comparison | None:
    """A paired bootstrap of challenger minus champion; None where the clips cannot give a harmonic mean.

    In each resample both are measured on the same clips, so the difficulty of a resample cancels: the interval of the
    difference is narrower than the intervals of the two values suggest. ``clips`` has the columns ``section``,
    ``domain``, ``condition`` and a score column for each, named by ``challenger`` and ``champion``, all finite.
    """
    if clips.empty:
        return None
    columns = (challenger, champion)
    values = [official_metrics(clips, clips[column].to_numpy(), threshold=np.inf) for column in columns]
    if values[0]["hmean"] is None or values[1]["hmean"] is None:
        return None
    weights = draw_weights(clips, samples, np.random.default_rng(seed))
    resamples = [weighted_metrics(clips, clips[column], weights) for column in columns]
    ours: dict[str, Interval] = {}
    theirs: dict[str, Interval] = {}
    differences: dict[str, Interval] = {}
    for name in VALUES:
        a, b = values[0][name], values[1][name]
        if a is not None and b is not None:
            ours[name] = _interval(a, resamples[0][name], confidence)
            theirs[name] = _interval(b, resamples[1][name], confidence)
            differences[name] = _interval(a - b, resamples[0][name] - resamples[1][name], confidence)
    return Comparison(ours, theirs, differences, resamples[0]["hmean"] - resamples[1]["hmean"])


def _interval(value: float, resampled: Floats, confidence: float) -> Interval:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))
