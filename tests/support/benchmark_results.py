"""Made-up results of a benchmark for tests."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from masd.evaluation.benchmark.scores import METHODS, BenchmarkScores

SEEDS = (0, 1, 2)


def make_clips(domains: Iterable[str] = ("source", "target"), count: int = 15) -> pd.DataFrame:
    rows = [
        (f"section_00_{domain}_test_{condition}_{number:04d}.wav", "00", domain, condition)
        for domain in domains
        for condition in ("normal", "anomaly")
        for number in range(count)
    ]
    return pd.DataFrame(rows, columns=["name", "section", "domain", "condition"])


def make_results(
    machine: str,
    strengths: Mapping[str, float] | None = None,
    *,
    seeds: Iterable[int] = SEEDS,
    clips: pd.DataFrame | None = None,
) -> BenchmarkScores:
    """Every method parts anomalies from normal clips by its strength in standard deviations, on noise of which all
    methods and seeds share a half; mel-statistics is the same for each seed.
    """
    clips = make_clips() if clips is None else clips
    strengths = dict.fromkeys(METHODS, 1.0) if strengths is None else strengths
    rng = np.random.default_rng(list(machine.encode()))
    anomaly, shared = (clips["condition"] == "anomaly").to_numpy(), rng.normal(size=len(clips))
    scores = {}
    for method, strength in strengths.items():
        noise = rng.normal(size=len(clips))
        for seed in seeds:
            scores[method, seed] = shared + noise + strength * anomaly
            if method != "mel-statistics":
                noise = rng.normal(size=len(clips))
    return BenchmarkScores(machine, clips, scores)
