"""The threshold of a system, from the held-out scores of normal clips and the false-alarm rate that was set."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from masd.arrays import Floats, Integers, Mask

RESAMPLES = 400
INTERVAL = 0.9
RISK = 0.05
"""The accepted probability that all recordings are below the true threshold, so that it has no upper bound."""


@dataclass(frozen=True)
class Calibration:
    """A threshold for the false-alarm rate ``rate``, with its 90 % interval from ``low`` to ``high``. It comes from the
    held-out scores of ``clips`` normal clips from ``recordings`` independent recordings.
    """

    threshold: float
    low: float
    high: float
    clips: int
    recordings: int
    rate: float

    @classmethod
    def from_array(cls, numbers: npt.NDArray[np.generic]) -> Self:
        """From the fields in their order, as numbers ``[6]``."""
        threshold, low, high, clips, recordings, rate = numbers.astype(np.float64).tolist()
        return cls(threshold, low, high, int(clips), int(recordings), rate)

    def to_dict(self) -> dict[str, float]:
        """For the manifest of a bundle."""
        return {
            "threshold": self.threshold,
            "threshold_low": self.low,
            "threshold_high": self.high,
            "clips": self.clips,
            "recordings": self.recordings,
            "rate": self.rate,
        }

    @classmethod
    def from_dict(cls, values: dict[str, float]) -> Self:
        """The reverse of :meth:`to_dict`."""
        return cls(
            values["threshold"],
            values["threshold_low"],
            values["threshold_high"],
            int(values["clips"]),
            int(values["recordings"]),
            values["rate"],
        )

    @property
    def recordings_needed(self) -> int:
        """With this number of recordings, at least one is above the true threshold with a probability of 95 %."""
        return math.ceil(math.log(RISK) / math.log1p(-self.rate))

    @property
    def too_few(self) -> bool:
        return self.recordings < self.recordings_needed

    @property
    def sentence(self) -> str:
        """The threshold, its interval and its basis, in one line."""
        return (
            f"the threshold is {self.threshold:.3f} (90 % interval {self.low:.3f} to {self.high:.3f}); it allows "
            f"{self.rate:.0%} false alarms and comes from held-out scores of {self.clips} training clips from "
            f"{self.recordings} recordings"
        )

    @property
    def warning(self) -> str | None:
        """One line if there are :attr:`too_few` recordings, else None."""
        if not self.too_few:
            return None
        return (
            f"{self.recordings} independent recordings are too few for a false-alarm rate of {self.rate:.0%}: the "
            f"threshold may be far off; record at least {self.recordings_needed}, or lower "
            "detection.threshold_percentile, which allows more false alarms"
        )


def calibrate(scores: Floats, recordings: Integers, is_target: Mask, percentile: float, seed: int) -> Calibration:
    """Compute a threshold from held-out scores of normal clips ``[n]``, with the recording and the domain of each.

    The interval is by bootstrap of whole recordings.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(recordings == recording) for recording in np.unique(recordings)]
    thresholds = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        thresholds[number] = threshold_of(scores[drawn], is_target[drawn], percentile)
    low, high = np.quantile(thresholds, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    found = threshold_of(scores, is_target, percentile)
    return Calibration(
        threshold=found,
        low=min(float(low), found),
        high=max(float(high), found),
        clips=len(scores),
        recordings=len(members),
        rate=1 - percentile / 100,
    )


def threshold_of(scores: Floats, is_target: Mask, percentile: float) -> float:
    """Percentile of the scores with equal weights for both domains, because the rate should hold in both, and training
    has far fewer target clips.

    A few target clips give their mean, but not their spread: the deviations of all clips from the mean of their domain
    are used around it. Positive scores, which are ratios of distances, are compared as logarithms.
    """
    if not is_target.any() or is_target.all():
        return float(np.percentile(scores, percentile))
    positive = bool((scores > 0).all())
    values = np.log(scores) if positive else scores
    source, target = values[~is_target], values[is_target]
    like_target = target.mean() + np.concatenate([source - source.mean(), target - target.mean()])
    together = np.concatenate([source, like_target])
    weights = np.repeat([1 / len(source), 1 / len(like_target)], [len(source), len(like_target)])
    order = np.argsort(together)
    places = np.cumsum(weights[order]) - weights[order] / 2
    found = float(np.interp(percentile / 100 * weights.sum(), places, together[order]))
    return float(np.exp(found)) if positive else found
