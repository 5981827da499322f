"""The uncertainty of a benchmark: one bootstrap over test clips and seeds, paired over all methods."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from masd.arrays import Floats
from masd.evaluation.benchmark.scores import BenchmarkScores
from masd.evaluation.bootstrap import draw_weights, harmonic_means, weighted_metrics
from masd.evaluation.metrics import AREAS

SAMPLES = 2000
CONFIDENCE = 0.95

_SEED = 2025


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its percentile interval, as fractions, and the machines and seeds it is taken over."""

    mean: float
    low: float
    high: float
    machines: tuple[str, ...]
    seeds: tuple[int, ...]


class Resamples:
    """The metrics of every cell on the same resamples of the test clips; the first "resample" is the test set itself.

    Weights are drawn once a machine and serve all methods and seeds, so a difference of two methods is taken on the
    same clips; seeds are drawn with replacement, the same for both methods. A machine's draws depend on its name and
    clips alone. Machines without both normal and anomalous test clips take no part.
    """

    def __init__(self, results: Sequence[BenchmarkScores]) -> None:
        self._metrics: dict[tuple[str, str, int], dict[str, Floats]] = {}
        for result in results:
            rng = np.random.default_rng([_SEED, *result.machine.encode()])
            weights = np.vstack([np.ones((1, len(result.clips))), draw_weights(result.clips, SAMPLES, rng)])
            for (method, seed), scores in result.scores.items():
                metrics = weighted_metrics(result.clips, scores, weights)
                if not np.isnan(metrics["hmean"][0]):
                    self._metrics[result.machine, method, seed] = metrics

    def estimate(self, machine: str | None, method: str, minus: str | None = None) -> Estimate | None:
        """The method's hmean on a machine, or its official score (``machine`` None); with ``minus`` its difference to
        that method.

        The official score is over the machines that have the methods, and the seeds that all of these have. None
        without such a seed.
        """
        methods = (method,) if minus is None else (method, minus)
        seeds_of = {name: seeds for name in self._machines(machine) if (seeds := self._common_seeds(name, methods))}
        shared = sorted(set.intersection(*seeds_of.values())) if seeds_of else []
        if not shared:
            return None
        used = tuple(seeds_of)
        by_seed = [
            self._values(machine, used, method, seed)
            - (0.0 if minus is None else self._values(machine, used, minus, seed))
            for seed in shared
        ]
        whole, drawn = np.split(np.stack(by_seed, axis=1), [1])
        picks = np.random.default_rng(_SEED).integers(len(shared), size=drawn.shape)
        means = np.take_along_axis(drawn, picks, axis=1).mean(axis=1)
        low, high = np.quantile(means, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
        return Estimate(float(whole.mean()), float(low), float(high), used, tuple(shared))

    def _machines(self, machine: str | None) -> Iterable[str]:
        return dict.fromkeys(name for name, _, _ in self._metrics if machine in (None, name))

    def _common_seeds(self, machine: str, methods: Iterable[str]) -> set[int]:
        have = [{seed for name, of, seed in self._metrics if (name, of) == (machine, method)} for method in methods]
        return set.intersection(*have)

    def _values(self, machine: str | None, machines: Iterable[str], method: str, seed: int) -> Floats:
        """The method's value with this seed on the test set and on each resample, ``[1 + SAMPLES]``."""
        if machine is not None:
            return self._metrics[machine, method, seed]["hmean"]
        cells = [self._metrics[name, method, seed] for name in machines]
        return harmonic_means(np.stack([cell[area] for cell in cells for area in AREAS]))
