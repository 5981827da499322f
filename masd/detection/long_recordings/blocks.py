"""Recordings of any length: cut into blocks as long as the training clips, each scored like a clip.

A score compares a clip's statistics with those of the training clips, and a threshold is one of such clips. So an hour
is not one clip of an hour, in which a fault of a second would vanish, but 360 clips of ten seconds. The recording is as
anomalous as the most anomalous of them. Stretches in which the machine is off are left out
(:mod:`masd.detection.long_recordings.machine_off`).
"""

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from masd.arrays import Array
from masd.audio import LongRecording, Recording
from masd.audio.decode import near_of, recording_of
from masd.audio.signals import Signals
from masd.detection.long_recordings.machine_off import Span, level_while_on, off_spans, on_spans
from masd.detection.result import Blocks, ClipScore, Segment

LONG_CLIPS = 3.0
"""A recording is long when it is longer than this many training clips."""

MAX_CLIP_SECONDS = 600.0
"""Longest stretch that is scored as one clip, however long the training clips are: bounds memory."""

TOUCH_S = 1e-6
"""Less than a sample: segments that end where the next begins do not overlap."""


def long_from(clip_seconds: float) -> float:
    """Seconds from which a recording is cut into blocks."""
    return min(LONG_CLIPS * clip_seconds, MAX_CLIP_SECONDS)


def cut(samples: Iterable[Array], size: int) -> Iterator[tuple[int, Array]]:
    """Samples ``[n]`` or ``[n, 2]`` in pieces of any length -> ``(first sample, block)`` with ``size`` samples each.

    The last one is right-aligned, as windows are, so that no sample is left out and no block is shorter than a clip.
    Fewer than ``size`` samples in all are one short block.
    """
    start = 0
    before: Array = np.empty(0, np.float32)
    held: Array | None = None
    for piece in samples:
        held = piece if held is None else np.concatenate([held, piece])
        while len(held) >= size:
            before, held = held[:size], held[size:]
            yield start, before
            start += size
    if held is not None and len(held):
        overlap = size - len(held) if start else 0
        yield start - overlap, np.concatenate([before[size - overlap :], held]) if overlap else held


def score_long(
    recording: LongRecording,
    clip_seconds: float,
    threshold: float | None,
    off_dbfs: float | None,
    score: Callable[[Recording, float | None], ClipScore],
) -> ClipScore:
    """Score a long recording block by block with ``score``, a clip's scorer; no more than a block is ever in memory.

    The answer's score, decision and domain are those of the highest block; its segments are the peaks of all windows
    (:func:`peaks`), with times in the recording. ``off_dbfs`` is the level below which a machine is off.
    """
    seconds = min(clip_seconds, MAX_CLIP_SECONDS)
    starts, scores, segments = [], [], []
    off = off_spans(recording.loudness, seconds, off_dbfs)
    for start_s, block in _blocks(recording, seconds, off):
        result = score(block, threshold)
        starts.append(start_s)
        scores.append(result)
        segments += _shifted(result.segments, start_s)
    number = max(range(len(scores)), key=lambda index: scores[index].score)
    worst = scores[number]
    return ClipScore(
        machine_type=worst.machine_type,
        model_version=worst.model_version,
        system=worst.system,
        score=worst.score,
        threshold=worst.threshold,
        own_threshold=worst.own_threshold,
        domain=worst.domain,
        duration_s=recording.duration_s,
        segments=peaks(segments),
        reconstruction_error=_mean([result.reconstruction_error for result in scores]),
        systems={name: max(result.systems[name] for result in scores) for name in worst.systems},
        signals=Signals(
            level_while_on(recording.loudness, off),
            recording.clipped_share,
            float(np.mean([result.signals.spectral_centroid_hz for result in scores])),
            recording.sample_rate_in,
            tuple(float(level) for level in np.mean([r.signals.octave_levels_db for r in scores], axis=0)),
        ),
        calibration=worst.calibration,
        embedding_distance=_mean([result.embedding_distance for result in scores]),
        blocks=Blocks(
            seconds=seconds,
            count=len(scores),
            anomalous=sum(result.anomalous for result in scores),
            worst_start_s=starts[number],
            off=off,
        ),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a recording to look at; the segments' times are the whole recording's."""

    recording: Recording
    start_s: float
    segments: tuple[Segment, ...]


def excerpt(
    recording: Recording | LongRecording, score: ClipScore, rescore: Callable[[Recording], ClipScore]
) -> Excerpt:
    """All of a clip, or the most anomalous block of a long recording with all its windows, from ``rescore``."""
    if isinstance(recording, Recording):
        return Excerpt(recording, 0.0, score.segments)
    cut_as = cast(Blocks, score.blocks)
    worst = cut_as.worst_start_s
    block = next(block for start_s, block in _blocks(recording, cut_as.seconds, cut_as.off) if start_s == worst)
    return Excerpt(block, worst, tuple(_shifted(rescore(block).segments, worst)))


def peaks(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Those that do not overlap a higher one, in order of time: one moment is named once, not by every window on it."""
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda segment: -segment.score):
        at = bisect(chosen, segment.start_s, key=lambda other: other.start_s)
        clear_of_last = at == 0 or chosen[at - 1].end_s <= segment.start_s + TOUCH_S
        clear_of_next = at == len(chosen) or segment.end_s <= chosen[at].start_s + TOUCH_S
        if clear_of_last and clear_of_next:
            chosen.insert(at, segment)
    return tuple(chosen)


def _shifted(segments: Iterable[Segment], by_s: float) -> list[Segment]:
    return [Segment(s.start_s + by_s, s.end_s + by_s, s.score) for s in segments]


def _blocks(recording: LongRecording, seconds: float, off: Sequence[Span]) -> Iterator[tuple[float, Recording]]:
    rate = recording.sample_rate
    reader = _Reader(recording.stream())
    for start_s, end_s in on_spans(off, recording.duration_s):
        first = round(start_s * rate)
        last = None if end_s == recording.duration_s else round(end_s * rate)
        for start, samples in cut(reader.between(first, last), round(seconds * rate)):
            power = float(np.mean(np.square(near_of(samples), dtype=np.float64)))
            yield (
                (first + start) / rate,
                recording_of(
                    samples,
                    sample_rate_in=recording.sample_rate_in,
                    channels_in=recording.channels_in,
                    duration_s=len(samples) / rate,
                    level_dbfs=10.0 * float(np.log10(max(power, 1e-12))),
                    clipped_share=recording.clipped_share,
                    codec=recording.codec,
                ),
            )


class _Reader:
    """Parts of a stream of samples, one after the other."""

    def __init__(self, samples: Iterator[Array]) -> None:
        self._samples, self._at = samples, 0
        self._held: Array = np.empty(0, np.float32)

    def between(self, first: int, last: int | None) -> Iterator[Array]:
        """From sample ``first`` to before ``last``, or to the end; not before what was read already."""
        while True:
            skipped = min(max(first - self._at, 0), len(self._held))
            taken = self._held[skipped:] if last is None else self._held[skipped : max(last - self._at, skipped)]
            self._at += skipped + len(taken)
            self._held = self._held[skipped + len(taken) :]
            if len(taken):
                yield taken
            if len(self._held):
                return
            held = next(self._samples, None)
            if held is None:
                return
            self._held = held
