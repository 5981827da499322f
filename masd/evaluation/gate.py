"""The quality gate: decides whether a candidate may go into production."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from masd.config import GateSettings, SystemName
from masd.detection.controls import BASELINES, CONTROL_KINDS, CONTROLS
from masd.detection.decision import flagged
from masd.evaluation.bootstrap import draw_weights, weighted_metrics
from masd.evaluation.comparison import Contender, Interval, compare
from masd.evaluation.gate_texts import say
from masd.evaluation.metrics import official_metrics

CHANCE = 0.5

SPECIFICITY_MARGIN = 0.5
"""How far the specificity of a model, over normal clips of the source domain, may be below that of the best reference.
A model that flags nearly all of them while others do not was probably trained on recordings of another machine. The
AUCs do not show this, because they only compare clips with each other. If recording conditions have changed, all models
flag many clips, so the specificity is compared with a reference.
"""

Decision = Literal["promote", "ask", "refuse"]
CheckKind = Literal["chance", "specificity", "baseline", "control", "champion"]


@dataclass(frozen=True)
class Check:
    """One condition: ``candidate >= reference - margin``; ``name`` is for people.

    Of the kind "chance" the candidate's value is its lower confidence bound; of the kind "specificity" both values are
    the share of normal clips that is not flagged; of all others they are harmonic means.
    """

    kind: CheckKind
    name: str
    passed: bool
    candidate: float
    reference: float
    margin: float


@dataclass(frozen=True)
class GateVerdict:
    """What the gate decided and why.

    ``passed`` says that every check holds; ``decision`` what follows: into production, to a person who approves, or
    neither. ``reason`` and the whole ``sentence`` are for people. ``difference`` is candidate minus champion, of the
    harmonic means. ``champion_schema`` is set if this masd does not read the bundle schema of the version in
    production; then there was no comparison.
    """

    machine_type: str
    passed: bool
    decision: Decision
    reason: str
    sentence: str
    system: str
    checks: tuple[Check, ...]
    champion_version: str | None = None
    difference: Interval | None = None
    champion_schema: int | None = None


def decide(
    machine_type: str,
    scores: pd.DataFrame,
    system: SystemName,
    settings: GateSettings,
    champion: Contender | None,
    champion_version: str | None,
    *,
    champion_schema: int | None = None,
    thresholds: dict[str, float],
    seed: int = 0,
) -> GateVerdict:
    """Compare harmonic means of AUC source, AUC target and pAUC on the same test clips.

    ``scores`` is ``scores.parquet`` of the candidate's evaluation, ``thresholds`` above which its ``system`` and the
    controls flag, ``champion`` the production model on the same clips. The candidate passes when it scores every clip
    with a number, the lower bound of its bootstrap confidence interval beats chance, it does not flag nearly all
    normal clips where a control or the champion does not, and it is not worse than the better official baseline, the
    mel-statistics control or the champion by more than the margins. An equal candidate passes: the newer
    model is preferred. ``champion_schema`` as in :class:`GateVerdict`, with ``champion`` None.
    """
    checks: list[Check] = []
    difference: Interval | None = None

    def verdict(decision: Decision, reason: str) -> GateVerdict:
        sentence = say(decision, machine=machine_type, reason=reason)
        passed = decision != "refuse"
        return GateVerdict(
            machine_type,
            passed,
            decision,
            reason,
            sentence,
            system,
            tuple(checks),
            champion_version,
            difference,
            champion_schema,
        )

    own = scores[system].to_numpy(dtype=float)
    if broken := int((~np.isfinite(own)).sum()):
        return verdict("refuse", say("no numbers", system=system, broken=broken, clips=len(own)))
    value = _harmonic_mean(scores, system)
    if value is None:
        return verdict("refuse", say("no labels"))
    if np.ptp(own) == 0.0:
        return verdict("refuse", say("one score", system=system, clips=len(own)))
    bound = _lower_bound(scores, system, settings, seed)
    checks.append(Check("chance", say("chance"), bound > CHANCE, bound, CHANCE, 0.0))
    own_specificity = _specificity(scores, scores[system], thresholds[system])
    others = [_specificity(scores, scores[name], thresholds[name]) for name in CONTROLS]
    if champion is not None:
        others.append(_specificity(scores, scores["name"].map(champion.scores), champion.threshold))
    checks.append(_not_worse("specificity", say("specificity"), own_specificity, max(others), SPECIFICITY_MARGIN))
    baseline = max(_harmonic_mean(scores, name) or 0.0 for name in BASELINES)
    checks.append(_not_worse("baseline", say("baseline"), value, baseline, settings.control_margin))
    for name in (name for name, kind in CONTROL_KINDS.items() if kind == "control"):
        reference = _harmonic_mean(scores, name) or 0.0
        checks.append(_not_worse("control", name, value, reference, settings.control_margin))
    if champion is not None:
        name = say("champion", version=champion_version)
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
            return verdict("refuse", say("not compared", champion=name))
        ours, theirs = compared.challenger["hmean"].value, compared.champion["hmean"].value
        checks.append(_not_worse("champion", name, ours, theirs, settings.production_margin))
        difference = compared.difference["hmean"]
    failed = [check for check in checks if not check.passed]
    if failed:
        why = say("and").join(_why(check, difference, settings) for check in failed)
        return verdict("refuse", say("failed", system=system, value=value, why=why))
    reason = say("held", system=system, value=value)
    if difference is not None:
        reason += _beside_champion(difference, checks[-1].name, settings)
    if champion_schema is not None:
        reason += say("no champion", champion=say("champion", version=champion_version), schema=champion_schema)
    return verdict("ask" if settings.approval == "manual" else "promote", reason)


def _not_worse(kind: CheckKind, name: str, candidate: float, reference: float, margin: float) -> Check:
    return Check(kind, name, candidate >= reference - margin, candidate, reference, margin)


def _harmonic_mean(scores: pd.DataFrame, column: str) -> float | None:
    return official_metrics(scores, scores[column].to_numpy(), threshold=np.inf)["hmean"]


def _lower_bound(scores: pd.DataFrame, column: str, settings: GateSettings, seed: int) -> float:
    """Lower end of the two-sided percentile interval over resampled clips."""
    weights = draw_weights(scores, settings.bootstrap_samples, np.random.default_rng(seed))
    means = weighted_metrics(scores, scores[column], weights)["hmean"]
    return float(np.quantile(means, (1.0 - settings.confidence) / 2.0))


def _specificity(clips: pd.DataFrame, scores: pd.Series, threshold: float) -> float:
    """The share of normal clips of the source domain that are not flagged; 0 without any. The target domain is left
    out, because a model knows few clips of it.
    """
    usual = (clips["condition"] == "normal") & (clips["domain"] != "target")
    own = scores[usual]  # those that the champion could not score count as flagged
    return float((own.notna() & ~flagged(own, threshold)).mean()) if usual.any() else 0.0


def _why(check: Check, difference: Interval | None, settings: GateSettings) -> str:
    """Why a check fails."""
    if check.kind == "chance":
        return say("below chance", value=check.candidate, chance=CHANCE)
    if check.kind == "specificity":
        return say("flags normal clips", flagged=1.0 - check.candidate, reference=1.0 - check.reference)
    below = say(
        "below reference", value=check.candidate, margin=check.margin, name=check.name, reference=check.reference
    )
    if check.kind != "champion" or difference is None:
        return below
    doubt = say("may be chance") if difference.high >= 0.0 else ""
    return below + say("difference", difference=_signed(difference, settings)) + doubt


def _beside_champion(difference: Interval, champion: str, settings: GateSettings) -> str:
    text = "better" if difference.low > 0.0 else "worse" if difference.high < 0.0 else "equal"
    signed = _signed(difference, settings)
    return say(text, champion=champion, difference=signed, margin=settings.production_margin)


def _signed(difference: Interval, settings: GateSettings) -> str:
    return say(
        "signed", value=difference.value, confidence=settings.confidence, low=difference.low, high=difference.high
    )
