"""The quality gate: may this candidate ship?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from masd.config import GateSettings, SystemName
from masd.detection.controls import CONTROLS
from masd.evaluation.bootstrap import draw_weights, weighted_metrics
from masd.evaluation.metrics import official_metrics

CHANCE = 0.5


@dataclass(frozen=True)
class Check:
    """One condition: ``candidate >= reference - margin``. For chance the candidate's value is its lower confidence
    bound.
    """

    name: str
    passed: bool
    candidate: float
    reference: float
    margin: float


@dataclass(frozen=True)
class Verdict:
    """What the gate decided and, in one sentence, why."""

    machine_type: str
    passed: bool
    sentence: str
    system: str
    checks: tuple[Check, ...]


def decide(
    machine_type: str,
    scores: pd.DataFrame,
    system: SystemName,
    settings: GateSettings,
    champion: dict[str, float] | None,
    champion_version: str | None,
    *,
    seed: int = 0,
) -> Verdict:
    """Compare harmonic means of AUC source, AUC target and pAUC on the same test clips.

    ``scores`` is ``scores.parquet`` of the candidate's evaluation; ``champion`` the production model's score of
    each clip by name. The candidate passes when the lower bound of its bootstrap confidence interval beats chance,
    and it is not worse than the better official baseline, the mel-statistics control or the champion by more than
    the margins.
    """
    value = _harmonic_mean(scores, system)
    if value is None:
        return Verdict(
            machine_type,
            False,
            f"{machine_type} is refused: its test set has no labelled normal and anomalous clips to judge it by.",
            system,
            (),
        )
    bound = _lower_bound(scores, system, settings, seed)
    checks = [Check("chance", bound > CHANCE, bound, CHANCE, 0.0)]
    baselines = [name for name in CONTROLS if name.startswith("baseline")]
    for name, members in (("official baseline", baselines), ("mel-statistics", ["mel-statistics"])):
        reference = max(_harmonic_mean(scores, member) or 0.0 for member in members)
        checks.append(_not_worse(name, value, reference, settings.control_margin))
    if champion is not None:
        with_champion = scores.assign(champion=scores["name"].map(champion)).dropna(subset=["champion"])
        ours, theirs = _harmonic_mean(with_champion, system), _harmonic_mean(with_champion, "champion")
        name = f"version {champion_version} in production"
        if ours is None or theirs is None:
            sentence = f"{machine_type} is refused: {name} has scored no labelled clip of its test set."
            return Verdict(machine_type, False, sentence, system, tuple(checks))
        checks.append(_not_worse(name, ours, theirs, settings.production_margin))
    failed = [check for check in checks if not check.passed]
    return Verdict(machine_type, not failed, _sentence(machine_type, system, value, failed), system, tuple(checks))


def _not_worse(name: str, candidate: float, reference: float, margin: float) -> Check:
    return Check(name, candidate >= reference - margin, candidate, reference, margin)


def _harmonic_mean(scores: pd.DataFrame, column: str) -> float | None:
    return official_metrics(scores, scores[column].to_numpy(), threshold=np.inf)["hmean"]


def _lower_bound(scores: pd.DataFrame, column: str, settings: GateSettings, seed: int) -> float:
    """Lower end of the two-sided percentile interval over resampled clips."""
    weights = draw_weights(scores, settings.bootstrap_samples, np.random.default_rng(seed))
    means = weighted_metrics(scores, scores[column], weights)["hmean"]
    return float(np.quantile(means, (1.0 - settings.confidence) / 2.0))


def _sentence(machine_type: str, system: str, value: float, failed: list[Check]) -> str:
    if not failed:
        reaches = f"{system} reaches a harmonic mean of {value:.3f}"
        return f"{machine_type} passes: {reaches}, above chance and within the margins of its references."
    reasons = [
        f"its lower confidence bound {check.candidate:.3f} does not beat chance ({CHANCE})"
        if check.name == "chance"
        else f"{check.candidate:.3f} is more than {check.margin:g} below {check.name} ({check.reference:.3f})"
        for check in failed
    ]
    return f"{machine_type} is refused: {system} reaches a harmonic mean of {value:.3f}, but {' and '.join(reasons)}."
