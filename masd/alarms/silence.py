"""Find machines that send no clips for longer than usual."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

LEAST_SECONDS = 900.0
"""Servers send their log every five minutes, so shorter pauses are normal."""

MARGIN, KNOWN, DAYS = 1.5, 20, 8


@dataclass
class Hearing:
    """The time of a machine's last clip, and its usual pauses. A pause is unusual if it is 1.5 times the longest of the
    last eight days, so that nights and weekends become usual. There is no event before twenty clips.
    """

    last: str = ""
    clips: int = 0
    longest: dict[str, float] = field(default_factory=dict)
    silent: bool = False

    def take(self, time: str) -> Iterator[Literal["heard"]]:
        """Take the time of a clip (ISO 8601, UTC); yields "heard" if it ends a silence."""
        if time <= self.last:
            return
        if self.last:
            pause = (datetime.fromisoformat(time) - datetime.fromisoformat(self.last)).total_seconds()
            day = time[:10]
            self.longest[day] = max(self.longest.get(day, 0.0), pause)
            for old in sorted(self.longest)[:-DAYS]:
                del self.longest[old]
        self.clips += 1
        self.last = time
        if self.silent:
            self.silent = False
            yield "heard"

    def silent_from(self, now: datetime) -> str | None:
        """A silence that is still on at ``now`` and was not reported yet: the time of the last clip and the usual
        pause.
        """
        if self.silent or self.clips < KNOWN:
            return None
        limit = max(LEAST_SECONDS, MARGIN * max(self.longest.values()))
        due = datetime.fromisoformat(self.last) + timedelta(seconds=limit)
        if now < due:
            return None
        self.silent = True
        return due.isoformat(timespec="milliseconds")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
