"""Find the parts of a long recording in which the machine is off; they are not scored."""

from collections.abc import Sequence

import numpy as np

from masd.arrays import Mask
from masd.audio import Loudness
from masd.audio.sound_properties import FLOOR_DBFS

Span = tuple[float, float]
"""Start and end in seconds."""

LEAST_SILENCE_S = 1.0
"""Shorter silence is a pause of the machine or a gap in the recording; so is silence shorter than half a training clip.
"""

LEAST_RUN_S = 1.0
"""A shorter sound between two silences does not mean that the machine runs."""


def off_spans(loudness: Loudness, clip_seconds: float, limit_dbfs: float | None) -> tuple[Span, ...]:
    """The parts with silence for half of ``clip_seconds``, or with a level below ``limit_dbfs`` for all of
    ``clip_seconds``.

    A machine that works with breaks is quiet in between: only what lasts as long as a training clip can be compared
    with the level of one.
    """
    off = _lasting(loudness.silent, round(max(clip_seconds / 2, LEAST_SILENCE_S) / loudness.seconds))
    width = max(round(clip_seconds / loudness.seconds), 1)
    if limit_dbfs is not None and len(off) >= width:
        total = np.concatenate([[0.0], np.cumsum(loudness.powers)])
        quiet = (total[width:] - total[:-width]) / width < 10.0 ** (limit_dbfs / 10.0)
        for start in np.flatnonzero(quiet):
            off[start : start + width] = True
    if off.any():
        off |= _lasting(~off, 1) & ~_lasting(~off, round(LEAST_RUN_S / loudness.seconds))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], off, [0]]).astype(np.int8)))
    ends = np.minimum(edges * loudness.seconds, loudness.duration_s)
    return tuple((float(start), float(end)) for start, end in zip(ends[::2], ends[1::2], strict=True))


def on_spans(off: Sequence[Span], duration_s: float) -> list[Span]:
    """The parts between those of ``off``. If there are none, the whole recording, because it must get a score."""
    edges = [0.0, *(edge for span in off for edge in span), duration_s]
    spans = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]
    return spans or [(0.0, duration_s)]


def level_while_on(loudness: Loudness, off: Sequence[Span]) -> float:
    """Level outside the parts of ``off``, in dBFS; if there are none, of the whole recording."""
    starts = np.arange(len(loudness.powers)) * loudness.seconds
    ends = np.minimum(starts + loudness.seconds, loudness.duration_s)
    lengths = ends - starts
    middles = (starts + ends) / 2
    on = np.ones(len(lengths), np.bool_)
    for start, end in off:
        on &= (middles < start) | (middles > end)
    lengths = lengths * on if on.any() else lengths
    return 10.0 * float(np.log10(max(loudness.powers @ lengths / lengths.sum(), 10.0 ** (FLOOR_DBFS / 10.0))))


def _lasting(true: Mask, least: int) -> Mask:
    """``true`` ``[n]`` where it holds for ``least`` in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], true, [0]]).astype(np.int8)))
    found = np.zeros(len(true), np.bool_)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= least:
            found[start:end] = True
    return found
