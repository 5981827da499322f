"""Paired differences: every method against the better official baseline, the default against mel-statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from masd.detection.controls import BASELINES
from masd.evaluation.benchmark.resamples import Estimate, Resamples
from masd.evaluation.benchmark.scores import DEFAULT, STATISTICS

Level = Callable[[str | None, str], tuple[int, float] | None]
"""How well a method does on a machine (None: by the official score); larger is better."""


@dataclass(frozen=True)
class PairedDifference:
    """``method`` minus ``reference``."""

    method: str
    reference: str
    estimate: Estimate


@dataclass(frozen=True)
class Differences:
    """By machine, in hmean; None is the official score. What has no common seed is absent.

    ``to_baseline`` are those of every method to the official baseline that is the better one there by its mean over
    seeds; ``to_statistics`` those of the default to mel-statistics.
    """

    to_baseline: dict[str | None, tuple[PairedDifference, ...]]
    to_statistics: dict[str | None, PairedDifference]

    def reference(self, machine: str | None) -> str | None:
        """The better baseline there; None where nothing was compared with one."""
        return next((difference.reference for difference in self.to_baseline.get(machine, ())), None)

    def of_default(self) -> dict[str | None, PairedDifference]:
        """The default against the better baseline."""
        return {
            machine: difference
            for machine, found in self.to_baseline.items()
            for difference in found
            if difference.method == DEFAULT
        }


def paired_differences(
    machines: Sequence[str], methods: Sequence[str], resamples: Resamples, level: Level
) -> Differences:
    """All differences on the same resamples. The better baseline is chosen once, not anew in each resample."""

    def difference(machine: str | None, method: str, reference: str) -> list[PairedDifference]:
        estimate = resamples.estimate(machine, method, reference)
        return [PairedDifference(method, reference, estimate)] if estimate else []

    to_baseline: dict[str | None, tuple[PairedDifference, ...]] = {}
    to_statistics: dict[str | None, PairedDifference] = {}
    for machine in (*machines, None):
        levels = {name: found for name in BASELINES if (found := level(machine, name))}
        if levels:
            best = max(levels, key=lambda name: levels[name])
            others = [method for method in methods if method != best]
            to_baseline[machine] = tuple(each for name in others for each in difference(machine, name, best))
        for each in difference(machine, DEFAULT, STATISTICS):
            to_statistics[machine] = each
    return Differences(to_baseline, to_statistics)
