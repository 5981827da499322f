"""The result of a drift check."""

from dataclasses import dataclass
from typing import Literal

from masd.drift.clips import UnusualClip
from masd.drift.labels import LivePerformance
from masd.drift.statistics import ColumnDrift

Decision = Literal["drift", "no drift", "insufficient data"]


@dataclass(frozen=True)
class DriftVerdict:
    """The content of ``verdict.json``.

    ``since`` and ``until`` are the times of the first and the last clip of the window. ``unusual`` names the clips
    that drive each drifted column; ``not_compared`` the columns that the log or the reference does not have;
    ``ignored`` counts log rows that were not used, by reason; ``live`` is set if labels were given.
    """

    machine_type: str
    model_version: str
    verdict: Decision
    clips: int
    since: str
    until: str
    reference_clips: int
    false_alarm_rate: float
    columns: dict[str, ColumnDrift]
    unusual: dict[str, list[UnusualClip]]
    not_compared: list[str]
    ignored: dict[str, int]
    live: LivePerformance | None
    sentence: str


def conclusion(
    columns: dict[str, ColumnDrift], clips: int, reference_clips: int, min_clips: int
) -> tuple[Decision, str]:
    """The decision, and a sentence for people; ``columns`` is empty if nothing could be compared."""
    against = f"{clips} clips were compared with {reference_clips} of the reference"
    drifted = [column.describe(name) for name, column in columns.items() if column.drifted]
    if drifted:
        return "drift", f"drift in {', '.join(drifted)}; {against}"
    if columns:
        return "no drift", f"no drift in {len(columns)} columns; {against}"
    if clips < min_clips:
        few = f"{clips} clips are too few to decide; {min_clips} are needed (drift.min_clips); check again later"
        return "insufficient data", few
    return (
        "insufficient data",
        f"every column has one and the same value in all {clips} clips and in the reference, so there is nothing to "
        "compare",
    )
