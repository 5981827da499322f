"""``python -m bench.detection.calibration_floor``: by how many points any threshold misses the rate that was asked for.

Scores here are normal numbers, independent, of the same spread in both domains, the target shifted by so many standard
deviations: nothing differs between training and test but the draw. What is left of the miss is chance: mostly that ten
target clips tell their mean to a third of a standard deviation, and that a test of 200 clips counts to 2 points.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from masd.arrays import Floats
from masd.detection.threshold import threshold_of

RATE = 0.1
TARGET = 10
DRAWS, ORACLE_DRAWS = 2000, 2000
SIZES = ((150, 100), (990, 1000))
"""Source clips to train with, and normal test clips of each domain."""


def measured(shift: float, source: int, tested: int, rng: np.random.Generator) -> float:
    """Mean absolute miss, in points, of masd's rule on ``tested`` clips of each domain."""
    misses = []
    for _ in range(DRAWS):
        scores = np.concatenate([rng.standard_normal(source), shift + rng.standard_normal(TARGET)])
        is_target = np.arange(len(scores)) >= source
        threshold = threshold_of(scores, is_target, 100 * (1 - RATE))
        test = np.concatenate([rng.standard_normal(tested), shift + rng.standard_normal(tested)])
        misses.append(abs(float(np.mean(test > threshold)) - RATE))
    return 100 * float(np.mean(misses))


def oracle(shift: float, rng: np.random.Generator) -> float:
    """The same of a rule that knows all but the target's mean, tested on clips without end."""

    def flagged(threshold: float, target_mean: float) -> float:
        return float(norm.sf(threshold) + norm.sf(threshold - target_mean)) / 2

    means: Floats = shift + rng.standard_normal((ORACLE_DRAWS, TARGET)).mean(axis=1)
    thresholds = [brentq(lambda at, mean=mean: flagged(at, mean) - RATE, -9.0, 9.0 + shift) for mean in means]
    return 100 * float(np.mean([abs(flagged(at, shift) - RATE) for at in thresholds]))


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    print(
        "| target shifted by, SD | 150 source, 200 test clips | 990 source, 2,000 test clips | all known but its mean |"
    )
    print("|---|---|---|---|")
    for shift in (0.0, 1.0, 2.0):
        cells = [measured(shift, *sizes, rng) for sizes in SIZES] + [oracle(shift, rng)]
        print(f"| {shift:g} | {' | '.join(f'{cell:.1f}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
