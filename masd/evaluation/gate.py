"""The quality gate: may this candidate ship?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from masd.config import GateSettings, SystemName
from masd.detection.controls import CONTROLS
from masd.evaluation.bootstrap import draw_weights, weighted_metrics
from masd.evaluation.comparison import Contender, Interval, compare
from masd.evaluation.metrics import official_metrics

CHANCE = 0.5

NORMAL_MARGIN = 0.5
"""How much smaller a share of the normal clips of the usual condition than the best reference a model may leave alone.
One that flags nearly all of them, where others do not, does not know the machine: it was trained on recordings of
another, say. The areas do not show it, for they only compare clips with each other. Where recording conditions have
changed all models flag many: so a share alone, without a reference, says nothing."""

Decision = Literal["promote", "ask", "refuse"]


@dataclass(frozen=True)
class Check:
    """One condition: ``candidate >= reference - margin``. For chance the candidate's value is its lower confidence
    bound, for normal clips both are the share that is not flagged.
    """

    name: str
    passed: bool
    candidate: float
    reference: float
    margin: float


@dataclass(frozen=True)
class Verdict:
    """What the gate decided and, in one sentence, why.

    ``passed`` says that every check holds; ``decision`` what follows: into production, to a person who approves, or
    neither. ``difference`` is candidate minus champion, of the harmonic means.
    """

    machine_type: str
    passed: bool
    decision: Decision
    sentence: str
    system: str
    checks: tuple[Check, ...]
    champion_version: str | None = None
    difference: Interval | None = None


def decide(
    machine_type: str,
    scores: pd.DataFrame,
    system: SystemName,
    settings: GateSettings,
    champion: Contender | None,
    champion_version: str | None,
    *,
    thresholds: dict[str, float],
    seed: int = 0,
) -> Verdict:
    """Compare harmonic means of AUC source, AUC target and pAUC on the same test clips.

    ``scores`` is ``scores.parquet`` of the candidate's evaluation, ``thresholds`` above which its ``system`` and the
    controls flag, ``champion`` the production model on the same clips. The candidate passes when it scores every clip
    with a number, the lower bound of its bootstrap confidence interval beats chance, it does not flag nearly all
    normal clips where a control or the champion does not, and it is not worse than the better official baseline, the
    mel-statistics control or the champion by more than the margins. An equal candidate passes: it has learned from
    newer recordings.
    """

    def refused(why: str, checks: list[Check] | None = None) -> Verdict:
        sentence = f"{machine_type} is refused: {why}."
        return Verdict(machine_type, False, "refuse", sentence, system, tuple(checks or ()), champion_version)

    own = scores[system].to_numpy(dtype=float)
    if broken := int((~np.isfinite(own)).sum()):
        return refused(f"the model is broken, {system} gives no number for {broken} of {len(own)} test clips")
    value = _harmonic_mean(scores, system)
    if value is None:
        return refused("its test set has no labelled normal and anomalous clips to judge it by")
    if np.ptp(own) == 0.0:
        return refused(f"the model is broken, {system} gives all {len(own)} test clips the same score")
    bound = _lower_bound(scores, system, settings, seed)
    checks = [Check("chance", bound > CHANCE, bound, CHANCE, 0.0)]
    own_share = _left_alone(scores, scores[system], thresholds[system])
    others = [_left_alone(scores, scores[name], thresholds[name]) for name in CONTROLS]
    if champion is not None:
        others.append(_left_alone(scores, scores["name"].map(champion.scores), champion.threshold))
    checks.append(_not_worse("normal clips", own_share, max(others), NORMAL_MARGIN))
    baselines = [name for name in CONTROLS if name.startswith("baseline")]
    for name, members in (("official baseline", baselines), ("mel-statistics", ["mel-statistics"])):
        reference = max(_harmonic_mean(scores, member) or 0.0 for member in members)
        checks.append(_not_worse(name, value, reference, settings.control_margin))
    difference = None
    if champion is not None:
        name = f"version {champion_version} in production"
        shared = scores.assign(champion=scores["name"].map(champion.scores).astype(float)).dropna(subset=["champion"])
        compared = compare(
            shared,
            system,
            "champion",
            confidence=settings.confidence,
            samples=settings.bootstrap_samples,
            seed=seed,
        )
        if compared is None:
            return refused(f"{name} has scored no labelled clip of its test set", checks)
        ours, theirs = compared.challenger["hmean"].value, compared.champion["hmean"].value
        checks.append(_not_worse(name, ours, theirs, settings.production_margin))
        difference = compared.difference["hmean"]
    failed = [check for check in checks if not check.passed]
    if failed:
        why = " and ".join(_reason(check, difference, settings) for check in failed)
        return Verdict(
            machine_type,
            False,
            "refuse",
            f"{machine_type} is refused: {system} reaches a harmonic mean of {value:.3f}, but {why}.",
            system,
            tuple(checks),
            champion_version,
            difference,
        )
    decision: Decision = "ask" if settings.approval == "manual" else "promote"
    passes = "passes and awaits approval" if decision == "ask" else "passes"
    sentence = f"{machine_type} {passes}: {system} reaches a harmonic mean of {value:.3f}, above chance and within the "
    sentence += "margins of its references"
    if difference is not None:
        sentence += f"; {_beside_champion(difference, champion_version, settings)}"
    return Verdict(machine_type, True, decision, f"{sentence}.", system, tuple(checks), champion_version, difference)


def _not_worse(name: str, candidate: float, reference: float, margin: float) -> Check:
    return Check(name, candidate >= reference - margin, candidate, reference, margin)


def _harmonic_mean(scores: pd.DataFrame, column: str) -> float | None:
    return official_metrics(scores, scores[column].to_numpy(), threshold=np.inf)["hmean"]


def _lower_bound(scores: pd.DataFrame, column: str, settings: GateSettings, seed: int) -> float:
    """Lower end of the two-sided percentile interval over resampled clips."""
    weights = draw_weights(scores, settings.bootstrap_samples, np.random.default_rng(seed))
    means = weighted_metrics(scores, scores[column], weights)["hmean"]
    return float(np.quantile(means, (1.0 - settings.confidence) / 2.0))


def _left_alone(clips: pd.DataFrame, scores: pd.Series, threshold: float) -> float:
    """The share of normal clips that are not flagged; 0 without any. Not of the target domain: a model knows few."""
    usual = (clips["condition"] == "normal") & (clips["domain"] != "target")
    return float((scores[usual] <= threshold).mean()) if usual.any() else 0.0


def _reason(check: Check, difference: Interval | None, settings: GateSettings) -> str:
    if check.name == "chance":
        return f"its lower confidence bound {check.candidate:.3f} does not beat chance ({CHANCE})"
    if check.name == "normal clips":
        flagged = f"it flags {1.0 - check.candidate:.0%} of the normal clips, a reference {1.0 - check.reference:.0%}"
        return f"{flagged}: it does not know this machine (was it trained on recordings of another?)"
    below = f"{check.candidate:.3f} is more than {check.margin:g} below {check.name} ({check.reference:.3f})"
    if difference is None or not check.name.endswith("in production"):
        return below
    doubt = "; it may be chance, in doubt production stays" if difference.high >= 0.0 else ""
    return f"{below}, a difference of {_signed(difference, settings)}{doubt}"


def _beside_champion(difference: Interval, version: str | None, settings: GateSettings) -> str:
    name, by = f"version {version} in production", _signed(difference, settings)
    if difference.low > 0.0:
        return f"it is better than {name}, by {by}"
    if difference.high < 0.0:
        return f"it is worse than {name}, by {by}, within the margin of {settings.production_margin:g}"
    return f"it is not to be told from {name}, {by}, and preferred to it as the one trained on newer recordings"


def _signed(difference: Interval, settings: GateSettings) -> str:
    ends = f"{difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.value:+.3f} ({settings.confidence:.0%} interval {ends})"
