"""Alarm rules on many streams at once: the rule of masd, and the usual rules of plants."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from masd.alarms.evidence import SHIFTS, advance, bets, level, total
from masd.alarms.monitor import MOST, OVER

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
BATCH = 100


@dataclass
class Found:
    """Alarms of one run: how many in all, and the first of each stream (clip number from 1, 0 for none)."""

    clips: int
    streams: int
    alarms: npt.NDArray[np.int64] = field(init=False)
    first: npt.NDArray[np.int64] = field(init=False)
    _clips_seen: int = 0

    def __post_init__(self) -> None:
        self.alarms = np.zeros(self.streams, dtype=np.int64)
        self.first = np.zeros(self.streams, dtype=np.int64)

    def note(self, raised: Flags) -> None:
        self._clips_seen += 1
        self.alarms += raised
        self.first[raised & (self.first == 0)] = self._clips_seen

    def mean_clips(self) -> tuple[float, float, float]:
        """Mean clips between alarms with its 95 % interval, over streams (calibrations) and over clips alike."""
        heard, found = self.clips * self.streams, int(self.alarms.sum())
        spread = float(np.std(self.alarms, ddof=1) * np.sqrt(self.streams)) if self.streams > 1 else found**0.5
        high, low = found + 1.96 * max(spread, 1.0), max(found - 1.96 * max(spread, 1.0), 0.5)
        return heard / max(found, 1), heard / high, heard / low

    def delay(self, start: int) -> float:
        """Mean clips from ``start`` to the first alarm, over streams without one before; one that stays out counts as
        the end of the run.
        """
        first = np.where(self.first == 0, self.clips, self.first)
        late = first[first > start]
        return float(np.mean(late - start)) if len(late) else float("nan")


Draw = Callable[[int, int], Scores]
"""``(clips, streams)`` more scores in order of time."""


def batches(draw: Draw, clips: int, streams: int) -> Iterable[Scores]:
    for start in range(0, clips, BATCH):
        yield draw(min(BATCH, clips - start), streams)


def masd_rule(
    draw: Draw, calibrations: list[Scores], clips: int, asked: float, *, most: int = 0, block: int = 1
) -> Found:
    """The rule of ``masd alarms``; ``most`` as in :class:`masd.alarms.calibration.Calibration` (0: nothing is learned).

    Clips are learned a batch later, where no alarm was on meanwhile.
    """
    streams = len(calibrations)
    known = [np.sort(one) for one in calibrations]
    found, evidence = Found(clips, streams), np.zeros((streams, len(SHIFTS)))
    alarmed, touched = np.zeros(streams, dtype=np.bool_), np.zeros(streams, dtype=np.bool_)
    waiting: Scores | None = None
    part, parts = np.zeros((streams, len(SHIFTS))), 0
    quiet = np.zeros(streams, dtype=np.bool_)
    for scores in batches(draw, clips, streams):
        sizes = np.array([len(one) for one in known])
        ranks = np.stack(
            [
                n - np.searchsorted(one, scores[:, i], "left")
                for i, (one, n) in enumerate(zip(known, sizes, strict=True))
            ],
            1,
        )
        limit = level(asked / block, sizes)
        touched[:] = alarmed
        for bet in bets(ranks, np.broadcast_to(sizes, ranks.shape)):
            part, parts = part + bet, parts + 1
            if parts < block:
                found.note(quiet)
                continue
            evidence = advance(evidence, part / block)
            part, parts = np.zeros_like(part), 0
            sums = total(evidence)
            raised = ~alarmed & (sums >= limit)
            found.note(raised)
            alarmed |= raised
            touched |= raised
            over = sums > MOST * limit
            if over.any():
                evidence[over] *= (MOST * limit[over] / sums[over])[:, None]
            back = alarmed & (sums < OVER * limit)
            alarmed[back], evidence[back] = False, 0.0
        if most:
            _learn(known, waiting, touched, most)
            waiting = scores
    return found


def _learn(known: list[Scores], waiting: Scores | None, touched: Flags, most: int) -> None:
    if waiting is None:
        return
    for stream in np.flatnonzero(~touched):
        if (room := most - len(known[stream])) > 0:
            known[stream] = np.sort(np.concatenate([known[stream], waiting[:room, stream]]))


def threshold_rule(draw: Draw, thresholds: Scores, clips: int, needed: int = 1, of: int = 1) -> Found:
    """An alarm once ``needed`` of the last ``of`` clips are above; over when fewer are."""
    streams = len(thresholds)
    found, window = Found(clips, streams), np.zeros((of, streams), dtype=np.bool_)
    on, place = np.zeros(streams, dtype=np.bool_), 0
    for scores in batches(draw, clips, streams):
        for above in scores > thresholds:
            window[place % of] = above
            place += 1
            now = window.sum(axis=0) >= needed
            found.note(now & ~on if of > 1 else now)
            on = now
    return found


def cusum_rule(draw: Draw, centres: Scores, scales: Scores, clips: int, limit: float, allowance: float = 0.5) -> Found:
    """Page's cumulative sum of standardised scores, begun anew after each alarm."""
    streams = len(centres)
    found, rise = Found(clips, streams), np.zeros(streams)
    for scores in batches(draw, clips, streams):
        for step in (scores - centres) / scales - allowance:
            rise = np.maximum(rise + step, 0.0)
            raised = rise >= limit
            found.note(raised)
            rise[raised] = 0.0
    return found


def tuned(alarms_per_clip: Callable[[float], float], rate: float, low: float, high: float) -> float:
    """The setting between ``low`` and ``high`` at which a rule has this rate; the rate falls as it rises."""
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if alarms_per_clip(middle) > rate else (low, middle)
    return (low + high) / 2
