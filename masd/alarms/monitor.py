"""The alarm state of one machine: clips go in, events come out; the state fits in one small JSON object."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np

from masd.alarms.calibration import Calibration
from masd.alarms.events import Event, Kind
from masd.alarms.evidence import SHIFTS, advance, bets, level, total
from masd.arrays import Floats
from masd.errors import MasdError, one_line

State = Literal["normal", "watch", "alarm"]

WATCH, OVER = 1 / 20, 1 / 200
"""Shares of the alarm's level: above the first a machine is watched, below the second it is normal again."""

MOST = 100.0
"""Evidence is limited to so many times the level, so that a repaired machine is normal again soon."""

WAITING = 50
"""A clip is added to the normal scores after so many more normal clips, so that clips of a starting fault are not
added.
"""

REMEMBERED = 1000
WORST = 3
TINY = 1e-300


@lru_cache(maxsize=20_000)
def _bet(rank: int, size: int) -> Floats:
    return bets(rank, size)


@dataclass(frozen=True)
class Rule:
    """``clips``: the mean number of clips between false alarms is at least this. ``block``: so many clips in a row
    count as one (:func:`masd.alarms.commissioning.blocks.block_length`).

    :raises MasdError: fewer than 100 clips, or no block.
    """

    clips: float
    block: int = 1

    def __post_init__(self) -> None:
        if not self.clips >= 100:
            raise MasdError(
                f"a false-alarm rate of 1/{self.clips:g} is too high for the alarm rule; give 1/100 or lower"
            )
        if self.block < 1:
            raise MasdError(f"a block has {self.block} clips, but must have at least 1")


@dataclass(frozen=True)
class ScoredClip:
    """A clip of the inference log; ``time`` is ISO 8601 in UTC, so that it sorts as text."""

    time: str
    score: float
    domain: str = ""
    request_id: str = ""


class Monitor:
    """The alarm rule for one version of one machine's model. It takes clips in the order of their time if possible;
    late clips count when they come, and the false-alarm rate still holds.
    """

    def __init__(self, machine: str, version: str, rule: Rule, calibration: Calibration) -> None:
        self.machine, self.version, self.rule, self.calibration = machine, version, rule, calibration
        self.state: State = "normal"
        self.since = ""
        self.acknowledged = False
        self.clips = 0
        self.last_heard = ""
        self._evidence = np.zeros(len(SHIFTS))
        self._block: list[list[float]] = []
        self._rise = np.zeros(len(SHIFTS))
        self._rise_since = [""] * len(SHIFTS)
        self._waiting: list[ScoredClip] = []

    @property
    def evidence(self) -> float:
        """A normal machine reaches this evidence at most once in so many clips."""
        return float(total(self._evidence)) * self.rule.block

    def take(self, clip: ScoredClip) -> Iterator[Event]:
        """Take one clip; yields the events.

        :raises MasdError: a score that is not a finite number.
        """
        if not np.isfinite(clip.score):
            raise MasdError(f"{self.machine}: the score {clip.score} is not a finite number")
        self.clips += 1
        self.last_heard = max(self.last_heard, clip.time)
        self._waiting.append(clip)
        rank, size = self.calibration.rank(clip.score, clip.domain)
        bet = _bet(rank, size)
        self._follow_rise(bet, clip.time)
        self._block.append(bet.tolist())
        if len(self._block) >= self.rule.block:
            # the mean of bets is a bet, however much the clips of a block depend on each other
            self._evidence = advance(self._evidence, np.array(self._block).sum(axis=0) / len(self._block))
            self._block = []
            yield from self._decide(float(level(self.rule.clips / self.rule.block, size)), size, clip)
        self._learn()

    def acknowledge(self, time: str, actor: str, reason: str, *, normal: bool) -> Event:
        """Acknowledge the alarm. With ``normal`` it was a false alarm: the machine is healthy, and its clips since then
        count as normal.

        :raises MasdError: there is no alarm.
        """
        if self.state != "alarm":
            raise MasdError(f"{self.machine} has no alarm to acknowledge: it is {self.state}")
        since, size = self.since, max(self.calibration.sizes().values())
        self.acknowledged = True
        if not normal:
            return self._event("acknowledged", time, size, since, actor=actor, reason=reason)
        for clip in self._waiting:
            self.calibration.learn(clip.score, clip.domain)
        event = self._event("normal", time, size, since, actor=actor, reason=reason)
        self._reset()
        return event

    def replaced(self, time: str) -> Event:
        """Another version goes into production during an alarm: the alarm is over, because its evidence was for this
        version.
        """
        return self._event("normal", time, max(self.calibration.sizes().values()), self.since, reason="version-changed")

    def _decide(self, alarm: float, size: int, clip: ScoredClip) -> Iterator[Event]:
        evidence = float(total(self._evidence))
        if evidence > MOST * alarm:
            self._evidence *= MOST * alarm / evidence
        if evidence >= alarm and self.state != "alarm":
            self.state, self.since = "alarm", self._rise_since[int(np.argmax(self._rise))] or clip.time
            yield self._event("alarm", clip.time, size, self.since)
        elif evidence >= WATCH * alarm and self.state == "normal":
            self.state, self.since = "watch", self._rise_since[int(np.argmax(self._rise))] or clip.time
            yield self._event("watch", clip.time, size, self.since)
        elif evidence < OVER * alarm and self.state != "normal":
            event = self._event("normal", clip.time, size, self.since, reason=f"{self.state}-over")
            if self.state == "alarm":
                self._reset()  # nothing of an alarm is learned from: it may have been a fault
            self.state, self.since, self.acknowledged = "normal", "", False
            yield event

    def _follow_rise(self, bet: Floats, time: str) -> None:
        """The start of a change: where the cumulative sum of the logarithm of a bet began to rise."""
        for place, risen in enumerate(self._rise.tolist()):
            if risen <= 0.0:
                self._rise_since[place] = time
        self._rise = np.maximum(self._rise + np.log(np.maximum(bet, TINY)), 0.0)

    def _learn(self) -> None:
        if self.state != "normal":
            del self._waiting[:-REMEMBERED]
            return
        while len(self._waiting) > WAITING:
            clip = self._waiting.pop(0)
            self.calibration.learn(clip.score, clip.domain)

    def _reset(self) -> None:
        self._evidence, self._rise = np.zeros(len(SHIFTS)), np.zeros(len(SHIFTS))
        self._block, self._waiting = [], []
        self.state, self.since, self.acknowledged = "normal", "", False

    def _event(self, kind: Kind, time: str, size: int, since: str, *, actor: str = "", reason: str = "") -> Event:
        worst = sorted((clip for clip in self._waiting if clip.time >= since), key=lambda clip: -clip.score)
        return Event(
            kind=kind,
            machine_type=self.machine,
            model_version=self.version,
            time=time,
            since=since,
            clips=self.clips,
            evidence=float(f"{self.evidence:.6g}"),
            asked=self.rule.clips,
            worst=tuple(clip.request_id for clip in worst[:WORST] if clip.request_id),
            calibration=size,
            reason=reason,
            actor=actor,
        )

    def to_dict(self) -> dict[str, Any]:
        """The whole state, JSON-ready."""
        return {
            "machine_type": self.machine,
            "model_version": self.version,
            "rule": asdict(self.rule),
            "state": self.state,
            "since": self.since,
            "acknowledged": self.acknowledged,
            "clips": self.clips,
            "last_heard": self.last_heard,
            "evidence": self._evidence.tolist(),
            "block": self._block,
            "rise": self._rise.tolist(),
            "rise_since": self._rise_since,
            "waiting": [[clip.time, clip.score, clip.domain, clip.request_id] for clip in self._waiting],
            "calibration": self.calibration.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`.

        :raises MasdError: not what it wrote.
        """
        try:
            calibration = Calibration.from_dict(content["calibration"])
            new = cls(content["machine_type"], content["model_version"], Rule(**content["rule"]), calibration)
            new.state, new.since, new.acknowledged = content["state"], content["since"], content["acknowledged"]
            new.clips, new.last_heard = content["clips"], content["last_heard"]
            new._evidence, new._rise = np.array(content["evidence"]), np.array(content["rise"])
            new._block, new._rise_since = content["block"], content["rise_since"]
            new._waiting = [ScoredClip(*clip) for clip in content["waiting"]]
        except (KeyError, TypeError, ValueError) as error:
            raise MasdError(f"not the state of a machine's alarms ({one_line(error, 160)})") from error
        return new
