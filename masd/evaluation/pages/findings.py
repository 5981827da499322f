"""The results of an evaluation in sentences, for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from masd.detection.decision import flagged
from masd.detection.fused.detector import MemberName
from masd.evaluation.metrics import AREAS
from masd.evaluation.pages.html import points


@dataclass(frozen=True)
class FlaggedCount:
    """How many clips of one domain and condition the threshold flags."""

    domain: str
    condition: str
    clips: int
    flagged: int


def flagged_counts(scores: pd.DataFrame, system: str, threshold: float) -> list[FlaggedCount]:
    """Clips and flagged clips (score > threshold) by domain and condition."""
    groups = scores.assign(flagged=flagged(scores[system], threshold)).groupby(["domain", "condition"], sort=True)
    return [
        FlaggedCount(str(domain), str(condition), len(rows), int(rows["flagged"].sum()))
        for (domain, condition), rows in groups
    ]


def decision_quality(counts: Sequence[FlaggedCount]) -> dict[str, float | None]:
    """Precision and recall over the clips of all domains; None without normal or without anomalous clips."""
    caught, anomalies = _total(counts, "anomaly")
    alarms, normals = _total(counts, "normal")
    if not anomalies or not normals:
        return {"precision": None, "recall": None}
    return {"precision": caught / max(caught + alarms, 1), "recall": caught / anomalies}


def is_measured(metrics: dict[str, Any]) -> bool:
    """Whether the test clips gave any figure of quality: a blind test set gives none."""
    groups = (*metrics["systems"].values(), *metrics["controls"].values())
    return any(values[area] is not None for values in groups for area in AREAS)


def sentences(metrics: dict[str, Any], served_system: str, counts: Sequence[FlaggedCount], *, plain: bool) -> list[str]:
    """What the figures of the served system mean. ``plain``: the clips have no domain."""
    served = metrics["systems"][served_system]
    said = []
    where = {"source": "" if plain else " in the source domain", "target": " in the target domain"}
    ranking = [(served[f"auc_{domain}"], place) for domain, place in where.items()]
    if parts := [f"{auc:.0%} of the time{place}" for auc, place in ranking if auc is not None]:
        said.append(
            "Given one normal and one anomalous clip, the model gives the anomalous one the higher score "
            f"{' and '.join(parts)}; guessing would reach 50%."
        )
    caught, anomalies = _total(counts, "anomaly")
    alarms, normals = _total(counts, "normal")
    flagged, unknown = _total(counts, "unknown")
    decided = [f"flags {caught} of {anomalies} anomalous clips"] if anomalies else []
    if normals:
        decided.append(f"raises a false alarm on {alarms} of {normals} normal clips")
    if decided:
        said.append(f"At its threshold it {' and '.join(decided)}.")
    if unknown:
        said.append(
            f"The condition of {unknown} clips is unknown: the threshold flags {flagged} of them, "
            "and without labels masd cannot tell whether that is right."
        )
    return said + _against_controls(served["hmean"], metrics["controls"])


MEMBERS: dict[MemberName, str] = {
    "frames": "single frames",
    "band-mean": "mean spectrum",
    "band-peak": "peaks of each band",
    "band-change": "changes from frame to frame",
    "modulation": "rhythm",
    "latent": "the network's features",
}
"""What each member of the default detector hears."""


def contribution_sentence(contributions: dict[str, Any] | None) -> str:
    """Which member the score needs most, of what ``metrics.json`` has on them; empty where it has nothing."""
    if contributions is None:
        return ""
    members = contributions["members"]
    most = min(members, key=lambda name: members[name]["without"])
    best = max(members, key=lambda name: members[name]["alone"])
    lost = 100 * (contributions["auc"] - members[most]["without"])
    needed = f"most is lost without {MEMBERS[most]} ({lost:.1f} points)" if lost > 0 else "no single part is missed"
    return (
        f"Of the pairs of a normal clip and one with a synthetic fault the score ranks {contributions['auc']:.0%} "
        f"rightly: {needed}, and the best single part is {MEMBERS[best]} ({points(members[best]['alone'])})."
    )


def _against_controls(served: float | None, controls: dict[str, Any]) -> list[str]:
    known = {name: values["hmean"] for name, values in controls.items() if values["hmean"] is not None}
    if served is None or not known:
        return []
    best = max(known, key=lambda name: known[name])
    lead = 100 * (served - known[best])
    than = f"{lead:.1f} points less" if lead >= 0 else f"{-lead:.1f} points more"
    return [f"The best of the simple controls, {best}, reaches {points(known[best])}: {than} than the model."]


def _total(counts: Sequence[FlaggedCount], condition: str) -> tuple[int, int]:
    """Flagged clips and all clips of a condition."""
    of_condition = [count for count in counts if count.condition == condition]
    return sum(count.flagged for count in of_condition), sum(count.clips for count in of_condition)
