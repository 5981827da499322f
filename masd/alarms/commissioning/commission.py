"""Calibrate with a window of the inference log in which the machine was healthy."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from masd.alarms.calibration import Calibration
from masd.alarms.commissioning.blocks import block_length
from masd.alarms.commissioning.doubts import Doubt
from masd.alarms.commissioning.tolerance import clips_needed, guaranteed_rate, tolerance_threshold
from masd.alarms.monitor import Monitor, Rule, ScoredClip
from masd.arrays import Mask
from masd.drift.log import read_log
from masd.drift.statistics import COLUMNS, compare, rounded
from masd.errors import MasdError

LEAST_CLIPS = 100
SILENT_DBFS = -80.0
DRIFT_RATE = 0.01
TO_HEAR = 5


@dataclass(frozen=True)
class Commissioning:
    """The result of a calibration with a window of the log.

    :param since, until: times of the first and the last clip.
    :param clips: clips taken as normal; ``left_out``: silent clips and clips of alarms.
    :param scores: of the clips taken, by domain, in order of time.
    :param asked: the false-alarm rate that was set, per clip.
    :param threshold: for single clips; ``promised`` is the rate that it keeps with 95 % confidence, ``needed`` the
        number of clips needed for ``asked``.
    :param block: so many clips in a row count as one.
    :param doubts: reasons why the window may not be normal.
    :param highest: request ids of the highest scores taken, to be listened to.
    """

    machine_type: str
    model_version: str
    since: str
    until: str
    clips: int
    left_out: int
    scores: dict[str, list[float]]
    asked: float
    threshold: float
    promised: float
    needed: int
    block: int
    doubts: tuple[Doubt, ...]
    highest: tuple[str, ...]


def commission(
    log: str | Path,
    machine: str,
    version: str,
    asked: float,
    *,
    since: str = "",
    until: str = "",
    leave_out: Collection[str] = (),
) -> Commissioning:
    """Calibrate with the clips that a version scored from ``since`` to ``until`` (ISO 8601, UTC; empty: all of the
    log).

    ``leave_out`` are request ids of clips known as faulty.

    :raises MasdError: a log that cannot be read, or fewer than 100 clips in the window.
    """
    rows = read_log(log, machine, version, COLUMNS, since=since).rows
    times = rows["time"].astype(str)
    inside = (times >= since) & ((times <= until) if until else True) & ~rows["request_id"].isin(list(leave_out))
    rows = rows[inside].reset_index(drop=True)
    if len(rows) < LEAST_CLIPS or "score" not in rows:
        raise MasdError(
            f"{machine}: version {version} has {len(rows)} scored clips in the window, and a calibration needs "
            f"at least {LEAST_CLIPS}; wait, make the window longer, or leave out fewer clips"
        )
    silent = np.array([is_silent(warnings) for warnings in rows["warnings"]])
    if "level_dbfs" in rows:
        silent |= (rows["level_dbfs"] < SILENT_DBFS).to_numpy()
    columns = (rows[name].tolist() for name in ("time", "score", "domain", "request_id"))
    clips = [
        ScoredClip(str(time), float(score), _text(domain), _text(request))
        for time, score, domain, request in zip(*columns, strict=True)
    ]
    scores = rows["score"].to_numpy(np.float64)
    block = int(np.median([block_length(quarter) for quarter in np.array_split(scores, 4)]))
    alarmed = in_alarm(clips, max(1.0 / asked, 10.0 * len(clips)), block)
    kept = ~silent & ~alarmed
    if kept.sum() < LEAST_CLIPS:
        raise MasdError(
            f"{machine}: only {int(kept.sum())} of {len(rows)} clips in the window are usable (not silent, "
            f"not part of an alarm), and a calibration needs {LEAST_CLIPS}; choose another window"
        )
    found: dict[Doubt, bool] = {
        "silence": bool(silent.any()),
        "drift": _halves_differ(rows[kept], block),
        "alarms": bool(alarmed.any()),
    }
    taken = [clip for clip, keep in zip(clips, kept, strict=True) if keep]
    threshold = tolerance_threshold(scores[kept], asked, alike=block)
    above = int((scores[kept] > threshold).sum())
    highest = sorted(taken, key=lambda clip: -clip.score)[:TO_HEAR]
    return Commissioning(
        machine_type=machine,
        model_version=version,
        since=clips[0].time,
        until=clips[-1].time,
        clips=len(taken),
        left_out=len(clips) - len(taken),
        scores={
            domain: [clip.score for clip in taken if clip.domain == domain]
            for domain in sorted({clip.domain for clip in taken})
        },
        asked=asked,
        threshold=threshold,
        promised=guaranteed_rate(len(taken) // block, above // block),
        needed=block * clips_needed(asked),
        block=block,
        doubts=tuple(doubt for doubt, is_so in found.items() if is_so),
        highest=tuple(clip.request_id for clip in highest if clip.request_id),
    )


def in_alarm(clips: list[ScoredClip], mean_clips: float, block: int) -> Mask:
    """Which clips of a window belong to an alarm ``[clips]``; each half is compared with the other."""
    found = np.zeros(len(clips), dtype=np.bool_)
    middle = len(clips) // 2
    for own, other in ((slice(0, middle), slice(middle, None)), (slice(middle, None), slice(0, middle))):
        known: dict[str, list[float]] = {}
        for clip in clips[other]:
            known.setdefault(clip.domain, []).append(clip.score)
        monitor = Monitor("", "", Rule(mean_clips, block), Calibration(known, 0))
        times, part = [clip.time for clip in clips[own]], found[own]
        for place, clip in enumerate(clips[own]):
            list(monitor.take(clip))
            if monitor.state == "alarm":
                part[place] = True
                for before in range(place - 1, -1, -1):  # back to where the change began
                    if part[before] or times[before] < monitor.since:
                        break
                    part[before] = True
    return found


def _halves_differ(rows: pd.DataFrame, block: int) -> bool:
    thinned = rounded(rows.iloc[::block])
    middle = len(thinned) // 2
    return any(column.drifted for column in compare(thinned[:middle], thinned[middle:], DRIFT_RATE).values())


def is_silent(warnings: object) -> bool:
    """Whether a record's warnings say that the clip does not have the sound of the machine."""
    return "silence" in _text(warnings).split()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
