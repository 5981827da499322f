"""A finding of a check of recordings: one line for people, a code for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from masd.progress import print_line

Level = Literal["problem", "warning", "note"]
LEVELS: tuple[Level, ...] = ("problem", "warning", "note")

NAMED = 3
"""Names given in one line; the others are counted."""


@dataclass(frozen=True)
class Finding:
    """``level`` is "problem" if the machine cannot be trained, "warning" if a result may mislead, and "note" for
    information. ``clips`` are the names of all clips or files concerned.
    """

    level: Level
    code: str
    text: str
    clips: tuple[str, ...] = ()


def say(machine: str, findings: Iterable[Finding]) -> None:
    """Print a line for each on standard error, problems first."""
    for finding in sorted(findings, key=lambda one: LEVELS.index(one.level)):
        print_line(f"{finding.level}: {machine}: {finding.text}")


def some(names: Sequence[str], total: int | None = None) -> str:
    """``a.wav, b.wav, c.wav and 7 more``; ``total`` is their number if ``names`` has only some."""
    more = (len(names) if total is None else total) - len(names[:NAMED])
    named = ", ".join(names[:NAMED])
    return f"{named} and {more} more" if more else named


def counted(number: int, what: str) -> str:
    """``1 clip``, ``7 clips``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def have(number: int, what: str) -> str:
    """``1 clip has``, ``7 clips have``."""
    return f"{counted(number, what)} {'has' if number == 1 else 'have'}"


def of_level(findings: Iterable[Finding], level: Level) -> list[Finding]:
    return [finding for finding in findings if finding.level == level]
