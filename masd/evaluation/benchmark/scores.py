"""The scores of every method and seed, and the names of the methods."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from masd.arrays import Floats
from masd.config import PAPER_SYSTEMS
from masd.detection.controls import BASELINES, CONTROLS
from masd.errors import MasdError

STATISTICS = "mel-statistics"
DEFAULT = "default"

LOSSES = {"recon": "L_recon", "recon+class": "+ L_class", "recon+class+contr": "+ L_contr"}
"""The paper's ablation: each variant adds a loss to the one before."""

WITH_LATENT = "fused+latent"
WITH_UNTRAINED = "fused+untrained"
"""The system ``fused`` with the latent of a trained encoder, and of one that was trained for one epoch: what the
network is worth to it.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "controls": CONTROLS,
    **{label: tuple(f"{variant}/{system}" for system in PAPER_SYSTEMS) for variant, label in LOSSES.items()},
    "fused, network": (WITH_LATENT, WITH_UNTRAINED),
    "shipped": (DEFAULT,),
}
"""Every method in the order of the tables, by the heading it stands under."""

METHODS = tuple(method for group in GROUPS.values() for method in group)


@dataclass(frozen=True)
class BenchmarkScores:
    """The finished cells of one machine.

    ``clips`` are its test clips with the columns ``name``, ``section``, ``domain`` and ``condition``; ``scores`` has
    the anomaly score of each of them, ``[n]``, by method and seed. A method that needs no seed has the same scores
    under each.
    """

    machine: str
    clips: pd.DataFrame
    scores: dict[tuple[str, int], Floats]


def checked(results: Sequence[BenchmarkScores]) -> list[BenchmarkScores]:
    """The results in the order of the tables.

    :raises MasdError: nothing to show, a machine twice, an unknown method, or scores that are not one finite number a
        clip.
    """
    if not any(result.scores for result in results):
        raise MasdError("the benchmark has no scores to show: let it finish at least one machine")
    machines = [result.machine for result in results]
    if twice := sorted({machine for machine in machines if machines.count(machine) > 1}):
        raise MasdError(f"the benchmark has two results of {', '.join(twice)}: give only one of them")
    for result in results:
        for (method, seed), scores in result.scores.items():
            where = f"{result.machine}, {method}, seed {seed}"
            if method not in METHODS:
                raise MasdError(f"{where}: no such method; there are {', '.join(METHODS)}")
            if np.shape(scores) != (len(result.clips),):
                raise MasdError(f"{where}: scores of shape {np.shape(scores)} for {len(result.clips)} clips")
            if not np.isfinite(scores).all():
                raise MasdError(f"{where}: {int((~np.isfinite(scores)).sum())} scores are not finite; score it again")
    return sorted(results, key=lambda result: result.machine.casefold())


def label(method: str) -> str:
    """A method's name in words, on its own: ``recon+class/knn-feature`` is ``+ L_class, knn-feature``."""
    if method in BASELINES:
        return f"baseline, {baseline_label(method)}"
    variant, _, system = method.partition("/")
    if system:
        return f"{LOSSES[variant]}, {system}"
    return {WITH_LATENT: "fused + latent", WITH_UNTRAINED: "fused + untrained"}.get(method, method)


def baseline_label(method: str) -> str:
    """An official baseline's name among baselines."""
    return {"baseline-mse": "MSE", "baseline-mahalanobis": "Mahalanobis"}[method]
